"""The tree of all semantic IDs, coloured by category."""

from typing import NamedTuple

import numpy as np

from sidrec.report.charts.sunburst import Slice, sunburst
from sidrec.report.charts.svg import COLOURS
from sidrec.report.finished import FinishedRun, id_text, title_of
from sidrec.report.html import Html, figure, paragraph, section, tag
from sidrec.tokenizers.report.cluster_metrics import item_labels

_THIN = 1 / 4000  # of the circle; narrower slices are merged


class Colours(NamedTuple):
  """A category of each item, and which of them have a colour."""

  names: list[str]  # of the categories with colours
  label_N: np.ndarray  # int, a place in `names`, or len(names) for others


def colours_of(run: FinishedRun) -> Colours:
  """The most frequent categories; without any, nothing has a colour."""
  num_items = run.dataset.items.num_items
  category_N = item_labels(run.dataset.items).get("category", np.full(num_items, ""))
  names, counts = np.unique(category_N[category_N != ""], return_counts=True)
  kept = names[np.argsort(-counts, kind="stable")][:COLOURS].tolist()
  place = {name: at for at, name in enumerate(kept)}
  return Colours(kept, np.array([place.get(name, len(kept)) for name in category_N.tolist()]))


def tree(run: FinishedRun) -> Html:
  """The tree as rings, with its legend."""
  colours = colours_of(run)
  slices = _Walk(run, colours).all()
  num_items = run.dataset.items.num_items
  legend = [tag("span", tag("i", class_=f"k{at}"), name) for at, name in enumerate(colours.names)]
  if colours.names:
    legend.append(tag("span", tag("i", class_="other"), "other or none"))
  label = f"The tree of the semantic IDs of {num_items:,} items, a ring for each level"
  merged = any("merged" in one.words for one in slices)
  caption = (
    f"{label}. The inner ring holds the first codes, each as wide as it has items; a branch ends "
    "where one item is left. "
    + ("Colours are the most frequent category, paler where fewer items have it. " * bool(legend))
    + ("Neighbours too narrow to see are merged, and end there." * merged)
  )
  none = None if legend else paragraph("No item of this catalogue has a category to colour it by.")
  chart = sunburst(slices, run.quality["num_levels"], [f"{num_items:,}", "items"], label)
  return section("The tree of IDs", none, figure(chart, caption, *legend, wide=True))


class _Walk:
  """Goes through the tree from the root outwards."""

  def __init__(self, run: FinishedRun, colours: Colours):
    self._run, self._colours = run, colours
    self._num_items = run.dataset.items.num_items
    self._thin = _THIN if self._num_items * _THIN > 1 else 0.0
    self._slices: list[Slice] = []

  def all(self) -> list[Slice]:
    """Every slice, parents before their children."""
    self._children(np.arange(self._num_items), 0, 0.0)
    return self._slices

  def _children(self, items: np.ndarray, level: int, first: float) -> None:
    """Divides a prefix's items by their next code, the largest category first."""
    codes_NxX = self._run.ids.codes
    values, of_value = np.unique(codes_NxX[items, level], return_inverse=True)
    groups = [items[of_value == at] for at in range(len(values))]
    keyed = [(*self._dominant(group), -len(group), at) for at, group in enumerate(groups)]
    thin: list[np.ndarray] = []
    for colour, _, _, at in sorted(keyed, key=lambda key: (key[0], key[2], key[3])):
      group = groups[at]
      if len(group) / self._num_items < self._thin:
        thin.append(group)
        continue
      last = first + len(group) / self._num_items
      self._slices.append(self._slice(group, level, first, last, colour))
      if len(group) > 1 and level + 1 < codes_NxX.shape[1]:
        self._children(group, level + 1, first)
      first = last
    if thin:
      self._merged(thin, level, first)

  def _merged(self, groups: list[np.ndarray], level: int, first: float) -> None:
    """One slice for each colour of what is too narrow."""
    label_N, items = self._colours.label_N, np.concatenate(groups)
    for colour in np.unique(label_N[items]).tolist():
      count = int(np.count_nonzero(label_N[items] == colour))
      last = first + count / self._num_items
      words = f"{count:,} items, merged"
      self._slices.append(Slice(level, first, last, self._shown(colour), 0.6, words))
      first = last

  def _slice(self, items: np.ndarray, level: int, first: float, last: float, colour: int) -> Slice:
    names, share = self._colours.names, self._dominant(items)[1]
    named = f" · {names[colour]}" if colour < len(names) else ""
    if len(items) == 1:
      item = int(items[0])
      words = f"{title_of(self._run, item)} · {id_text(self._run, item)}{named}"
      return Slice(level, first, last, self._shown(colour), 0.75, words)
    prefix = "·".join(map(str, self._run.ids.codes[items[0], : level + 1].tolist()))
    named += f" {share:.0%}" if named else ""
    words = f"{prefix} · {len(items):,} items{named}"
    return Slice(level, first, last, self._shown(colour), share, words)

  def _shown(self, colour: int) -> int | None:
    return colour if colour < len(self._colours.names) else None

  def _dominant(self, items: np.ndarray) -> tuple[int, float]:
    """The most frequent label of some items, and its share."""
    counts = np.bincount(self._colours.label_N[items])
    return int(counts.argmax()), float(counts.max() / len(items))
