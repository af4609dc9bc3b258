"""Updates night after night, next to trainings from zero: how good, and for how much work.

  python -m sidrec.bench.nightly --json=nightly.json
  python -m sidrec.bench.nightly --config=configs/ml1m.py --config.train.steps=1500 --slices=3

Cuts a log by time. What came first trains a run from zero; equal slices follow, one a night. Each
night that run takes in a slice by an update, and another run is made from zero on the same log,
tokenizer included. Both then recommend to the users who come back in the next slice; the target is
the first event of each. Targets that the log of that night lacks are misses of both.

As everywhere in sidrec, the last two events of each user train nothing: they validate and test.

This command measures and chooses nothing. Settings of `config.nightly` are to be chosen on earlier
slices than those that are reported. Its defaults were compared with others on the shipped data
between 75% and 85% of the events (--first=0.75 --last=0.85 --slices=4); 92% and more is reported.
"""

import dataclasses
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from absl import app, flags
from etils import epath
from ml_collections import config_flags

from sidrec.bench.nightly_cost import Cost, CostMeter
from sidrec.core.atomic import write_whole_text
from sidrec.core.paths import as_path
from sidrec.core.settings import to_dict
from sidrec.data.cache import save_dataset
from sidrec.data.dataset import Dataset, HeldOut, Histories
from sidrec.data.parts import interactions_of, with_interactions
from sidrec.data.settings import DataConfig
from sidrec.evaluation.bootstrap import bootstrap_difference
from sidrec.parallel.hardware import hardware
from sidrec.run.generations import Chain
from sidrec.run.load import load_prepared, recommender_of, semantic_ids_of
from sidrec.run.prepare import read
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stage import run
from sidrec.run.tokenize import TOKENIZE
from sidrec.run.train import TRAIN
from sidrec.training.profile import enable_compilation_cache
from sidrec.update.compare import METRIC, metric_of, of_users
from sidrec.update.logs import match_ids
from sidrec.update.update import Wish, update

_MISSED = -2  # a target that the log of the night lacks; no search returns such a row


class Slices(NamedTuple):
  """How a log is cut by time."""

  first: float = 0.9  # share of the events that come before the nights
  last: float = 1.0  # share of the events at the end of the last slice
  count: int = 5


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  config_flags.DEFINE_config_file("config", "configs/demo.py", "A run.", flag_values=values)
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  flags.DEFINE_float("first", 0.9, "Share of events before the nights.", flag_values=values)
  flags.DEFINE_float("last", 1.0, "Share of events up to the last slice.", flag_values=values)
  flags.DEFINE_integer("slices", 5, "One a night.", flag_values=values)
  flags.DEFINE_string(
    "compilation_cache", None, "Folder for what was compiled.", flag_values=values
  )


def measure(config: RunConfig, folder: epath.Path, slices: Slices) -> dict[str, Any]:
  """All figures, of each night and of all of them together.

  Args:
    config: the settings of the runs; those of the updates are `config.nightly`.
    folder: an empty one; takes logs and runs.
    slices: how to cut the log.

  Raises:
    ValueError: for shares that do not increase or fewer than 2 slices, and as runs do.
  """
  whole, meter, nights = read(config), CostMeter(), []
  stop_X = ends_of(whole.histories, slices)
  chain = run(TRAIN, _of_log(config, prefix(whole, stop_X[0]), folder), folder / "updated")
  for stop, until in itertools.pairwise(stop_X[1:]):
    log, before = prefix(whole, stop), ids_by_item(config, chain)
    tonight = _of_log(config, log, folder)
    with meter.cost() as updating:
      chain = update(tonight, folder / "updated", Wish(force=True))
    with meter.cost() as tokenizing:
      run(TOKENIZE, tonight, folder / "from_zero")
    with meter.cost() as training:
      from_zero = run(TRAIN, tonight, folder / "from_zero")
    after = ids_by_item(config, chain)
    task = next_task(whole, log, stop, until)
    nights.append(
      {
        **compared(*(_scores(tonight, made, task) for made in (chain, from_zero))),
        "ids_equal": all(after[item] == codes for item, codes in before.items()),
        "new_items": len(after) - len(before),
        **_costs(updating[0], tokenizing[0], training[0]),
      }
    )
    print(f"night {len(nights)}: {json.dumps(nights[-1])}", flush=True)
    (folder / "from_zero").rmtree()
  return {**overall(nights), "nights": nights}


def ends_of(histories: Histories, slices: Slices) -> np.ndarray:
  """The time at which each slice ends, that before the nights first: int64 [count + 1].

  Raises:
    ValueError: as `measure` does.
  """
  first, last, count = slices
  if not 0 < first < last <= 1 or count < 2:
    raise ValueError(
      f"first={first:g}, last={last:g} and {count} slices make no nights; give 0 < first < last <= "
      "1 and at least 2 slices: an update is measured on the slice after its own"
    )
  time_T = np.sort(histories.time_T)
  at_X = np.round(np.linspace(first, last, count + 1) * len(time_T)).astype(np.int64)
  return np.append(time_T, time_T[-1] + 1)[at_X]


def prefix(whole: Dataset, stop: int) -> Dataset:
  """The log before a time; users with fewer than 3 events so far are left out."""
  events = interactions_of(whole.histories).filter(pl.col("time") < stop)
  return with_interactions(whole, events.filter(pl.len().over("user") >= 3))


def next_task(whole: Dataset, log: Dataset, stop: int, until: int) -> HeldOut:
  """The first event of each user of a log in the slice that follows, and all before it.

  Args:
    whole: the log with what follows.
    log: its part before `stop`.
    stop: the time at which the slice begins.
    until: the time at which it ends.
  """
  histories = whole.histories
  user_R = match_ids(log.histories.user_ids_U, histories.user_ids_U)
  before_T = np.concatenate([[0], np.cumsum(histories.time_T < stop)])
  offsets_Up1 = histories.offsets_Up1
  at_R = offsets_Up1[user_R] + np.diff(before_T[offsets_Up1])[user_R]
  comes_R = at_R < offsets_Up1[user_R + 1]
  comes_R[comes_R] = histories.time_T[at_R[comes_R]] < until
  row_N = match_ids(whole.items.ids_N, log.items.ids_N)
  target_R = row_N[histories.item_T[at_R[comes_R]]]
  known = of_users(log.histories, np.flatnonzero(comes_R))
  known = known._replace(request_time_U=histories.time_T[at_R[comes_R]])
  return HeldOut(known, np.where(target_R < 0, _MISSED, target_R).astype(np.int32))


def ids_by_item(config: RunConfig, chain: Chain) -> dict[Any, tuple[int, ...]]:
  """Original id → semantic ID."""
  codes_NxL = semantic_ids_of(config, chain).codes.tolist()
  return dict(zip(load_prepared(chain).items.ids_N.tolist(), map(tuple, codes_NxL), strict=True))


def compared(updated_U: np.ndarray, from_zero_U: np.ndarray) -> dict[str, Any]:
  """The metric of both models on the same users, and of their difference."""
  difference = bootstrap_difference(updated_U, from_zero_U)
  return {
    "users": len(updated_U),
    "updated": float(updated_U.mean()),
    "from_zero": float(from_zero_U.mean()),
    "difference": difference.mean,
    "difference_low": difference.low,
    "difference_high": difference.high,
  }


def overall(nights: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """All nights together: a user of two nights counts twice."""
  users_X = np.array([night["users"] for night in nights])

  def total(name: str) -> float:
    return float(sum(night[name] for night in nights))

  updated, from_zero = (
    float(users_X @ [night[name] for night in nights] / users_X.sum())
    for name in ("updated", "from_zero")
  )
  training = total("training_cpu_s")
  return {
    "metric": f"{METRIC}, seen items masked",
    "updated": updated,
    "from_zero": from_zero,
    "updated_of_from_zero": updated / from_zero if from_zero else float("nan"),
    "ids_equal": all(night["ids_equal"] for night in nights),
    "update_of_training_cpu": total("update_cpu_s") / training,
    "update_of_from_zero_cpu": total("update_cpu_s") / (training + total("tokenizing_cpu_s")),
    "update_of_training_cpu_without_compilation": (
      (total("update_cpu_s") - total("update_making_s")) / (training - total("training_making_s"))
    ),
  }


def _costs(update: Cost, tokenizing: Cost, training: Cost) -> dict[str, float]:
  costs = {"update": update, "tokenizing": tokenizing, "training": training}
  return {
    f"{what}_{name}": round(value, 2)
    for what, cost in costs.items()
    for name, value in cost._asdict().items()
  }


def _scores(config: RunConfig, chain: Chain, task: HeldOut) -> np.ndarray:
  return metric_of(recommender_of(config, chain), task, config.search.results)


def _of_log(config: RunConfig, log: Dataset, folder: epath.Path) -> RunConfig:
  """The settings of a run on this log, which is written to the folder."""
  path = folder / f"log_{len(log.histories.item_T)}.npz"
  save_dataset(path, log)
  data = DataConfig(source="dataset", path=str(path))  # it is cut and filtered already
  return dataclasses.replace(config, data=data)


def main(_: Sequence[str]) -> None:
  """Measures, prints, and writes the file."""
  values = flags.FLAGS
  if values.compilation_cache:
    enable_compilation_cache(values.compilation_cache)
  slices = Slices(values.first, values.last, values.slices)
  try:
    config = run_config(values.config)
    with tempfile.TemporaryDirectory() as folder:
      found = measure(config, as_path(folder), slices)
  except (ValueError, OSError) as error:
    sys.exit(f"sidrec: {error}")
  how = {"train_steps": config.train.steps, "nightly": to_dict(config.nightly)}
  found = {"hardware": hardware(), "seed": config.seed, **slices._asdict(), **how, **found}
  for name, value in found.items():
    if name not in ("nights", "nightly"):
      print(f"{name:44} {f'{value:.4g}' if isinstance(value, float) else value}")
  if values.json:
    write_whole_text(as_path(values.json), json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
