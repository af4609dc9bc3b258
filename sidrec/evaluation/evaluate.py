"""The recommender's metrics, by full ranking through the beam search."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sidrec.data.dataset import HeldOut
from sidrec.data.seen import SeenItems, seen_items
from sidrec.evaluation.details import Lists, lists_of
from sidrec.evaluation.metrics import (
  COVERAGE_AT,
  calibration_error,
  coverage,
  per_user_metrics,
  rank_in_list,
  summarise,
)
from sidrec.evaluation.own_metrics import OwnMetrics, metrics_in
from sidrec.evaluation.protocol import METRICS
from sidrec.search.batched import RecommendUsers
from sidrec.search.results import Recommendations


class Measured(NamedTuple):
  """What the lists of some users are worth."""

  means: dict[str, float]  # metric → mean over users, coverage among them
  metrics: dict[str, np.ndarray]  # metric → float64, one value for each user
  lists: Lists  # what was shown


class Evaluation(NamedTuple):
  """The results of one system on one split, with seen items 'masked' and 'unmasked'."""

  means: dict[str, dict[str, float]]  # way → metric → mean over users, or coverage
  per_user: dict[str, dict[str, np.ndarray]]  # way → metric of METRICS or a plugin → float32 [U]
  lists: dict[str, Lists]  # way → each user's list and the target's rank

  @classmethod
  def of(cls, measured: Mapping[str, Measured]) -> "Evaluation":
    """From all metrics of both ways. Lists shorter than ten have no metrics to keep per user."""
    kept = {
      way: {
        name: found.metrics[name].astype(np.float32)
        for name in (*METRICS, *metrics_in(found.metrics))
        if name in found.metrics
      }
      for way, found in measured.items()
    }
    means = {way: found.means for way, found in measured.items()}
    return cls(means, kept, {way: found.lists for way, found in measured.items()})


def evaluate_users(
  recommend_users: RecommendUsers,
  params: dict,
  held_out: HeldOut,
  users_R: np.ndarray,
  num_items: int,
  num_results: int,
  seen: SeenItems | None,
) -> dict[str, float]:
  """Means over some users, each counted once.

  Args:
    recommend_users: the search.
    params: of the recommender.
    held_out: histories and targets.
    users_R: int [R], user rows.
    num_items: N, for coverage.
    num_results: how many results of each list count.
    seen: items that must not be returned, or None.

  Raises:
    ValueError: if there are no users.
  """
  lists = recommend_users(params, held_out.histories, users_R, seen)
  return measure_lists(lists, held_out.target_U[users_R], num_items, num_results).means


def evaluate(
  recommend_users: RecommendUsers,
  params: dict,
  held_out: HeldOut,
  num_items: int,
  num_results: int,
  *,
  calibrated: bool = False,
  own: OwnMetrics | None = None,
) -> Evaluation:
  """Evaluates a recommender on every user, with seen items masked and unmasked.

  Arguments and errors are those of `evaluate_users`, and those of `own`, the metrics of plugins. If
  scores are log probabilities, as `calibrated` says, the means hold ece@1, the calibration error of
  each list's first result.
  """
  users_U = np.arange(held_out.histories.num_users)
  measured = {}
  for way, seen in {"masked": seen_items(held_out.histories), "unmasked": None}.items():
    lists = recommend_users(params, held_out.histories, users_U, seen)
    measured[way] = measure_lists(lists, held_out.target_U, num_items, num_results, own)
    if calibrated:
      measured[way].means.update(_first_calibration(lists, held_out.target_U))
  return Evaluation.of(measured)


def _first_calibration(lists: Recommendations, target_U: np.ndarray) -> dict[str, float]:
  """ece@1 over the lists that hold anything; nothing if none does."""
  item_UxK, score_UxK, valid_UxK = map(np.asarray, lists)
  at_U = np.flatnonzero(valid_UxK[:, 0])
  if not len(at_U):
    return {}
  hit_U = item_UxK[at_U, 0] == target_U[at_U]
  return {"ece@1": calibration_error(np.exp(score_UxK[at_U, 0]), hit_U)}


def measure_lists(
  lists: Recommendations,
  target_R: np.ndarray,
  num_items: int,
  num_results: int,
  own: OwnMetrics | None = None,
) -> Measured:
  """Metrics of the first results of each list, and what is kept of the lists."""
  item_RxK, score_RxK, valid_RxK = map(np.asarray, lists)
  rank_R = rank_in_list(item_RxK, valid_RxK, target_R)
  kept = lists_of(rank_R, item_RxK, valid_RxK, score_RxK)
  item_RxK, valid_RxK = item_RxK[:, :num_results], valid_RxK[:, :num_results]
  rank_R = rank_in_list(item_RxK, valid_RxK, target_R)
  return measure(rank_R, item_RxK, valid_RxK, num_items, num_results, kept, own)


def measure(
  rank_R: np.ndarray,
  item_RxK: np.ndarray,
  valid_RxK: np.ndarray,
  num_items: int,
  num_results: int,
  lists: Lists | None = None,
  own: OwnMetrics | None = None,
) -> Measured:
  """Metrics from each target's rank (int [R], -1 for a miss) and the lists that were shown.

  `lists` is what a report shows of them, if it is more; `own` are the metrics of plugins.
  """
  metrics = per_user_metrics(rank_R, num_results)
  if own is not None:
    metrics |= own.of(rank_R, item_RxK, valid_RxK, num_results)
  covered = coverage(item_RxK, valid_RxK, num_items)
  means = {**summarise(metrics), f"coverage@{COVERAGE_AT}": covered}
  return Measured(means, metrics, lists or lists_of(rank_R, item_RxK, valid_RxK))
