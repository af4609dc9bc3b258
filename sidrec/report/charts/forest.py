"""Means with their intervals, one below the other: results, differences, and slices of users."""

from collections.abc import Sequence
from typing import NamedTuple

from sidrec.report.charts.svg import WIDTH, Scale, bottom_axis, drawing, line, marker, text
from sidrec.report.html import Html, tag

_LABELS, _VALUES, _ROW, _TOP = 124, 52, 17, 8
_MOST = 20  # letters of a label


class Point(NamedTuple):
  """A mean and its interval."""

  mean: float
  low: float
  high: float


class Row(NamedTuple):
  """A line of the chart: several series, None where one has no value."""

  label: str
  points: Sequence[Point | None]
  note: str = ""  # below the label
  series: int = 0  # whose colour and marker a single point has


def forest(
  rows: Sequence[Row], title: str, label: str, names: Sequence[str] = (), signed: bool = False
) -> Html:
  """Draws rows of points with intervals.

  Args:
    rows: from top to bottom.
    title: of the axis.
    label: what the chart shows, in words.
    names: of the series; without them each row has one point.
    signed: whether values are differences: 0 is marked, and signs are shown.
  """
  points = [point for row in rows for point in row.points if point]
  edges = [x for point in points for x in (point.low, point.high)] or [0.0, 1.0]
  low, high = min(edges + [0.0] * signed), max(edges + [0.0] * signed)
  room = (high - low) * 0.06 or 0.05
  low, high = low - room if signed or low < 0 else max(0.0, low - room), high + room
  x = Scale(low, high, _LABELS, WIDTH - _VALUES - 10 * signed)
  heights = [max(_ROW * len(row.points), 30 if row.note else 26) for row in rows]
  bottom = _TOP + sum(heights)
  marks = bottom_axis(x, _TOP - 4, bottom, title)
  if signed:
    marks.append(line(x(0.0), _TOP - 4, x(0.0), bottom, "zero"))
  top = _TOP
  for row, height in zip(rows, heights, strict=True):
    middle = top + height / 2
    marks.append(text(0, middle + (-2 if row.note else 4), _fitting(row.label), kind="strong"))
    if row.note:
      marks.append(text(0, middle + 12, row.note, kind="small"))
    for at, point in enumerate(row.points):
      if point:
        y = middle + (at - (len(row.points) - 1) / 2) * _ROW * 0.85
        name = names[at] if names else row.label
        marks += _interval(x, y, point, at if names else row.series, name, signed)
    top += height
  return drawing(bottom + 42, label, *marks)


def _fitting(label: str) -> str:
  """As much of a label as there is room for."""
  return label if len(label) <= _MOST else label[: _MOST - 1] + "…"


def _interval(x: Scale, y: float, point: Point, series: int, name: str, signed: bool) -> list[Html]:
  sign = "+" if signed else ""
  shown = f"{point.mean:{sign}.4f}"
  words = f"{name}: {shown} [{point.low:{sign}.4f}, {point.high:{sign}.4f}]"
  return [
    line(x(point.low), y, x(point.high), y, f"range k{series % 10}"),
    marker(x(point.mean), y, series, tag("title", words)),
    text(WIDTH, y + 4, shown, "end", "value"),
  ]
