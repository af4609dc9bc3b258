"""Attempts in the order they were made, with the best so far as a line."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from sidrec.report.charts.svg import (
  WIDTH,
  Scale,
  bottom_axis,
  drawing,
  left_axis,
  marker,
  path,
  short,
)
from sidrec.report.html import Html, tag

_LEFT, _TOP, _BOTTOM, _HEIGHT = 44, 28, 190, 234
_RING = 4  # the series whose marker is a ring


class Attempt(NamedTuple):
  """A point."""

  number: int
  value: float
  words: str
  counts: bool = True  # whether it can be the best


def history(attempts: Sequence[Attempt], axes: tuple[str, str], label: str) -> Html:
  """Draws them; those that do not count are rings.

  Args:
    attempts: at least one, in order.
    axes: what x and y measure.
    label: what the chart shows, in words.
  """
  values = [attempt.value for attempt in attempts]
  room = 0.06 * (max(values) - min(values)) or 0.05
  x = Scale(attempts[0].number, max(attempts[-1].number, attempts[0].number + 1), _LEFT, WIDTH - 10)
  y = Scale(min(values) - room, max(values) + room, _BOTTOM, _TOP)
  marks = [
    *bottom_axis(x, _TOP, _BOTTOM, axes[0], _whole),
    *left_axis(y, _LEFT, WIDTH - 10, axes[1]),
  ]
  steps = _best_so_far(attempts)
  if steps:
    corners = [(x(steps[0][0]), y(steps[0][1]))]
    for (_, before), (number, value) in itertools.pairwise(steps):
      corners += [(x(number), y(before)), (x(number), y(value))]
    corners.append((x(x.high), y(steps[-1][1])))
    marks.append(tag("path", tag("title", "best so far"), d=path(corners), class_="line k0"))
  for attempt in attempts:
    place = (x(attempt.number), y(attempt.value))
    marks.append(marker(*place, 0 if attempt.counts else _RING, tag("title", attempt.words)))
  return drawing(_HEIGHT, label, *marks)


def _whole(number: float) -> str:
  """The number of an attempt at a tick; nothing between two."""
  return short(number) if number == int(number) else ""


def _best_so_far(attempts: Sequence[Attempt]) -> list[tuple[int, float]]:
  """(number, value) of each attempt that was better than all before it."""
  steps: list[tuple[int, float]] = []
  for attempt in attempts:
    if attempt.counts and (not steps or attempt.value > steps[-1][1]):
      steps.append((attempt.number, attempt.value))
  return steps
