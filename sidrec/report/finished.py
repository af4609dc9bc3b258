"""What a report reads of a finished run: the chain of stages that was evaluated, checked."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.core.atomic import PathLike
from sidrec.core.paths import absolute, as_path
from sidrec.core.readers import parse_json
from sidrec.data.dataset import Dataset, training_view
from sidrec.evaluation.details import KEPT, SPLIT, Details, read_details
from sidrec.evaluation.intervals import REFERENCE
from sidrec.evaluation.protocol import Protocol
from sidrec.evaluation.report import read_evaluation, read_per_user
from sidrec.evaluation.search_cost import SearchCost
from sidrec.run.config_file import load_config
from sidrec.run.evaluate import EVALUATE
from sidrec.run.generations import Chain
from sidrec.run.prepare import load_prepared
from sidrec.run.search_cost import read_cost
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import find
from sidrec.run.tokenize_items import read_ids

WAY = "masked"  # what the page shows unless it says otherwise


class FinishedRun(NamedTuple):
  """A finished run, read from its folder."""

  name: str
  workdir: epath.Path
  config: RunConfig
  chain: Chain
  dataset: Dataset
  popularity_N: np.ndarray  # int [N], interactions with each item in training
  ids: SemanticIDManager
  results: Mapping[str, Any]  # system → split → way → metric → mean
  protocol: Protocol
  per_user: Mapping[str, np.ndarray]  # 'system/split/way/metric' → float32 [U]
  details: Details
  quality: Mapping[str, Any]  # of the IDs, see `tokenizers.report.quality`
  cost: SearchCost | None = None  # what beams find and take, if it was measured

  def values(self, system: str, metric: str, way: str = WAY) -> np.ndarray:
    """A metric of every user of the test split: float32 [U]."""
    return self.per_user[f"{system}/{SPLIT}/{way}/{metric}"]

  @property
  def systems(self) -> list[str]:
    """Those that were measured, the recommender first."""
    return sorted(self.details.lists, key=lambda system: system != REFERENCE)

  def measured(self, way: str = WAY) -> list[str]:
    """The systems that were measured in this way; baselines that only repeat are unmasked alone."""
    return [system for system in self.systems if way in self.details.lists[system]]


def read(workdir: PathLike, config: RunConfig | ConfigDict | None = None) -> FinishedRun:
  """The newest evaluated chain of a run's folder.

  Args:
    workdir: the folder.
    config: its settings; by default those that lie in it.

  Raises:
    FileNotFoundError: if it was not evaluated.
    ValueError: if something is damaged, was built with other settings, or was evaluated before
      lists were kept.
  """
  workdir = as_path(workdir)
  config = load_config(workdir) if config is None else run_config(config)
  chain = find(EVALUATE, config, workdir)
  evaluation = read_evaluation(chain["evaluate"].file("evaluation.json"))
  kept = chain["evaluate"].file("per_user.npz")
  per_user, details = read_per_user(kept), read_details(kept)
  if REFERENCE not in details.lists or config.search.results < KEPT:
    raise ValueError(
      f"{workdir} has lists of {config.search.results} results, and a report needs metrics at "
      f"{KEPT}; set search.results to {KEPT} or more and run --mode=evaluate"
    )
  try:
    protocol = Protocol(**evaluation["protocol"])
  except TypeError:
    raise ValueError(
      f"the protocol of {workdir} is one of another version; run --mode=evaluate --redo=evaluate"
    ) from None
  dataset = load_prepared(chain)
  training = training_view(dataset.histories)
  return FinishedRun(
    absolute(workdir).name,
    workdir,
    config,
    chain,
    dataset,
    np.bincount(training.item_T, minlength=dataset.items.num_items),
    read_ids(chain["tokenize"]),
    evaluation["results"],
    protocol,
    per_user,
    details,
    parse_json(chain["tokenize"].file("tokenizer.json").read_bytes()),
    read_cost(config, chain, workdir),
  )


def strongest(run: FinishedRun, metric: str = "ndcg@10") -> str | None:
  """The other system with the highest mean on the test users; None if nothing else was measured."""
  others = [system for system in run.measured() if system != REFERENCE]
  return max(others, key=lambda name: run.results[name][SPLIT][WAY][metric], default=None)


def title_of(run: FinishedRun, item: int) -> str:
  """An item's title, or its id where it has none."""
  items = run.dataset.items
  return items.titles_N.item(item).strip() or f"item {items.ids_N.item(item)}"


def id_text(run: FinishedRun, item: int) -> str:
  """'11 · 79 · 0'."""
  return "·".join(map(str, run.ids.codes[item].tolist()))
