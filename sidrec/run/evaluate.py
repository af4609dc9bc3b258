"""The last stage of a run: every system on the same users, ranked and counted alike."""

import dataclasses
from typing import Any

from etils import epath

from sidrec.core.atomic import write_whole_text
from sidrec.core.content import stamps
from sidrec.core.plugged import Chosen
from sidrec.data.dataset import Dataset, Histories, held_out_view
from sidrec.data.seen import has_repeats
from sidrec.evaluation import report
from sidrec.evaluation.baselines import (
  ScoreBlock,
  best_item_knn,
  evaluate_baseline,
  item_knn_cosine,
  own_and_item_knn,
  own_frequency,
  own_recency,
  popularity,
)
from sidrec.evaluation.details import SPLIT, Details, users_of
from sidrec.evaluation.evaluate import Evaluation, evaluate
from sidrec.evaluation.own_baselines import BASELINES, make_baseline
from sidrec.evaluation.own_metrics import METRICS, described, own_metrics
from sidrec.evaluation.protocol import (
  SPLITS,
  WAYS,
  Protocol,
  protocol_of,
  request_times,
)
from sidrec.evaluation.summary import summary_text
from sidrec.parallel.hosts import from_primary
from sidrec.run.generations import Chain, Generation
from sidrec.run.load import Recommender, recommender_of, sasrec_of
from sidrec.run.prepare import training_of
from sidrec.run.sasrec import trained_baselines
from sidrec.run.settings import RunConfig
from sidrec.run.stage import Stage
from sidrec.run.train import TRAIN
from sidrec.search import evidence

Evaluations = dict[str, dict[str, Evaluation]]  # system → split → how it does

KNN_EVENTS = 20_000_000  # of training, at most: 20 pairs of each are counted


def write_evaluations(config: RunConfig, folder: epath.Path, before: Chain) -> None:
  """Measures the recommender, SASRec and BSARec if enabled, and the baselines, on both splits.

  Writes `evaluation.json`, `per_user.npz` and the table, `evaluation.txt`.
  """
  config = dataclasses.replace(config, search=config.search.uncertified)
  recommender = recommender_of(config, before)
  dataset = recommender.dataset
  training = training_of(config, dataset)
  weights = evidence.numbers(config.model, config.search, recommender.params)
  evaluations = evaluate_trained(config, before, recommender, training)

  def write() -> None:
    systems = {**evaluations, **evaluate_baselines(config, dataset, training)}
    write_files(config, folder, dataset, training, weights, systems)

  from_primary(write)


def write_files(
  config: RunConfig,
  folder: epath.Path,
  dataset: Dataset,
  training: Histories,
  weights: evidence.Weights,
  evaluations: Evaluations,
) -> None:
  """The three files."""
  means, per_user = (
    {
      name: {split: getattr(evaluation, part) for split, evaluation in splits.items()}
      for name, splits in evaluations.items()
    }
    for part in ("means", "per_user")
  )
  protocol = protocol_for(config, dataset, training, weights)
  lists = {name: splits[SPLIT].lists for name, splits in evaluations.items()}
  details = Details(users_of(dataset, training), lists)
  report.write_per_user(folder / "per_user.npz", per_user, details)
  report.write_evaluation(folder / "evaluation.json", protocol, means)
  text = report.evaluation_report(protocol, means, per_user)
  write_whole_text(folder / "evaluation.txt", text)


def protocol_for(
  config: RunConfig, dataset: Dataset, training: Histories, weights: evidence.Weights
) -> Protocol:
  """The protocol of a run's evaluation, whose search has these weights."""
  c, exact = config.search, [stage.name for stage in trained_baselines(config)]
  protocol = protocol_of(
    dataset,
    training,
    c.results,
    c.beams,
    config.data.shuffle_ties,
    *map(float, weights[1:]),
    level_weights=c.level_weights,
    exact=exact,
  )
  if config.model.repeats:
    more = " of something new, or log p(this item of the history comes again)"
    protocol = protocol._replace(scores=protocol.scores + more)
  asked = {"sidrec": config.model.inputs.asked}
  asked |= {name: getattr(config, name).model.inputs.asked for name in exact}
  baselines, metrics = chosen_baselines(config), chosen_metrics(config)
  return protocol._replace(
    request_time=request_times(asked),
    own_metrics=described(metrics, METRICS.code_of(metrics)),
    own_baselines=described(baselines, BASELINES.code_of(baselines)),
  )


def chosen_baselines(config: RunConfig) -> list[Chosen]:
  """The registered baselines that the settings enable."""
  return BASELINES.chosen(config.evaluation.baselines)


def chosen_metrics(config: RunConfig) -> list[Chosen]:
  """The registered metrics that the settings enable."""
  return METRICS.chosen(config.evaluation.metrics)


def evaluate_trained(
  config: RunConfig, chain: Chain, recommender: Recommender, training: Histories
) -> Evaluations:
  """What was trained on a data set, the recommender first; on all devices."""
  dataset = recommender.dataset
  trained = {"sidrec": (recommender.recommend_users, recommender.params)}
  exact = [stage.name for stage in trained_baselines(config)]
  trained |= {name: sasrec_of(config, chain, name) for name in exact}
  tasks = {split: held_out_view(dataset.histories, split) for split in SPLITS}
  num_items, num_results = dataset.items.num_items, config.search.results
  calibrated = {"sidrec": config.search.gives_probabilities, **dict.fromkeys(exact, True)}
  metrics = chosen_metrics(config)
  found: Evaluations = {}
  for name, (recommend_users, params) in trained.items():
    for split, task in tasks.items():
      print(f"evaluate: {name} on {split}, {task.histories.num_users:,} users", flush=True)
      found.setdefault(name, {})[split] = evaluate(
        recommend_users,
        params,
        task,
        num_items,
        num_results,
        calibrated=calibrated[name],
        own=own_metrics(metrics, dataset, training, task),
      )
  return found


def evaluate_baselines(config: RunConfig, dataset: Dataset, training: Histories) -> Evaluations:
  """What needs no training, on the host; what repeats, where users do so, without masks."""
  num_items = dataset.items.num_items
  validation = held_out_view(dataset.histories, "valid")
  baselines: dict[str, ScoreBlock] = {}
  own: dict[str, ScoreBlock] = {}
  if has_repeats(dataset.histories):
    own = {"own-frequency": own_frequency(num_items), "own-recency": own_recency(num_items)}
  if len(training.item_T) <= KNN_EVENTS:
    neighbours, exponent = best_item_knn(training, validation, num_items)
    print(f"evaluate: item-knn divides by popularity^{exponent:g}, as is best on validation")
    baselines = {"item-knn": neighbours, "item-knn-cosine": item_knn_cosine(training, num_items)}
    if own:
      mixture = own_and_item_knn(training, num_items, neighbours=neighbours)
      own = {"own-and-item-knn": mixture, **own}
  else:
    print(
      f"evaluate: item-knn is left out, for it holds all pairs of items that are near each other, "
      f"and {len(training.item_T):,} events in training have too many (more than {KNN_EVENTS:,})"
    )
  baselines["popular"] = popularity(training, num_items)
  for chosen in chosen_baselines(config):
    baselines[chosen.name] = make_baseline(chosen, training, dataset.items)
  tasks = {split: held_out_view(dataset.histories, split) for split in SPLITS}
  print(f"evaluate: {', '.join({**baselines, **own})}", flush=True)
  results, metrics = config.search.results, chosen_metrics(config)
  return {
    name: {
      split: evaluate_baseline(
        score,
        task,
        num_items,
        results,
        ways=("unmasked",) if name in own else WAYS,
        own=own_metrics(metrics, dataset, training, task),
      )
      for split, task in tasks.items()
    }
    for name, score in {**baselines, **own}.items()
  }


def _settings(config: RunConfig) -> dict[str, Any]:
  exact = {stage.name: {"enabled": True} for stage in trained_baselines(config)}
  plugged: dict[str, Any] = {}
  for register, chosen in (
    (BASELINES, chosen_baselines(config)),
    (METRICS, chosen_metrics(config)),
  ):
    if chosen:
      plugged[register.section] = {one.name: one.values for one in chosen}
      plugged[f"code of {register.section}"] = register.code_of(chosen)
  return {"search": config.search.what_ranks(), **exact, **plugged}


def _files(config: RunConfig) -> dict[str, Any]:
  chosen = [*chosen_baselines(config), *chosen_metrics(config)]
  return {"files": stamps(file for one in chosen for file in one.files())}


def shown(done: Generation) -> str:
  """What a finished evaluation says on the terminal; the files have the rest."""
  results = report.read_evaluation(done.file("evaluation.json"))["results"]
  return summary_text(results, report.read_per_user(done.file("per_user.npz")))


EVALUATE = Stage(
  "evaluate",
  after=lambda config: (TRAIN, *trained_baselines(config)),
  settings=_settings,
  files=_files,
  outputs=lambda config: ("per_user.npz", "evaluation.json", "evaluation.txt"),
  build=write_evaluations,
  shows=shown,
)
