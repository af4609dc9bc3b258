"""Lines over a common axis: learning curves, items per code, calibration."""

from collections.abc import Sequence
from typing import NamedTuple

from sidrec.report.charts.svg import (
  COLOURS,
  WIDTH,
  Scale,
  bottom_axis,
  drawing,
  left_axis,
  line,
  marker,
  path,
)
from sidrec.report.html import Html, tag

_LEFT, _TOP, _BOTTOM, _HEIGHT = 44, 28, 190, 234


class Line(NamedTuple):
  """One series."""

  name: str
  x: Sequence[float]
  y: Sequence[float]
  ranges: Sequence[tuple[float, float]] = ()  # an interval for each point
  best: int | None = None  # a point that is marked and named
  dotted: bool = False  # whether to mark each point


class Axes(NamedTuple):
  """What is measured, and how it is spread."""

  x: str
  y: str
  power: float = 1.0  # of both scales: 0.5 gives small values room
  from_zero: bool = False
  diagonal: bool = False  # x = y, for comparison


def lines(series: Sequence[Line], axes: Axes, label: str) -> Html:
  """Draws the series; `label` says in words what the chart shows."""
  xs = [value for one in series for value in one.x]
  ys = [value for one in series for value in (*one.y, *(e for pair in one.ranges for e in pair))]
  x_low = 0.0 if axes.from_zero or axes.diagonal else min(xs)
  y_low = 0.0 if axes.from_zero or axes.diagonal else min(ys)
  room = 0.05 * (max(ys) - y_low) or 0.05
  y_low = y_low if y_low == 0 else y_low - room
  x_high, y_high = max(xs), max(ys) + room
  if axes.diagonal:
    x_high = y_high = max(x_high, y_high)
  x = Scale(x_low, x_high, _LEFT, WIDTH - 10, axes.power)
  y = Scale(y_low, y_high, _BOTTOM, _TOP, axes.power)
  marks = [*bottom_axis(x, _TOP, _BOTTOM, axes.x), *left_axis(y, _LEFT, WIDTH - 10, axes.y)]
  if axes.diagonal:
    marks.append(line(x(0), y(0), x(x_high), y(y_high), "zero"))
  for number, one in enumerate(series):
    marks += _line(one, number, x, y)
  return drawing(_HEIGHT, label, *marks)


def _line(one: Line, number: int, x: Scale, y: Scale) -> list[Html]:
  places = [(x(a), y(b)) for a, b in zip(one.x, one.y, strict=True)]
  kind = f"k{number % COLOURS}"
  marks = [tag("path", tag("title", one.name), d=path(places), class_=f"line {kind} dash{number}")]
  for (at, _), (low, high) in zip(places, one.ranges, strict=False):
    marks.append(line(at, y(low), at, y(high), f"range {kind}"))
  for number_of_point, place in enumerate(places):
    if one.dotted or number_of_point == one.best:
      words = f"{one.name}: {one.y[number_of_point]:.4g} at {one.x[number_of_point]:.4g}"
      size = 6.0 if number_of_point == one.best else 3.5
      marks.append(marker(*place, number, tag("title", words), size=size))
  return marks
