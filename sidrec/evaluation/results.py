"""The results table of finished runs: systems, seeds, users, and what others published.

  python -m sidrec.evaluation.results runs/ml1m runs/ml1m-seed1 runs/ml1m-seed2 --markdown

Work directories of one data set and one config are one group: `runs/ml1m` and `runs/ml1m-seed1`
belong to config `ml1m`, and may differ in their seed only. Each group gets a table.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

from sidrec.core.settings import flatten
from sidrec.core.tables import aligned_table, markdown_table
from sidrec.evaluation import intervals, report
from sidrec.evaluation.bootstrap import RESAMPLES, bootstrap_mean
from sidrec.evaluation.intervals import COLUMNS, REFERENCE, TITLES, interval_text
from sidrec.evaluation.protocol import SPLITS
from sidrec.evaluation.published import PROTOCOLS, PUBLISHED
from sidrec.evaluation.seeds import SeedResults, over_seeds

# Settings in which runs of one config may differ.
FREE_SETTINGS = ("seed", "data.path")


class FinishedRun(NamedTuple):
  """A finished run, read from its work directory."""

  folder: str
  config_name: str  # the folder's name without '-seed<number>'
  settings: dict[str, Any]  # flat: 'train.steps' → value
  evaluation: dict[str, Any]  # {'protocol': …, 'results': …}
  per_user: dict[str, np.ndarray]  # 'system/split/way/metric' → float32 [U]; may be empty


class Group(NamedTuple):
  """The runs of one config on one data set, and their means over seeds."""

  dataset: str
  config_name: str
  runs: Sequence[FinishedRun]
  results: SeedResults


def read_run(folder: Path) -> FinishedRun:
  """Reads config.json, evaluation.json and, where it is there, per_user.npz.

  Raises:
    FileNotFoundError: if one of the first two is missing.
    ValueError: if per_user.npz belongs to another evaluation.
  """
  evaluation = report.read_evaluation(folder / "evaluation.json")
  config = folder / "config.json"
  if not config.is_file():
    raise FileNotFoundError(f"there is no {config}, which says what was run; give a work directory")
  settings = flatten(json.loads(config.read_text(encoding="utf-8")))
  kept = folder / "per_user.npz"
  per_user = report.read_per_user(kept) if kept.is_file() else {}
  for name, value_U in per_user.items():
    system, split, way, metric = name.split("/")
    found = evaluation["results"].get(system, {}).get(split, {}).get(way, {}).get(metric)
    if found is None or abs(found - value_U.mean(dtype=np.float64)) > 1e-6:
      raise ValueError(f"{kept} and evaluation.json disagree on {name}; run --mode=evaluate again")
  config_name = re.sub(r"-seed-?\d+$", "", folder.resolve().name)
  return FinishedRun(str(folder), config_name, settings, evaluation, per_user)


def group_runs(runs: Sequence[FinishedRun]) -> list[Group]:
  """Groups in the order in which their first runs are given.

  Raises:
    ValueError: if runs of one group differ in their protocol or settings, or share a seed.
  """
  grouped: dict[tuple[str, str], list[FinishedRun]] = {}
  for run in runs:
    key = (run.evaluation["protocol"]["dataset"], run.config_name)
    grouped.setdefault(key, []).append(run)
  groups = []
  for (dataset, config_name), members in grouped.items():
    _check_settings(members)
    results = over_seeds({run.folder: run.evaluation for run in members})
    groups.append(Group(dataset, config_name, members, results))
  return groups


def _check_settings(runs: Sequence[FinishedRun]) -> None:
  first, seeds = runs[0], {}
  for run in runs:
    for key in {**first.settings, **run.settings}:
      mine, its = run.settings.get(key), first.settings.get(key)
      if key not in FREE_SETTINGS and mine != its:
        raise ValueError(
          f"{run.folder} and {first.folder} are not one config: {key} is {mine!r} and {its!r}; "
          "name the folders of one config <name> and <name>-seed<number>, of others differently"
        )
    seed = run.settings.get("seed")
    if seed in seeds:
      raise ValueError(
        f"{seeds[seed]} and {run.folder} have the same seed {seed}; give one of them"
      )
    seeds[seed] = run.folder


def seed_mean(group: Group, system: str, split: str, way: str, metric: str) -> np.ndarray | None:
  """Each user's mean over the runs that have the system, float64 [U]; None where one kept none."""
  name = f"{system}/{split}/{way}/{metric}"
  having = [run for run in group.runs if system in run.evaluation["results"]]
  if not having or not all(name in run.per_user for run in having):
    return None
  return np.stack([run.per_user[name] for run in having]).mean(axis=0, dtype=np.float64)


def results_rows(group: Group, split: str, resamples: int = RESAMPLES) -> list[list[str]]:
  """The group's table: measured systems, then published ones in a column of their own."""
  rows = [["system", "seeds", *TITLES]]
  for system in _systems(group, split):
    ways = group.results[system][split]
    cells, counts = [], set()
    for way, metric in COLUMNS:
      if metric not in ways.get(way, {}):
        cells.append("-")
        continue
      over = ways[way][metric]
      counts.add(over.num_seeds)
      value_U = seed_mean(group, system, split, way, metric)
      found = "" if value_U is None else f" {interval_text(bootstrap_mean(value_U, resamples))}"
      cells.append(f"{over}{found}")
    rows.append([system, "/".join(map(str, sorted(counts))) or "-", *cells])
  published = PUBLISHED.get(group.dataset, ()) if split == "test" else ()
  if published:
    rows = [[*row, "-" if at else "published: Recall@10 / NDCG@10"] for at, row in enumerate(rows)]
  for other in published:
    figures = f"{other.recall:.4f} / {other.ndcg:.4f} ({other.protocol})"
    rows.append([other.system, *["-"] * (len(TITLES) + 1), figures])
  return rows


def difference_rows(group: Group, split: str, resamples: int = RESAMPLES) -> list[list[str]]:
  """Each other system minus the reference, paired by user; empty where nothing can be paired."""
  mean_of = {}
  for name in dict.fromkeys(name for run in group.runs for name in run.per_user):
    mean_U = seed_mean(group, *name.split("/"))
    if mean_U is not None:
      mean_of[name] = mean_U
  return intervals.difference_rows(mean_of, split, resamples)


def _systems(group: Group, split: str) -> list[str]:
  """The reference first, the others in the file's order."""
  found = [system for system, splits in group.results.items() if split in splits]
  return sorted(found, key=lambda system: system != REFERENCE)


def group_text(group: Group, split: str, markdown: bool = False, resamples: int = RESAMPLES) -> str:
  """The group's tables, and what their cells and published figures mean."""
  protocol = group.runs[0].evaluation["protocol"]
  heading = (
    f"{group.dataset}, config {group.config_name}, {split}: {protocol['num_users']:,} users, "
    f"{protocol['num_items']:,} items, {protocol['num_beams']} beams"
  )
  rows = results_rows(group, split, resamples)
  differences = difference_rows(group, split, resamples)
  render = markdown_table if markdown else aligned_table
  parts = [f"### {heading}" if markdown else heading, render(rows)]
  if differences:
    parts.append(render(differences))
  notes = legend(group, split, bool(differences), resamples)
  parts.append("\n".join(f"- {note}" for note in notes))
  return "\n\n".join(parts) + "\n"


def legend(group: Group, split: str, paired: bool, resamples: int) -> list[str]:
  """One sentence each: what is averaged, how sure it is, and whose the published figures are."""
  count = len(group.runs)
  seeds = ", ".join(str(run.settings.get("seed")) for run in group.runs)
  notes = [
    f"mean ± standard error over {count} seeds ({seeds})"
    if count > 1
    else f"one seed ({seeds}): no standard error over seeds can be given"
  ]
  if all(run.per_user for run in group.runs):
    notes.append(
      f"[95% interval over users]: percentile bootstrap, {resamples:,} resamples, each user's "
      "values averaged over seeds first"
    )
  else:
    lacking = ", ".join(run.folder for run in group.runs if not run.per_user)
    notes.append(f"no interval over users: there is no per_user.npz in {lacking}")
  if paired:
    notes.append(
      f"differences: to {REFERENCE} on the same users, paired bootstrap; p is two-sided, from the "
      "share of resamples whose difference has the other sign"
    )
  if split == "test" and group.dataset in PUBLISHED:
    notes.append(
      "published figures come from other code and other protocols: they give the scale, and no "
      "difference to them is tested"
    )
    named = {other.protocol for other in PUBLISHED[group.dataset]}
    notes += [f"{name}: {text}" for name, text in PROTOCOLS.items() if name in named]
  return notes


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  flags.DEFINE_bool("markdown", False, "Print Markdown.", flag_values=values)
  flags.DEFINE_enum("split", "test", SPLITS, "Which targets.", flag_values=values)


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Prints a table for each group; expected errors end with their sentence."""
  if len(argv) < 2:
    raise app.UsageError("no work directory given; name one or more, such as runs/ml1m")
  try:
    groups = group_runs([read_run(Path(folder)) for folder in argv[1:]])
  except (ValueError, OSError) as error:
    sys.exit(f"sidrec: {error}")
  print("\n".join(group_text(group, values.split, values.markdown) for group in groups), end="")


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
