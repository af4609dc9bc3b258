"""The recommender's metrics, by full ranking through the beam search."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sidrec.data.dataset import HeldOut
from sidrec.data.seen import SeenItems, seen_items
from sidrec.evaluation.metrics import (
  COVERAGE_AT,
  coverage,
  per_user_metrics,
  rank_in_list,
  summarise,
)
from sidrec.search.batched import RecommendUsers

# What is kept of each user, so that systems can be compared on the same users later.
PER_USER = ("recall@10", "ndcg@10")


class Evaluation(NamedTuple):
  """How one system does on one split, seen items 'masked' and 'unmasked'."""

  means: dict[str, dict[str, float]]  # way → metric → mean over users, or coverage
  per_user: dict[str, dict[str, np.ndarray]]  # way → metric of PER_USER → float32 [U]


def kept_per_user(metrics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The metrics of PER_USER that were measured, as float32 [U]; a short list lacks some."""
  return {name: metrics[name].astype(np.float32) for name in PER_USER if name in metrics}


def evaluate_users(
  recommend_users: RecommendUsers,
  params: dict,
  held_out: HeldOut,
  users_R: np.ndarray,
  num_items: int,
  num_results: int,
  seen: SeenItems | None,
) -> dict[str, float]:
  """Means over the given users, each counted once.

  Args:
    recommend_users: the search.
    params: of the recommender.
    held_out: histories and targets.
    users_R: int [R], user rows.
    num_items: N, for coverage.
    num_results: results of each list that count.
    seen: items that must not be returned, or None.
  """
  means, _ = _measure(recommend_users, params, held_out, users_R, num_items, num_results, seen)
  return means


def evaluate(
  recommend_users: RecommendUsers,
  params: dict,
  held_out: HeldOut,
  num_items: int,
  num_results: int,
) -> Evaluation:
  """How a recommender does on every user, seen items masked and not.

  Args:
    recommend_users: the search.
    params: of the recommender.
    held_out: histories and targets.
    num_items: N, for coverage.
    num_results: results of each list that count.

  Raises:
    ValueError: if there are no users.
  """
  users_U = np.arange(held_out.histories.num_users)
  means, per_user = {}, {}
  for way, seen in {"masked": seen_items(held_out.histories), "unmasked": None}.items():
    means[way], metrics = _measure(
      recommend_users, params, held_out, users_U, num_items, num_results, seen
    )
    per_user[way] = kept_per_user(metrics)
  return Evaluation(means, per_user)


def _measure(
  recommend_users: RecommendUsers,
  params: dict,
  held_out: HeldOut,
  users_R: np.ndarray,
  num_items: int,
  num_results: int,
  seen: SeenItems | None,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
  """The means with coverage, and every metric of every user: float64 [R]."""
  result = recommend_users(params, held_out.histories, users_R, seen)
  item_RxK = np.asarray(result.item_BxK)[:, :num_results]
  valid_RxK = np.asarray(result.valid_BxK)[:, :num_results]
  rank_R = rank_in_list(item_RxK, valid_RxK, held_out.target_U[users_R])
  metrics = per_user_metrics(rank_R, num_results)
  covered = coverage(item_RxK, valid_RxK, num_items)
  return {**summarise(metrics), f"coverage@{COVERAGE_AT}": covered}, metrics
