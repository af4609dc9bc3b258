"""For whom it works: metrics of users by what they ask for."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sidrec.evaluation.bootstrap import bootstrap_mean
from sidrec.evaluation.intervals import REFERENCE, lead
from sidrec.report.charts.forest import Point, Row, forest
from sidrec.report.charts.svg import key
from sidrec.report.finished import WAY, FinishedRun, strongest
from sidrec.report.html import (
  Html,
  Part,
  figure,
  folded,
  join,
  paragraph,
  section,
  table,
  tag,
)
from sidrec.report.results import interval

METRIC = "recall@10"
_PARTS = 5  # of users, by length or popularity
_CATEGORIES, _FEWEST = 12, 20  # shown, and users that one needs


class Group(NamedTuple):
  """Users that have something in common."""

  label: str
  is_in_U: np.ndarray  # bool [U]


class Slicing(NamedTuple):
  """A way to divide users."""

  title: str
  words: str
  groups: Sequence[Group]
  way: str = WAY


def slices(run: FinishedRun) -> Html:
  """Charts and tables for each way to divide users."""
  intro = paragraph(
    "Recall@10 for groups of test users, with 95% intervals over the users of a group, for sidrec "
    "and the strongest other system."
  )
  other = strongest(run)
  systems = [REFERENCE, *([other] if other else [])]
  charts = [
    drawn(slicing, {system: run.values(system, METRIC, slicing.way) for system in systems})
    for slicing in slicings(run)
  ]
  return section(
    "For whom it works",
    intro,
    tag("div", *charts, class_="columns"),
  )


def slicings(run: FinishedRun) -> list[Slicing]:
  """All ways to divide the test users of a run."""
  users = run.details.users
  found = [
    Slicing(
      "By length of the history",
      "Users in five groups of about equal size, by how many items their history holds.",
      fifths(users.history_length_U, "items"),
    ),
    Slicing(
      "By popularity of the target",
      "Users in five groups of about equal size, by how often their target occurs in training.",
      fifths(users.target_popularity_U, "times"),
    ),
    Slicing(
      "Head, torso and tail",
      "Items in order of popularity, cut so that each part holds a third of the interactions in "
      "training; users by the part that their target lies in.",
      thirds(run.popularity_N, users.target_U),
    ),
    _repeats(users.repeated_U),
    _categories(run),
  ]
  return [slicing for slicing in found if slicing.groups]


def fifths(value_U: np.ndarray, unit: str) -> list[Group]:
  """Users by quantiles of a count; equal counts stay together, so there may be fewer groups."""
  edges = np.unique(np.quantile(value_U, np.arange(1, _PARTS + 1) / _PARTS, method="lower"))
  groups, before = [], int(value_U.min()) - 1
  for edge in edges.astype(int).tolist():
    span = f"{before + 1:,}" if edge == before + 1 else f"{before + 1:,} to {edge:,}"
    groups.append(Group(f"{span} {unit}", (value_U > before) & (value_U <= edge)))
    before = edge
  return [group for group in groups if group.is_in_U.any()]


def thirds(popularity_N: np.ndarray, target_U: np.ndarray) -> list[Group]:
  """Users by the part of the catalogue that their target lies in."""
  order_N = np.argsort(-popularity_N, kind="stable")
  before_N = np.cumsum(popularity_N[order_N]) - popularity_N[order_N]
  part_N = np.empty(len(order_N), int)
  part_N[order_N] = np.minimum(3 * before_N // max(popularity_N.sum(), 1), 2)
  groups = []
  for part, name in enumerate(("head", "torso", "tail")):
    label = f"{name}: {np.count_nonzero(part_N == part):,} items"
    groups.append(Group(label, part_N[target_U] == part))
  return [group for group in groups if group.is_in_U.any()]


def _repeats(repeated_U: np.ndarray) -> Slicing:
  count = int(repeated_U.sum())
  words = (
    "Whether the target is in the user's history already. Here the lists may hold items of the "
    f"history (unmasked). {count:,} of {len(repeated_U):,} targets are repeated."
  )
  groups = [Group("new", ~repeated_U), Group("repeated", repeated_U)]
  groups = [group for group in groups if group.is_in_U.any()]
  return Slicing("New and repeated targets", words, groups, "unmasked")


def _categories(run: FinishedRun) -> Slicing:
  """Users by each category of their target, the most frequent first."""
  items, target_U = run.dataset.items, run.details.users.target_U
  ones_E = np.ones(len(items.category_E), np.int32)
  packed = (ones_E, items.category_E, items.category_offsets_Np1)
  has_NxC = sp.csr_array(packed, shape=(items.num_items, len(items.categories_C)))
  has_UxC = sp.csc_array(sp.csr_array(has_NxC[target_U]) > 0)
  count_C = np.diff(has_UxC.indptr)
  groups = []
  for row in np.argsort(-count_C, kind="stable")[: _CATEGORIES + 1].tolist():
    if items.categories_C[row] and count_C[row] >= _FEWEST:
      is_in_U = np.zeros(len(target_U), bool)
      is_in_U[has_UxC.indices[has_UxC.indptr[row] : has_UxC.indptr[row + 1]]] = True
      groups.append(Group(items.categories_C[row], is_in_U))
  words = (
    f"Users by each category of their target; one with several counts in each. The {_CATEGORIES} "
    f"most frequent of those with at least {_FEWEST} users."
  )
  return Slicing("By category of the target", words, groups[:_CATEGORIES])


def drawn(slicing: Slicing, values: Mapping[str, np.ndarray]) -> Html:
  """A chart and a table of one way to divide users.

  Args:
    slicing: the way.
    values: name of a system or run → METRIC of each user, float [U]. The table shows the
      difference of the first two where there are no others.
  """
  if len(slicing.groups) < 2:
    return tag("div", tag("h3", slicing.title), paragraph(slicing.words))
  rows, cells = [], [_header(list(values))]
  for label, is_in_U in slicing.groups:
    parts = [value_U[is_in_U] for value_U in values.values()]
    found = [bootstrap_mean(part) for part in parts]
    count = f"{int(is_in_U.sum()):,}"
    rows.append(Row(label, [Point(x.mean, x.low, x.high) for x in found], f"{count} users"))
    row: list[Part] = [label, count]
    row += [join([f"{x.mean:.4f} ", interval(x.low, x.high)]) for x in found]
    if len(parts) == 2:
      gap = lead(*parts)
      row.append(join([f"{gap.mean:+.4f} ", interval(gap.low, gap.high, "+")]))
    cells.append(row)
  label = f"Recall@10, {slicing.title[0].lower()}{slicing.title[1:]}, {slicing.way}"
  chart = forest(rows, "Recall@10", label, list(values))
  return tag(
    "div",
    tag("h3", slicing.title),
    figure(chart, slicing.words, *key(list(values))),
    folded("Numbers", table(label, cells)),
  )


def _header(systems: Sequence[str]) -> list[Part]:
  header: list[Part] = ["users", "count", *systems]
  return header + (["difference"] if len(systems) == 2 else [])
