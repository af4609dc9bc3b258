"""Mode 'cold_start': holds some items out of everything and recommends them without training.

The experiment has a run of its own in a folder of the work directory. The catalogue and the
histories of this run lack a fraction of the items. Afterwards these items get IDs from their
vectors and parameters from similar items; the share of new items in the lists is chosen on
validation.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from sidrec.cold_start.evaluation import (
  Candidate,
  choose_share,
  metrics_by_target,
  report_text,
  task_with_new_items,
)
from sidrec.cold_start.new_items import Grown, grow
from sidrec.core.atomic import PathLike, write_whole_text
from sidrec.core.paths import as_path
from sidrec.core.settings import to_dict
from sidrec.data.dataset import Dataset, HeldOut
from sidrec.data.parts import take_items
from sidrec.data.seen import seen_items
from sidrec.evaluation.protocol import SPLITS, request_times
from sidrec.parallel.hosts import from_primary
from sidrec.run.generations import Chain
from sidrec.run.prepare import PREPARE, load_prepared
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import AS_NEEDED, Manner, Stage, run
from sidrec.run.stages import run_to
from sidrec.search.merge import merge

Metrics = dict[str, dict[str, float]]  # see `metrics_by_target`

FOLDER = "cold_start"  # of the experiment's own run


def cold_start(
  config: RunConfig | ConfigDict, workdir: PathLike, manner: Manner = AS_NEEDED
) -> Chain:
  """Trains without the held-out items, adds them, and measures how both kinds are recommended.

  Writes `cold_start.json` and `cold_start.txt`, which it prints.

  Returns:
    The generations of the stage and of what it was built on.
  """
  config, workdir = run_config(config), as_path(workdir)
  held_out = dataclasses.replace(config.cold_start, held_out=True)
  without = dataclasses.replace(config, cold_start=held_out)
  of_stage = manner.redo == "cold_start"
  before = manner._replace(redo="") if of_stage else manner
  trained = run_to("train", without, workdir / FOLDER, before)

  def build(config: RunConfig, folder: epath.Path, before: Chain) -> None:
    del config
    measured = measure(without, load_prepared(before), trained)
    from_primary(lambda: _write(measured, folder))

  stage = Stage(
    "cold_start",
    after=lambda config: (PREPARE,),
    settings=lambda config: {
      "identity of the run without": trained["train"].record.identity,
      "search": config.search.what_ranks(),
      "cold_start": to_dict(config.cold_start),
    },
    outputs=lambda config: ("cold_start.json", "cold_start.txt"),
    build=build,
    shows=lambda done: done.file("cold_start.txt").read_text(encoding="utf-8"),
  )
  return run(stage, config, workdir, manner if of_stage else manner._replace(redo=""))


def _write(measured: Mapping[str, Any], folder: epath.Path) -> None:
  text = json.dumps(measured, indent=2, allow_nan=False)
  write_whole_text(folder / "cold_start.json", f"{text}\n")
  write_whole_text(folder / "cold_start.txt", report_text(measured))


class _Experiment(NamedTuple):
  """A grown catalogue and the tasks of both splits in it."""

  grown: Grown
  num_known: int  # rows from here on are new
  tasks: dict[str, HeldOut]  # by split, with rows of the grown catalogue

  def has_new_target(self, split: str) -> np.ndarray:
    """Whether each user's target is a new item: bool [U].

    Raises:
      ValueError: if all targets are new, or none.
    """
    new_U = self.tasks[split].target_U >= self.num_known
    if new_U.all() or not new_U.any():
      raise ValueError(
        f"of the {len(new_U)} users in {split}, {new_U.sum()} have a held-out item as target; "
        "both kinds are needed: choose another cold_start.fraction or seed"
      )
    return new_U

  def with_shares(self, split: str, users_R: np.ndarray, shares: Sequence[float]) -> list[Metrics]:
    """The metrics of merged lists, for each share of new items."""
    task = self.tasks[split]
    seen, search = seen_items(task.histories), self.grown.both
    known, new = search.recommend_users(search.params, task.histories, users_R, seen)
    merged = [merge(known, new, share) for share in shares]
    return [metrics_by_target(lists, task.target_U[users_R], self.num_known) for lists in merged]

  def in_one_trie(self, split: str, users_R: np.ndarray) -> Metrics:
    """What the constrained search alone gives to items that were never trained."""
    task, search = self.tasks[split], self.grown.all
    seen = seen_items(task.histories)
    lists = search.recommend_users(search.params, task.histories, users_R, seen)
    return metrics_by_target(lists, task.target_U[users_R], self.num_known)


def measure(config: RunConfig, whole: Dataset, trained: Chain) -> dict[str, Any]:
  """The content of `cold_start.json`: see `evaluation.report_text`.

  Args:
    config: of the run without the held-out items.
    whole: the data set with all items.
    trained: the run without the held-out items.

  Raises:
    ValueError: if no target of a split is a held-out item, or all are.
  """
  settings = config.cold_start
  experiment = _grow(config, trained, whole)
  valid_R = _validation_users(experiment, config.seed, config.train.valid_users)
  shares = (0.0, *sorted(settings.shares))
  by_share = dict(zip(shares, experiment.with_shares("valid", valid_R, shares), strict=True))
  candidates = [
    Candidate(share, metrics["cold"]["recall@10"], metrics["warm"]["recall@10"])
    for share, metrics in by_share.items()
  ]
  chosen = choose_share(candidates, settings.largest_loss)
  test_new_U = experiment.has_new_target("test")
  before, after = experiment.with_shares("test", np.arange(len(test_new_U)), (0.0, chosen.share))
  num_known, users = experiment.num_known, whole.histories.num_users
  return {
    "dataset": whole.name,
    "items": {"known": num_known, "new": whole.items.num_items - num_known},
    "users_left_out": {
      split: users - task.histories.num_users for split, task in experiment.tasks.items()
    },
    "largest_loss": settings.largest_loss,
    "share": chosen.share,
    "request_time": request_times({"sidrec": config.model.inputs.asked}),
    "valid": {f"{share:g}": metrics for share, metrics in by_share.items()},
    "test": {
      "known items alone": before,
      "one trie of all": experiment.in_one_trie("test", np.flatnonzero(test_new_U)),
      f"share {chosen.share:g}": after,
    },
  }


def _validation_users(experiment: _Experiment, seed: int, num_known: int) -> np.ndarray:
  """All validation users whose target is new, then a random sample of the others: int [R]."""
  new_U = experiment.has_new_target("valid")
  known_R = np.random.default_rng(seed).permutation(np.flatnonzero(~new_U))
  return np.concatenate([np.flatnonzero(new_U), known_R[:num_known]])


def _grow(config: RunConfig, trained: Chain, whole: Dataset) -> _Experiment:
  """Adds the held-out items to the run that was trained without them."""
  trained_ids_N = load_prepared(trained).items.ids_N
  known, names = {*trained_ids_N.tolist()}, whole.items.ids_N.tolist()
  new_M = np.array([row for row, name in enumerate(names) if name not in known], np.int64)
  grown = grow(config, trained, take_items(whole.items, new_M))
  # The row of each item of the whole catalogue in the grown one, which holds them all.
  row_of = {name: row for row, name in enumerate(grown.dataset.items.ids_N.tolist())}
  row_N = np.array([row_of[name] for name in names])
  num_known = len(trained_ids_N)
  tasks = {split: task_with_new_items(whole.histories, row_N, num_known, split) for split in SPLITS}
  return _Experiment(grown, num_known, tasks)
