"""Systems or runs as labelled points over two axes."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from sidrec.report.charts.svg import (
  WIDTH,
  Scale,
  bottom_axis,
  drawing,
  left_axis,
  marker,
  path,
  text,
)
from sidrec.report.html import Html, tag

_LEFT, _TOP, _BOTTOM = 46, 28, 216


Better = Literal["", "less", "more"]  # of x; more of y is always better


class Named(NamedTuple):
  """A point and its name."""

  name: str
  x: float
  y: float


def points(named: Sequence[Named], axes: tuple[str, str], label: str, front: Better = "") -> Html:
  """Draws them.

  Args:
    named: the points, one series each.
    axes: what x and y measure.
    label: what the chart shows, in words.
    front: of which x is better: points that no other beats are joined. Empty for no line.
  """
  (x_low, x_high), (y_low, y_high) = (
    _span([getattr(point, axis) for point in named], from_zero=not front) for axis in "xy"
  )
  x = Scale(x_low, x_high, _LEFT, WIDTH - 10)
  y = Scale(y_low, y_high, _BOTTOM, _TOP)
  marks = [*bottom_axis(x, _TOP, _BOTTOM, axes[0]), *left_axis(y, _LEFT, WIDTH - 10, axes[1])]
  if front:
    places = [(x(p.x), y(p.y)) for p in sorted(best(named, front), key=lambda p: p.x)]
    marks.append(tag("path", d=path(places), class_="zero"))
  taken: list[tuple[float, float]] = []
  for number, point in sorted(enumerate(named), key=lambda pair: pair[1].y):
    words = f"{point.name}: {axes[0]} {point.x:,.4g}, {axes[1]} {point.y:,.4g}"
    at, height = x(point.x), y(point.y)
    marks.append(marker(at, height, number, tag("title", words), size=5.5))
    left = at > WIDTH * 0.62
    while any(abs(height - other) < 13 and abs(at - place) < 110 for place, other in taken):
      height -= 13  # names that would cover each other go up
    taken.append((at, height))
    side = "end" if left else "start"
    marks.append(text(at + (-10 if left else 10), height + 4, point.name, side))
  return drawing(_BOTTOM + 44, label, *marks)


def _span(values: Sequence[float], from_zero: bool) -> tuple[float, float]:
  """The ends of an axis, with room around the values."""
  low, high = min(values), max(values)
  if from_zero:
    return 0.0, high * 1.12 or 1.0
  room = max((high - low) * 0.3, abs(high) * 0.05) or 1.0
  return max(0.0, low - room), high + room


def best(named: Sequence[Named], better: Better = "less") -> list[Named]:
  """Those that no other beats: none has more y at no worse x, or a better x at no less y."""
  sign = -1 if better == "more" else 1
  return [
    point
    for point in named
    if not any(
      (other.y > point.y and sign * other.x <= sign * point.x)
      or (other.y >= point.y and sign * other.x < sign * point.x)
      for other in named
    )
  ]
