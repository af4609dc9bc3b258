"""Parallel coordinates: an axis for each setting, and a line across them for each attempt."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sidrec.report.charts.svg import drawing, line, path, short, text, ticks
from sidrec.report.html import Html, tag

_WIDTH, _SIDE, _TOP, _BOTTOM, _HEIGHT = 720.0, 56.0, 40.0, 250.0, 276.0
_WIDE_RANGE = 20.0  # times the lowest value, from which an axis is logarithmic
_LETTERS = 15  # of a category


class Axis(NamedTuple):
  """A setting, or what came out."""

  name: str
  values: Sequence[object]  # of each attempt; numbers, or anything else as categories


def parallel(axes: Sequence[Axis], words: Sequence[str], best: int, label: str) -> Html:
  """Draws the lines, the best one on top.

  Args:
    axes: from left to right, each with a value for every attempt.
    words: what each line is.
    best: the attempt that stands out.
    label: what the chart shows, in words.
  """
  gap = (_WIDTH - 2 * _SIDE) / max(1, len(axes) - 1)
  marks, heights = [], []
  for at, axis in enumerate(axes):
    x = _SIDE + at * gap
    shares, labels = _placed(axis.values)
    heights.append([_BOTTOM - share * (_BOTTOM - _TOP) for share in shares])
    marks.append(line(x, _TOP, x, _BOTTOM, "grid"))
    # Names that would touch stand in two lines.
    marks.append(text(x, 12 + 14 * (at % 2), axis.name.rpartition(".")[2], "middle", "strong"))
    for share, shown in labels:
      y = _BOTTOM - share * (_BOTTOM - _TOP)
      marks.append(text(x + 5, y + 4, shown, kind="small"))
  for number in [*(n for n in range(len(words)) if n != best), best]:
    places = [(_SIDE + at * gap, column[number]) for at, column in enumerate(heights)]
    kind = "line k1" if number == best else "line other"
    marks.append(tag("path", tag("title", words[number]), d=path(places), class_=kind))
  return drawing(_HEIGHT, label, *marks, width=_WIDTH)


def _placed(values: Sequence[object]) -> tuple[list[float], list[tuple[float, str]]]:
  """Where each value lies between 0 and 1, and what stands next to the axis."""
  numbers = [float(x) for x in values if isinstance(x, (int, float)) and not isinstance(x, bool)]
  if len(numbers) < len(values):
    names = sorted({str(value) for value in values})
    share = {name: (at + 0.5) / len(names) for at, name in enumerate(names)}
    return [share[str(value)] for value in values], [(share[n], n[:_LETTERS]) for n in names]
  low, high = min(numbers), max(numbers)
  if low == high:
    return [0.5] * len(numbers), [(0.5, short(low))]
  if low > 0 and high / low >= _WIDE_RANGE:
    low, high = math.log10(low), math.log10(high)
    powers = [10.0**p for p in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    marks = powers if len(powers) > 1 else [10**low, 10**high]
    labels = [((math.log10(mark) - low) / (high - low), f"{mark:.2g}") for mark in marks]
    return [(math.log10(x) - low) / (high - low) for x in numbers], labels
  labels = [((mark - low) / (high - low), short(mark)) for mark in ticks(low, high, 4)]
  return [(x - low) / (high - low) for x in numbers], labels
