"""The recommender's metrics, by full ranking through the beam search."""

import numpy as np

from sidrec.data.dataset import HeldOut
from sidrec.data.seen import SeenItems, seen_items
from sidrec.decoding.batched import RecommendUsers
from sidrec.evaluation.metrics import (
  COVERAGE_AT,
  coverage,
  per_user_metrics,
  rank_in_list,
  summarise,
)


def evaluate_users(
  recommend_users: RecommendUsers,
  params: dict,
  held_out: HeldOut,
  users_R: np.ndarray,
  num_items: int,
  num_results: int,
  seen: SeenItems | None,
) -> dict[str, float]:
  """Metrics over the given users, each counted once.

  Args:
    recommend_users: the search.
    params: of the recommender.
    held_out: histories and targets.
    users_R: int [R], user rows.
    num_items: N, for coverage.
    num_results: results of each list that count.
    seen: items that must not be returned, or None.
  """
  result = recommend_users(params, held_out.histories, users_R, seen)
  item_RxK = np.asarray(result.item_BxK)[:, :num_results]
  valid_RxK = np.asarray(result.valid_BxK)[:, :num_results]
  rank_R = rank_in_list(item_RxK, valid_RxK, held_out.target_U[users_R])
  metrics = summarise(per_user_metrics(rank_R, num_results))
  return {**metrics, f"coverage@{COVERAGE_AT}": coverage(item_RxK, valid_RxK, num_items)}


def evaluate(
  recommend_users: RecommendUsers,
  params: dict,
  held_out: HeldOut,
  num_items: int,
  num_results: int,
) -> dict[str, dict[str, float]]:
  """Metrics of all users, seen items masked and not: {'masked': …, 'unmasked': …}."""
  users_U = np.arange(held_out.histories.num_users)
  ways = {"masked": seen_items(held_out.histories), "unmasked": None}
  return {
    way: evaluate_users(recommend_users, params, held_out, users_U, num_items, num_results, seen)
    for way, seen in ways.items()
  }
