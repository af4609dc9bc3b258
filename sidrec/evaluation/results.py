"""The results table of finished runs: systems, seeds, users, and published figures.

  python -m sidrec.evaluation.results runs/ml1m runs/ml1m-seed1 runs/ml1m-seed2 --markdown

Work directories of one data set and one config form a group: `runs/ml1m` and `runs/ml1m-seed1`
belong to config `ml1m`, and may differ only in their seed. Each group gets a table.
"""

import re
import reprlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags
from etils import epath

from sidrec.core.atomic import PathLike
from sidrec.core.checked_json import parse_checked
from sidrec.core.paths import absolute, as_path
from sidrec.core.settings import flatten
from sidrec.core.tables import aligned_table, markdown_table
from sidrec.evaluation import report
from sidrec.evaluation.bootstrap import RESAMPLES, bootstrap_mean
from sidrec.evaluation.intervals import (
  REFERENCE,
  column_paths,
  columns_of,
  difference_rows,
  interval_text,
  titles_of,
)
from sidrec.evaluation.protocol import SPLITS
from sidrec.evaluation.published import PROTOCOLS, PUBLISHED
from sidrec.evaluation.seeds import OverSeeds, over_seeds

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
  results: dict[str, OverSeeds]  # by 'system/split/way/metric'
  per_user: dict[str, np.ndarray]  # by the same paths: each user's mean over seeds, float64 [U]


def read_run(folder: PathLike) -> FinishedRun:
  """Reads config.json, evaluation.json and per_user.npz, which may be missing.

  Raises:
    FileNotFoundError: if one of the first two is missing.
    ValueError: if one is damaged, or per_user.npz belongs to another evaluation.
  """
  folder = as_path(folder)
  evaluation = report.read_evaluation(folder / "evaluation.json")
  config = folder / "config.json"
  if not config.is_file():
    raise FileNotFoundError(f"there is no {config}, which says what was run; give a work directory")
  settings = flatten(_read_settings(config))
  kept = folder / "per_user.npz"
  per_user = report.read_per_user(kept) if kept.is_file() else {}
  means = flatten(evaluation["results"], separator="/")
  for path, value_U in per_user.items():
    if path not in means or not abs(means[path] - value_U.mean(dtype=np.float64)) <= 1e-6:
      raise ValueError(f"{kept} and evaluation.json disagree on {path}; run --mode=evaluate again")
  config_name = re.sub(r"-seed-?\d+$", "", absolute(folder).name)
  return FinishedRun(str(folder), config_name, settings, evaluation, per_user)


def _read_settings(path: epath.Path) -> dict[str, Any]:
  """The content of config.json."""
  try:
    settings = parse_checked(path.read_bytes())
    if type(settings.get("seed", 0)) is not int:
      raise ValueError("no settings of a run")
  except ValueError as error:
    raise ValueError(f"{path} is {error}; run --mode=evaluate with this workdir again") from None
  return settings


def group_runs(runs: Sequence[FinishedRun]) -> list[Group]:
  """Groups in the order of their first runs.

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
    groups.append(Group(dataset, config_name, members, results, _user_means(members)))
  return groups


def _check_settings(runs: Sequence[FinishedRun]) -> None:
  first, seeds = runs[0], {}
  for run in runs:
    for key in {**first.settings, **run.settings}:
      mine, its = run.settings.get(key), first.settings.get(key)
      if key not in FREE_SETTINGS and mine != its:
        raise ValueError(
          f"{run.folder} and {first.folder} are not one config: {key} is {reprlib.repr(mine)} and "
          f"{reprlib.repr(its)}; "
          "name the folders of one config <name> and <name>-seed<number>, of others differently"
        )
    seed = run.settings.get("seed")
    if seed in seeds:
      raise ValueError(
        f"{seeds[seed]} and {run.folder} have the same seed {seed}; give one of them"
      )
    seeds[seed] = run.folder


def _user_means(runs: Sequence[FinishedRun]) -> dict[str, np.ndarray]:
  """Each user's mean over the runs that have a system, if all of these kept their users."""
  means = {}
  for path in dict.fromkeys(path for run in runs for path in run.per_user):
    system = path.split("/")[0]
    having = [run.per_user for run in runs if system in run.evaluation["results"]]
    if all(path in per_user for per_user in having):
      values = np.stack([per_user[path] for per_user in having])
      means[path] = values.mean(axis=0, dtype=np.float64)
  return means


def results_rows(group: Group, split: str, resamples: int = RESAMPLES) -> list[list[str]]:
  """The group's table: measured systems, then published ones in a column of their own."""
  columns = columns_of(group.results)
  header, rows = ["system", "seeds", *titles_of(columns)], []
  systems = dict.fromkeys(path.split("/")[0] for path in group.results if f"/{split}/" in path)
  for system in sorted(systems, key=lambda system: system != REFERENCE):  # the reference first
    paths = column_paths(system, split, columns)
    counts = sorted({group.results[path].num_seeds for path in paths if path in group.results})
    cells = [_cell(group, path, resamples) for path in paths]
    rows.append([system, "/".join(map(str, counts)) or "-", *cells])
  others = PUBLISHED.get(group.dataset, ()) if split == "test" else ()
  if others:
    header.append("published: Recall@10 / NDCG@10")
    rows = [[*row, "-"] for row in rows]
    rows += [[other.system, *["-"] * (len(header) - 2), str(other)] for other in others]
  return [header, *rows]


def _cell(group: Group, path: str, resamples: int) -> str:
  """'0.3056 ± 0.0012 [0.2981, 0.3217]', as far as it was measured."""
  if path not in group.results:
    return "-"
  over = str(group.results[path])
  if path not in group.per_user:
    return over
  return f"{over} {interval_text(bootstrap_mean(group.per_user[path], resamples))}"


def group_text(
  group: Group, split: str, resamples: int = RESAMPLES, *, markdown: bool = False
) -> str:
  """The group's tables, and what their cells and published figures mean."""
  protocol = group.runs[0].evaluation["protocol"]
  heading = (
    f"{group.dataset}, config {group.config_name}, {split}: {protocol['num_users']:,} users, "
    f"{protocol['num_items']:,} items, {protocol['num_beams']} beams"
    + (f"; {times}" if (times := protocol.get("request_time")) else "")
  )
  tables = [results_rows(group, split, resamples)]
  differences = difference_rows(group.per_user, split, resamples)
  if differences:
    tables.append(differences)
  return (
    "\n\n".join(
      [
        f"### {heading}" if markdown else heading,
        *map(markdown_table if markdown else aligned_table, tables),
        "\n".join(f"- {note}" for note in _notes(group, split, resamples, bool(differences))),
      ]
    )
    + "\n"
  )


def _notes(group: Group, split: str, resamples: int, paired: bool) -> list[str]:
  """A sentence each on seeds, intervals, differences and the published figures' protocols."""
  count = len(group.runs)
  seeds = ", ".join(str(run.settings.get("seed")) for run in group.runs)
  notes = [
    f"mean ± standard error over {count} seeds ({seeds})"
    if count > 1
    else f"one seed ({seeds}): no standard error over seeds can be given"
  ]
  lacking = ", ".join(run.folder for run in group.runs if not run.per_user)
  if lacking:
    notes.append(f"no interval over users: there is no per_user.npz in {lacking}")
  else:
    notes.append(
      f"[95% interval over users]: percentile bootstrap, {resamples:,} resamples, each user's "
      "values averaged over seeds first"
    )
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
    groups = group_runs([read_run(folder) for folder in argv[1:]])
  except (ValueError, OSError) as error:
    sys.exit(f"sidrec: {error}")
  texts = [group_text(group, values.split, markdown=values.markdown) for group in groups]
  print("\n".join(texts), end="")


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
