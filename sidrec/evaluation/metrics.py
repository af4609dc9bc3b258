"""Ranking metrics for one target per user.

A rank counts from 0; -1 means that the target is not in the list. Every user counts once, so
callers remove the padding rows of a batch first.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

RECALL_AT = (1, 5, 10, 20)
NDCG_AT = (5, 10, 20)
COVERAGE_AT = 10
CALIBRATION_BINS = 15

_BUILT_IN = re.compile(r"(recall|ndcg|coverage|ece)(@.*)?|mrr", re.IGNORECASE)


def is_builtin(name: str) -> bool:
  """Whether a metric of this name is sidrec's own."""
  return _BUILT_IN.fullmatch(name) is not None


def rank_in_list(item_UxK: np.ndarray, valid_UxK: np.ndarray, target_U: np.ndarray) -> np.ndarray:
  """The rank of each user's target among the valid results.

  Args:
    item_UxK: int [U, K], item rows, best first.
    valid_UxK: bool [U, K], False where a list has no result.
    target_U: int [U].

  Returns:
    rank_U int64: the number of valid results before the target, -1 if it is not among them.
  """
  hit_UxK = valid_UxK & (item_UxK == target_U[:, None])
  place_UxK = np.cumsum(valid_UxK, axis=1) - 1
  first_Ux1 = hit_UxK.argmax(axis=1)[:, None]
  return np.where(hit_UxK.any(axis=1), np.take_along_axis(place_UxK, first_Ux1, axis=1)[:, 0], -1)


def per_user_metrics(
  rank_U: np.ndarray,
  num_results: int,
  recall_at: Sequence[int] = RECALL_AT,
  ndcg_at: Sequence[int] = NDCG_AT,
) -> dict[str, np.ndarray]:
  """Each user's recall@k, ndcg@k and reciprocal rank.

  With one target, recall@k is the hit rate: 1 if rank < k. ndcg@k is 1 / log2(rank + 2) if
  rank < k (the ideal gain is 1; Järvelin & Kekäläinen 2002). mrr is 1 / (rank + 1) within the
  list. All are 0 where the target is not in the list.

  Args:
    rank_U: int [U]; negative where the target is absent.
    num_results: length of the lists; targets at this rank or later count as absent.
    recall_at: cut-offs of recall; those beyond num_results cannot be measured and are left out.
    ndcg_at: cut-offs of ndcg, handled in the same way.

  Returns:
    'recall@k', 'ndcg@k', 'mrr' → float64 [U].
  """
  found_U = (rank_U >= 0) & (rank_U < num_results)
  rank_U = np.where(found_U, rank_U, 0)
  gain_U, reciprocal_U = found_U / np.log2(rank_U + 2.0), found_U / (rank_U + 1.0)
  recalls = {f"recall@{k}": 1.0 * (found_U & (rank_U < k)) for k in recall_at if k <= num_results}
  ndcgs = {f"ndcg@{k}": gain_U * (rank_U < k) for k in ndcg_at if k <= num_results}
  return {**recalls, **ndcgs, "mrr": reciprocal_U}


def summarise(per_user: Mapping[str, np.ndarray]) -> dict[str, float]:
  """The mean over users of each metric.

  Raises:
    ValueError: if there are no users.
  """
  if any(len(value_U) == 0 for value_U in per_user.values()):
    raise ValueError("no users to average over; evaluate at least one")
  return {name: float(np.mean(value_U)) for name, value_U in per_user.items()}


def coverage(
  item_UxK: np.ndarray, valid_UxK: np.ndarray, num_items: int, k: int = COVERAGE_AT
) -> float:
  """The share of the catalogue that some user sees among the first k valid results."""
  shown_UxK = valid_UxK & (np.cumsum(valid_UxK, axis=1) <= k)
  return len(np.unique(item_UxK[shown_UxK])) / num_items


def calibration_error(p_U: np.ndarray, hit_U: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
  """The expected calibration error of what was predicted with these probabilities.

  Σ_b n_b / U · |mean p in bin b - share of hits in bin b| (Guo et al., ICML 2017,
  arXiv:1706.04599). Bins hold equally many predictions, in the order of their p, because most are
  small: of bins of equal width, the first would hold nearly all.

  Args:
    p_U: float [U], at least one.
    hit_U: bool [U], what came true.
    bins: their number; with fewer predictions, each has a bin of its own.
  """
  order_U = np.argsort(p_U, kind="stable")
  gap_U = np.asarray(p_U, np.float64)[order_U] - np.asarray(hit_U)[order_U]
  parts = np.array_split(gap_U, min(bins, len(gap_U)))
  return float(sum(abs(part.sum()) for part in parts) / len(gap_U))
