"""Do scores say how likely a result is what comes next?"""

from typing import NamedTuple

import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.evaluation.intervals import REFERENCE
from sidrec.report.charts.lines import Axes, Line, lines
from sidrec.report.finished import WAY, FinishedRun
from sidrec.report.html import Html, figure, folded, pair, paragraph, section, table

_BINS = 10


class Bin(NamedTuple):
  """Results of about the same probability."""

  count: int
  probability: float  # the mean of what the model says
  share: float  # of them that were what came next
  low: float  # 95% Wilson interval of the share
  high: float


def calibration(run: FinishedRun) -> Html:
  """The curve where scores are log probabilities; a sentence where they are not."""
  title, why = "Calibration", no_probabilities(run)
  lists = run.details.lists[REFERENCE][WAY]
  if why or lists.score_UxK is None:
    return section(title, paragraph(why or "The scores of lists were not kept."))
  is_there_UxK = lists.item_UxK != NO_ITEM
  if not is_there_UxK.any():
    return section(title, paragraph("No list holds a result, so there is nothing to draw."))
  p = np.exp(lists.score_UxK[is_there_UxK].astype(np.float64))
  is_hit = (lists.item_UxK == run.details.users.target_U[:, None])[is_there_UxK]
  found = bins(p, is_hit)
  label = "Share of results that were the next item, by the probability that sidrec gave them"
  line = Line(
    "sidrec",
    [x.probability for x in found],
    [x.share for x in found],
    [(x.low, x.high) for x in found],
    dotted=True,
  )
  axes = Axes("probability", "share that came next", power=0.5, diagonal=True)
  expected, hits = float(p.sum()) / len(is_there_UxK), float(is_hit.sum()) / len(is_there_UxK)
  rows = [["results", "mean probability", "share that came next", "95% interval"]]
  rows += [
    [f"{x.count:,}", f"{x.probability:.4f}", f"{x.share:.4f}", f"[{x.low:.4f}, {x.high:.4f}]"]
    for x in found
  ]
  words = (
    "Scores of sidrec are log probabilities of the next item. All results of all lists of ten are "
    "put into bins of equal size by their probability. A calibrated model lies on the dashed line: "
    f"above it, it is too modest, below it, too sure. A list's ten probabilities add up to "
    f"{expected:.4f} on average, and hold the target in {hits:.4f} of all lists. Probabilities are "
    "those among all items, also where items of the history are taken out."
  )
  caption = f"{label}; both axes give small values more room. Intervals are Wilson's."
  return section(
    title,
    pair(figure(lines([line], axes, label), caption), paragraph(words)),
    folded("Numbers", table(label, rows, names=0)),
  )


def no_probabilities(run: FinishedRun) -> str:
  """Why scores are no probabilities; empty if they are."""
  if not run.config.search.gives_probabilities:
    return (
      "Scores of this run are no probabilities, because search.level_weights weighs the levels, so "
      "no calibration curve is drawn."
    )
  return ""


def bins(p: np.ndarray, is_hit: np.ndarray, count: int = _BINS) -> list[Bin]:
  """Results in order of probability, in bins of equal size.

  Args:
    p: float [results].
    is_hit: bool [results].
    count: of bins; there are fewer where results are.
  """
  order = np.argsort(p, kind="stable")
  found = []
  for part in np.array_split(order, min(count, len(order)) or 1):
    if len(part):
      share, size = float(is_hit[part].mean()), len(part)
      found.append(Bin(size, float(p[part].mean()), share, *wilson(share, size)))
  return found


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
  """The 95% interval of a share (Wilson 1927)."""
  middle = (share + z * z / (2 * count)) / (1 + z * z / count)
  half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
  return max(0.0, float(middle - half)), min(1.0, float(middle + half))
