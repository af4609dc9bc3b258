"""Several runs on one page: paired differences on the same users, IDs, lists and sizes."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from etils import epath

from sidrec.core.atomic import PathLike, write_whole_text
from sidrec.core.paths import as_path
from sidrec.core.settings import flatten, to_dict
from sidrec.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from sidrec.evaluation.details import SPLIT
from sidrec.evaluation.intervals import REFERENCE, columns_of, lead, title_of
from sidrec.parallel.hosts import from_primary
from sidrec.report.charts.forest import Point, Row, forest
from sidrec.report.charts.svg import COLOURS
from sidrec.report.compare_ids import sizes, tokenizers, what_they_show
from sidrec.report.compare_speed import speeds
from sidrec.report.finished import WAY, FinishedRun, read, strongest
from sidrec.report.html import Html, Part, figure, join, pair, paragraph, section, table, tag
from sidrec.report.page import page
from sidrec.report.results import interval
from sidrec.report.same import check_same
from sidrec.report.slices import METRIC, drawn, slicings
from sidrec.run.config_file import PATHS, without_paths

_SETTINGS, _LONGEST = 40, 60  # rows that are shown, and letters of a value

Rows = list[Sequence[Part]]


class Comparison(NamedTuple):
  """A page on several runs."""

  path: epath.Path
  headline: str  # one sentence: which run is best


def compare(paths: Sequence[PathLike], output: PathLike) -> Comparison:
  """Writes one page on several evaluated runs.

  Args:
    paths: their folders. Differences are to the first.
    output: the HTML file; a reader sees the old or the whole new one.

  Raises:
    FileNotFoundError: if a run was not evaluated.
    ValueError: for fewer than two runs or too many, for runs whose users, data or protocol differ,
      and as `finished.read` does.
  """
  if not 2 <= len(paths) <= COLOURS:
    raise ValueError(f"give 2 to {COLOURS} runs to compare, not {len(paths)}")
  output = as_path(output)
  runs = _named_apart([read(path) for path in paths])
  from_primary(lambda: write_whole_text(output, compare_text(runs)))
  return Comparison(output, headline(runs))


def compare_text(runs: Sequence[FinishedRun]) -> str:
  """The page. Raises ValueError for runs that cannot be compared."""
  runs = _named_apart(runs)
  check_same(runs)
  first = runs[0]
  sections = {
    "Results": _results(runs),
    "What differs": _settings(runs),
    "For whom they work": _slices(runs),
    "Their semantic IDs": tokenizers(runs),
    "What they recommend": what_they_show(runs),
    "Quality and size": sizes(runs),
    "Quality and speed": speeds(runs),
  }
  top = [
    tag("p", f"Runs compared · data set {first.protocol.dataset}", class_="kicker"),
    tag("h1", " · ".join(run.name for run in runs)),
    tag("p", headline(runs), class_="lede"),
  ]
  return page("sidrec: runs compared", top, list(sections.items()))


def headline(runs: Sequence[FinishedRun]) -> str:
  """One sentence: the best run against the next."""
  order = sorted(runs, key=lambda run: -run.results[REFERENCE][SPLIT][WAY]["ndcg@10"])
  best, other = order[:2]
  gap = lead(*(run.values(REFERENCE, "ndcg@10") for run in (best, other)))
  mean, its = (run.results[REFERENCE][SPLIT][WAY]["ndcg@10"] for run in (best, other))
  numbers = f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
  users = f"on the same {best.protocol.num_users:,} users"
  if gap.low > 0:
    verdict = f"{best.name} is best, ahead of {other.name}"
  else:
    verdict = f"{best.name} and {other.name}, the two highest, cannot be told apart"
  return f"{verdict}: NDCG@10 {mean:.4f} against {its:.4f}, a difference of {numbers} {users}."


def _named_apart(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
  """Runs whose folders have one name get numbers."""
  counts, seen, named = Counter(run.name for run in runs), Counter(), []
  for run in runs:
    seen[run.name] += 1
    name = f"{run.name} ({seen[run.name]})" if counts[run.name] > 1 else run.name
    named.append(run._replace(name=name))
  return named


def _results(runs: Sequence[FinishedRun]) -> Html:
  """Means of all runs and of the strongest other system, and differences to the first run."""
  first, other = runs[0], strongest(runs[0])
  systems = [(run.name, run, REFERENCE) for run in runs]
  if other:
    systems.append((f"{other} (in {first.name})", first, other))
  columns, missing = _columns(runs)
  titles = [f"{title_of(metric)}, {way}" for metric, way in columns]
  means: Rows = [["run", *titles]]
  for name, run, system in systems:
    found = [bootstrap_mean(run.values(system, metric, way)) for metric, way in columns]
    means.append([name, *(join([f"{x.mean:.4f} ", interval(x.low, x.high)]) for x in found)])
  gaps: Rows = [[f"minus {first.name}", *titles]]
  rows, gap_rows = [], []
  for at, (name, run, system) in enumerate(systems):
    found = bootstrap_mean(run.values(system, "ndcg@10"))
    rows.append(Row(name, [Point(found.mean, found.low, found.high)], series=at))
    if at == 0:
      continue
    leads = [
      bootstrap_difference(run.values(system, metric, way), first.values(REFERENCE, metric, way))
      for metric, way in columns
    ]
    gaps.append([name, *map(_gap, leads)])
    gap = leads[columns.index(("ndcg@10", WAY))]
    gap_rows.append(Row(name, [Point(gap.mean, gap.low, gap.high)], series=at))
  label = "NDCG@10 on the test set, masked, with 95% intervals over users"
  gap_label = f"NDCG@10 minus that of {first.name}, masked, paired by user"
  return section(
    "Results",
    pair(
      figure(forest(rows, "NDCG@10", label), label + "."),
      figure(
        forest(gap_rows, "difference of NDCG@10", gap_label, signed=True),
        gap_label + f"; left of the dashed line {first.name} is better.",
      ),
    ),
    table("Means over all test users, with 95% intervals over users", means),
    table(f"Differences to {first.name}, paired bootstrap on the same users", gaps),
    *map(paragraph, missing),
  )


def _columns(runs: Sequence[FinishedRun]) -> tuple[list[tuple[str, str]], list[str]]:
  """(metric, way) of what all runs measured, and a sentence for each metric that some did not."""
  of_run = {run.name: dict.fromkeys(columns_of(run.per_user)) for run in runs}
  every = dict.fromkeys(column for columns in of_run.values() for column in columns)
  shared = [column for column in every if all(column in columns for columns in of_run.values())]
  missing = []
  for metric in dict.fromkeys(column[1] for column in every if column not in shared):
    having = [name for name, columns in of_run.items() if any(m == metric for _, m in columns)]
    missing.append(f"{metric} was measured in {', '.join(having)} only, so it is left out.")
  return [(metric, way) for way, metric in shared], missing


def _gap(gap: Any) -> Html:
  words = interval(gap.low, gap.high, "+")
  return join([f"{gap.mean:+.4f} ", words, tag("small", f"p={gap.p_value:.4f}")])


def _settings(runs: Sequence[FinishedRun]) -> Html:
  """The settings that are not the same in all runs; none of them names a file."""
  flat = [flatten(_without_paths(to_dict(run.config))) for run in runs]
  names = dict.fromkeys(name for one in flat for name in one)
  differing = [name for name in names if len({_value(one, name) for one in flat}) > 1]
  rows: Rows = [["setting", *(run.name for run in runs)]]
  rows += [[name, *(_value(one, name) for one in flat)] for name in differing[:_SETTINGS]]
  more = len(differing) - _SETTINGS
  note = paragraph(f"{more} more settings differ.") if more > 0 else None
  if not differing:
    return section("What differs", paragraph("All settings are the same in these runs."))
  caption = "Settings that are not the same in all runs"
  return section("What differs", table(caption, rows, names=len(rows[0])), note)


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
  return config | {name: without_paths(name, config[name]) for name in PATHS}


def _value(flat: dict[str, Any], name: str) -> str:
  text = json.dumps(flat[name], ensure_ascii=False) if name in flat else "–"
  return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _slices(runs: Sequence[FinishedRun]) -> Html:
  charts = [
    drawn(slicing, {run.name: run.values(REFERENCE, METRIC, slicing.way) for run in runs})
    for slicing in slicings(runs[0])
  ]
  intro = paragraph("Recall@10 for groups of test users, with 95% intervals over their users.")
  return section("For whom they work", intro, tag("div", *charts, class_="columns"))
