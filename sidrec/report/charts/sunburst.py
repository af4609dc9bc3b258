"""A tree as rings: every slice is a prefix, as wide as it has items."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sidrec.report.charts.svg import drawing
from sidrec.report.html import Html, tag

_SIZE, _HOLE = 640.0, 62.0


class Slice(NamedTuple):
  """A prefix, or an item."""

  level: int  # of its ring, from 0
  first: float  # from 0 to 1, clockwise from the top
  last: float
  colour: int | None  # class k0 … k9, or None for 'other'
  purity: float  # from 0 to 1: how strong its colour is
  words: str


def sunburst(slices: Sequence[Slice], wide: int, middle: Sequence[str], label: str) -> Html:
  """Draws the rings; those after the first `wide` are narrow. `middle` are lines in the hole."""
  rings = 1 + max((one.level for one in slices), default=0)
  shares = [1.0 if level < wide else 0.35 for level in range(rings)]
  unit = (_SIZE / 2 - 2 - _HOLE) / sum(shares)
  edges = [_HOLE + unit * sum(shares[:level]) for level in range(rings + 1)]
  arcs = [
    tag(
      "path",
      tag("title", one.words),
      d=_arc(one, edges[one.level], edges[one.level + 1] - 1),
      class_="other" if one.colour is None else f"k{one.colour}",
      fill_opacity=round(0.3 + 0.7 * one.purity, 2),
    )
    for one in slices
  ]
  lines = [
    tag("text", words, x=0, y=6 + 27 * (at - (len(middle) - 1) / 2), text_anchor="middle")
    for at, words in enumerate(middle)
  ]
  turned = tag("g", *arcs, *lines, transform=f"translate({_SIZE / 2:g} {_SIZE / 2:g})")
  return tag("div", drawing(_SIZE, label, turned, width=_SIZE), class_="tree")


def _arc(one: Slice, inner: float, outer: float) -> str:
  """The outline of a slice, with a gap to the next, so that a whole ring is not quite closed."""
  gap = min(0.0006, (one.last - one.first) * 0.1)
  a, b = (2 * math.pi * at for at in (one.first + gap / 2, one.last - gap / 2))
  large = int(b - a > math.pi)

  def at(radius: float, angle: float) -> str:
    return f"{radius * math.sin(angle):.1f} {-radius * math.cos(angle):.1f}"

  r, s = f"{inner:.4g}", f"{outer:.4g}"
  return (
    f"M{at(inner, a)}L{at(outer, a)}A{s} {s} 0 {large} 1 {at(outer, b)}"
    f"L{at(inner, b)}A{r} {r} 0 {large} 0 {at(inner, a)}Z"
  )
