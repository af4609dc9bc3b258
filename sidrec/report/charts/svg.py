"""What all charts share: the drawing, its scales and axes, and the markers of series."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sidrec.report.html import Html, Part, tag

WIDTH = 380  # of a chart in its own units; small enough to be legible on a telephone
COLOURS = 10  # that the page's style has, as classes k0 … k9; 'other' is for the rest
_MARKERS = ("circle", "square", "triangle", "diamond", "ring")


class Scale(NamedTuple):
  """From values to places, evenly or by the power of a value."""

  low: float
  high: float
  start: float
  end: float
  power: float = 1.0

  def __call__(self, value: float) -> float:
    """The place of a value."""
    low, high, at = (math.copysign(abs(x) ** self.power, x) for x in (self.low, self.high, value))
    return self.start + (at - low) / ((high - low) or 1.0) * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
  """Round values between two, about `count` of them."""
  if not high > low:
    return [low]
  rough = (high - low) / count
  size = 10.0 ** math.floor(math.log10(rough))
  step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [round(at * step, 12) for at in range(first, last + 1)]


def short(value: float) -> str:
  """A number at a tick: '0.05', '1,200', '20k'."""
  if abs(value) >= 10_000:
    return f"{value / 1000:,.0f}k"
  return f"{value:,.0f}" if abs(value) >= 100 else f"{value:g}"


def drawing(height: float, label: str, *marks: Part, width: float = WIDTH) -> Html:
  """The whole chart; `label` says in words what it shows."""
  view = f"0 0 {width:g} {height:g}"
  return tag("svg", *marks, viewBox=view, role="img", aria_label=label, class_="chart")


def text(x: float, y: float, words: Part, anchor: str = "start", kind: str | None = None) -> Html:
  """Words in a chart."""
  return tag("text", words, x=x, y=y, text_anchor=anchor, class_=kind)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
  """A straight line."""
  return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def bottom_axis(
  x: Scale, top: float, bottom: float, title: str, show: Callable[[float], str] = short
) -> list[Html]:
  """Ticks and grid lines of a horizontal scale, and what it measures."""
  marks = []
  for value in _ticks_of(x):
    at = x(value)
    marks += [line(at, top, at, bottom, "grid"), text(at, bottom + 16, show(value), "middle")]
  middle = (x.start + x.end) / 2
  return [*marks, text(middle, bottom + 34, title, "middle", "axis")]


def left_axis(y: Scale, left: float, right: float, title: str) -> list[Html]:
  """The same of a vertical one; its title stands above it."""
  marks = []
  for value in _ticks_of(y):
    at = y(value)
    marks += [line(left, at, right, at, "grid"), text(left - 6, at + 4, short(value), "end")]
  return [*marks, text(0, y.end - 14, title, kind="axis")]


def marker(x: float, y: float, series: int, *inside: Part, size: float = 4.5) -> Html:
  """A point in the colour and the shape of its series."""
  shape, kind = _MARKERS[series % len(_MARKERS)], f"mark k{series % COLOURS}"
  if shape in ("circle", "ring"):
    kind += " hollow" if shape == "ring" else ""
    return tag("circle", *inside, cx=x, cy=y, r=size, class_=kind)
  s = size * 1.15
  corners = {
    "square": [(-s, -s), (s, -s), (s, s), (-s, s)],
    "triangle": [(0, -s * 1.2), (s * 1.1, s * 0.9), (-s * 1.1, s * 0.9)],
    "diamond": [(0, -s * 1.3), (s * 1.3, 0), (0, s * 1.3), (-s * 1.3, 0)],
  }[shape]
  points = "L".join(f"{x + dx:.1f} {y + dy:.1f}" for dx, dy in corners)
  return tag("path", *inside, d=f"M{points}Z", class_=kind)


def key(names: Sequence[str]) -> list[Html]:
  """The legend of series: for each its marker and its name."""
  return [
    tag("span", tag("svg", marker(8, 8, at), viewBox="0 0 16 16", aria_hidden="true"), name)
    for at, name in enumerate(names)
  ]


def path(points: Sequence[tuple[float, float]]) -> str:
  """The 'd' of a line through points."""
  return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _ticks_of(scale: Scale) -> list[float]:
  if scale.power == 1:
    return ticks(scale.low, scale.high)
  places = (0.15, 0.32, 0.5, 0.72, 0.97)  # of a scale from 0, for values with little to choose from
  return sorted({0.0, *(ticks(0, scale.high * at ** (1 / scale.power), 2)[-1] for at in places)})
