"""Updates night after night, next to trainings from zero: how good, and for how much work.

  python -m sidrec.bench.nightly --json=nightly.json
  python -m sidrec.bench.nightly --config=configs/ml1m.py --config.train.steps=1500 --slices=3
  python -m sidrec.bench.nightly --workdir=runs/nights --config.nightly.replay=4

Cuts a log by time. What came first trains a run from zero; equal slices follow, one a night. Each
night that run takes in a slice by an update, and another run is made from zero on the same log,
tokenizer included. Both then predict each event of the next slice from all that its user did before
it, as a server does that hears of events at once. Items that the log of that night lacks are left
out of histories; as targets they are misses of both. Each user's first event of the slice, with
nothing of the slice before it, is also measured alone.

As everywhere in sidrec, the last two events of each user train nothing: they validate and test.

This command measures and chooses nothing. Settings of `config.nightly` are to be chosen on earlier
slices than those that are reported. Its defaults were compared with others on the shipped data
between 75% and 85% of the events (--first=0.75 --last=0.85 --slices=4); 92% and more is reported.
With --workdir the trainings from zero are kept, and other settings of `config.nightly` find them.
"""

import dataclasses
import filecmp
import itertools
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from absl import app, flags
from ml_collections import config_flags

from sidrec.bench.command import check_flags_alone, one_sentence, write_json
from sidrec.bench.nightly_cost import Cost, CostMeter
from sidrec.core.atomic import write_whole_text
from sidrec.core.paths import as_path
from sidrec.core.settings import to_dict
from sidrec.data.cache import save_dataset
from sidrec.data.dataset import Dataset, HeldOut, Histories, first_events
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
from sidrec.update.compare import METRIC, in_rows_of, metric_of, of_users
from sidrec.update.logs import match_ids
from sidrec.update.update import Wish, update


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
  flags.DEFINE_string("workdir", None, "Folder that keeps logs and runs.", flag_values=values)
  flags.DEFINE_string(
    "compilation_cache", None, "Folder for what was compiled.", flag_values=values
  )


def measure(config: RunConfig, folder: Path, slices: Slices) -> dict[str, Any]:
  """All figures, of each night and of all of them together.

  Args:
    config: the settings of the runs; those of the updates are `config.nightly`.
    folder: takes logs and runs; an empty one, or one of nights whose updates had other settings.
    slices: how to cut the log.

  Raises:
    ValueError: for shares that do not increase or fewer than 2 slices, for a folder of another log
      or other settings, and as runs do.
  """
  whole, meter, nights = read(config), CostMeter(), []
  stop_X = ends_of(whole.histories, slices)
  _claim(folder, config, slices)
  first = _of_log(config, prefix(whole, stop_X[0]), folder)
  run(TRAIN, first, as_path(folder / "first"))
  shutil.rmtree(folder / "updated", ignore_errors=True)
  shutil.copytree(folder / "first", folder / "updated", symlinks=True)
  chain = run(TRAIN, first, as_path(folder / "updated"))  # which finds what was copied
  for number, (stop, until) in enumerate(itertools.pairwise(stop_X[1:]), 1):
    log = prefix(whole, stop)
    tonight = _of_log(config, log, folder)
    from_zero, costs = _from_zero(tonight, folder / f"from_zero_{number}", meter)
    before = ids_by_item(config, chain)
    with meter.cost() as updating:
      chain = update(tonight, as_path(folder / "updated"), Wish(force=True))
    after = ids_by_item(config, chain)
    task = slice_task(whole, log, stop, until)
    updated_R, from_zero_R = (_scores(tonight, made, task) for made in (chain, from_zero))
    user_R = task.histories.user_ids_U
    _, first_R = np.unique(user_R, return_index=True)
    nights.append(
      {
        **compared(updated_R, from_zero_R, user_R),
        "first_events": compared(updated_R[first_R], from_zero_R[first_R], user_R[first_R]),
        "ids_equal": all(after[item] == codes for item, codes in before.items()),
        "new_items": len(after) - len(before),
        **_seconds({"update": updating[0]}),
        **costs,
      }
    )
    print(f"night {number}: {json.dumps(nights[-1])}", flush=True)
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


def slice_task(whole: Dataset, log: Dataset, stop: int, until: int) -> HeldOut:
  """Each event of a slice as a target, and what its user did before it; one row an event.

  Events with nothing before them that the log's catalogue has are left out.

  Args:
    whole: the log with what follows.
    log: its part before `stop`.
    stop: the time at which the slice begins.
    until: the time at which it ends.
  """
  histories = whole.histories
  at_R = np.flatnonzero((histories.time_T >= stop) & (histories.time_T < until))
  user_R = np.searchsorted(histories.offsets_Up1, at_R, side="right") - 1
  before = first_events(histories, user_R, at_R - histories.offsets_Up1[user_R])
  before = before._replace(request_time_U=histories.time_T[at_R])
  row_N = match_ids(whole.items.ids_N, log.items.ids_N)
  task = in_rows_of(HeldOut(before, histories.item_T[at_R]), row_N)
  asked_R = np.flatnonzero(task.histories.lengths_U)
  return HeldOut(of_users(task.histories, asked_R), task.target_U[asked_R])


def ids_by_item(config: RunConfig, chain: Chain) -> dict[Any, tuple[int, ...]]:
  """Original id → semantic ID."""
  codes_NxL = semantic_ids_of(config, chain).codes.tolist()
  return dict(zip(load_prepared(chain).items.ids_N.tolist(), map(tuple, codes_NxL), strict=True))


def compared(updated_R: np.ndarray, from_zero_R: np.ndarray, user_R: np.ndarray) -> dict[str, Any]:
  """The metric of both models on the same events, and of their difference.

  Args:
    updated_R: float [R], the metric of one model for each event.
    from_zero_R: that of the other.
    user_R: whose events they are; the interval is of other users, who bring all of their events.
  """
  difference = bootstrap_difference(by_user(updated_R, user_R), by_user(from_zero_R, user_R))
  return {
    "events": len(user_R),
    "users": len(np.unique(user_R)),
    "updated": float(updated_R.mean()),
    "from_zero": float(from_zero_R.mean()),
    "difference": difference.mean,
    "difference_low": difference.low,
    "difference_high": difference.high,
  }


def by_user(value_R: np.ndarray, user_R: np.ndarray) -> np.ndarray:
  """One number for each user, whose mean over users is the mean of the values: float64 [U]."""
  _, user_R = np.unique(user_R, return_inverse=True)
  sum_U = np.bincount(user_R, value_R)
  return sum_U * len(sum_U) / len(value_R)


def overall(nights: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """All nights together: each event counts once."""
  events_X = np.array([night["events"] for night in nights])

  def total(name: str) -> float:
    return float(sum(night[name] for night in nights))

  updated, from_zero = (
    float(events_X @ [night[name] for night in nights] / events_X.sum())
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


def _from_zero(config: RunConfig, folder: Path, meter: CostMeter) -> tuple[Chain, dict[str, float]]:
  """A run made from zero and what it cost, which a file next to it remembers."""
  remembered = folder.with_suffix(".json")
  if not remembered.exists():  # of an interrupted training only a part would be counted
    shutil.rmtree(folder, ignore_errors=True)
    with meter.cost() as tokenizing:
      run(TOKENIZE, config, as_path(folder))
    with meter.cost() as training:
      run(TRAIN, config, as_path(folder))
    costs = _seconds({"tokenizing": tokenizing[0], "training": training[0]})
    write_whole_text(remembered, json.dumps(costs))
  return run(TRAIN, config, as_path(folder)), json.loads(remembered.read_text())


def _seconds(costs: dict[str, Cost]) -> dict[str, float]:
  return {
    f"{what}_{name}": round(value, 2)
    for what, cost in costs.items()
    for name, value in cost._asdict().items()
  }


def _scores(config: RunConfig, chain: Chain, task: HeldOut) -> np.ndarray:
  return metric_of(recommender_of(config, chain), task, config.search.results)


def _claim(folder: Path, config: RunConfig, slices: Slices) -> None:
  """Writes down what the folder's nights are of.

  Raises:
    ValueError: if they are of something else.
  """
  settings = {**to_dict(config), "slices": slices._asdict()}
  del settings["nightly"]
  text, file = json.dumps(settings, indent=2, default=list) + "\n", folder / "nights.json"
  if not file.exists():
    write_whole_text(file, text)
  elif file.read_text() != text:
    raise ValueError(f"the nights in {folder} have other settings ({file.name}); give a new folder")


def _of_log(config: RunConfig, log: Dataset, folder: Path) -> RunConfig:
  """The settings of a run on this log, which is written to the folder if it is not there."""
  path = folder / f"log_{len(log.histories.item_T)}.npz"
  if path.exists():
    again = path.with_stem("again")
    save_dataset(again, log)
    is_equal = filecmp.cmp(again, path, shallow=False)
    again.unlink()
    if not is_equal:
      raise ValueError(f"{path} is of another log; give a new folder")
  else:
    save_dataset(path, log)
  data = DataConfig(source="dataset", path=str(path))  # it is cut and filtered already
  return dataclasses.replace(config, data=data)


def main(argv: Sequence[str]) -> None:
  """Measures, prints, and writes the file."""
  check_flags_alone(argv)
  values = flags.FLAGS
  if values.compilation_cache:
    enable_compilation_cache(values.compilation_cache)
  slices = Slices(values.first, values.last, values.slices)
  with one_sentence(), tempfile.TemporaryDirectory() as empty:
    config = run_config(values.config)
    folder = Path(values.workdir or empty).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(config, folder, slices)
  how = {"train_steps": config.train.steps, "nightly": to_dict(config.nightly)}
  found = {"hardware": hardware(), "seed": config.seed, **slices._asdict(), **how, **found}
  for name, value in found.items():
    if name not in ("nights", "nightly"):
      print(f"{name:44} {f'{value:.4g}' if isinstance(value, float) else value}")
  write_json(values.json, found)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
