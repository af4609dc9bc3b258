"""Beyond accuracy: how much of the catalogue is shown, how evenly, and how novel it is."""

from typing import NamedTuple

import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.evaluation.details import SPLIT
from sidrec.report.charts.points import Named, points
from sidrec.report.finished import WAY, FinishedRun
from sidrec.report.html import Html, figure, pair, paragraph, section, table


class Exposure(NamedTuple):
  """What the lists of all users show."""

  coverage: float  # share of the catalogue that some user sees
  gini: float  # of how often items are shown: 0 if all equally often, 1 if one has everything
  novelty: float  # mean self-information of what is shown, in bits


def exposure(item_UxK: np.ndarray, popularity_N: np.ndarray) -> Exposure:
  """What the lists show.

  Args:
    item_UxK: int [U, K], NO_ITEM after the last result of a list.
    popularity_N: int [N], interactions in training.
  """
  shown = item_UxK[item_UxK != NO_ITEM]
  count_N = np.bincount(shown, minlength=len(popularity_N))
  bits_N = -np.log2(np.maximum(popularity_N, 1) / max(popularity_N.sum(), 1))
  novelty = float(bits_N[shown].mean()) if len(shown) else 0.0
  return Exposure(float(np.mean(count_N > 0)), gini(count_N), novelty)


def gini(count_N: np.ndarray) -> float:
  """The Gini coefficient of counts, by the sorted values (Gini 1912)."""
  sorted_N, num = np.sort(count_N).astype(np.float64), len(count_N)
  total = sorted_N.sum()
  if not total:
    return 0.0
  return float(((2 * np.arange(1, num + 1) - num - 1) @ sorted_N) / (num * total))


def beyond(run: FinishedRun) -> Html:
  """A table of all systems, and accuracy against coverage."""
  popularity_N = run.popularity_N
  found = {
    name: exposure(run.details.lists[name][WAY].item_UxK, popularity_N) for name in run.measured()
  }
  ndcg = {name: run.results[name][SPLIT][WAY]["ndcg@10"] for name in run.measured()}
  rows = [["system", "NDCG@10", "coverage@10", "Gini", "novelty"]]
  for name, x in found.items():
    rows.append(
      [name, f"{ndcg[name]:.4f}", f"{x.coverage:.4f}", f"{x.gini:.4f}", f"{x.novelty:.2f}"]
    )
  label = "NDCG@10 against the share of the catalogue that some user's ten show, masked"
  chart = points(
    [Named(name, found[name].coverage, ndcg[name]) for name in run.measured()],
    ("coverage@10", "NDCG@10"),
    label,
  )
  return section(
    "Beyond accuracy",
    paragraph(
      "Coverage is the share of the catalogue that is in some user's ten. Gini says how unevenly "
      "items are shown: 0 if all equally often, 1 if one item fills all lists. Novelty, in bits, "
      "is the mean of −log₂ of an item's share of the interactions in training (items without one "
      "count as having one): the higher, the rarer what is shown. None of these is a quality by "
      "itself."
    ),
    pair(figure(chart, label + "."), table("Lists of ten for all test users, masked", rows)),
  )
