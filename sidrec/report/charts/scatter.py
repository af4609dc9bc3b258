"""A map of many points in groups; the style lights up the group under the pointer."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sidrec.report.charts.svg import drawing, text
from sidrec.report.html import Html, tag

_SIZE, _EDGE = 640.0, 14.0


class Cloud(NamedTuple):
  """The points of a group."""

  name: str  # short, to stand on the map
  place_NxX: np.ndarray  # float [points, 2], any scale that all groups share
  words: Sequence[str]  # of the first points; those after them are drawn without
  named: bool = False  # whether its name stands on the map


def scatter(clouds: Sequence[Cloud], label: str) -> Html:
  """Draws the groups, each in a colour of its own."""
  all_NxX = np.concatenate([cloud.place_NxX for cloud in clouds])
  low_X, span = all_NxX.min(axis=0), float(np.ptp(all_NxX, axis=0).max()) or 1.0
  height = _EDGE * 2 + (_SIZE - 2 * _EDGE) * (float(np.ptp(all_NxX[:, 1])) or span) / span
  groups, names = [], []
  for number, cloud in enumerate(clouds):
    place_NxX = _EDGE + (cloud.place_NxX - low_X) / span * (_SIZE - 2 * _EDGE)
    circles = [
      tag("circle", tag("title", words), cx=round(float(x), 1), cy=round(float(y), 1), r=3.2)
      for (x, y), words in zip(place_NxX, cloud.words, strict=False)
    ]
    rest = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in place_NxX[len(circles) :])
    dots = tag("path", tag("title", cloud.name), d=rest) if rest else None
    # The golden angle keeps colours of successive groups apart.
    style = f"--h:{number * 137.508 % 360:.0f};--s:{(48, 66, 34)[number % 3]}%"
    groups.append(tag("g", dots, *circles, style=style))
    if cloud.named:
      x, y = np.median(place_NxX, axis=0)
      names.append(text(float(x), float(y) + 4, cloud.name, "middle"))
  return tag(
    "div",
    drawing(height, label, *groups, tag("g", *names, class_="names"), width=_SIZE),
    class_="map",
  )
