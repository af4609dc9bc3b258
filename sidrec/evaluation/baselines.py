"""What a recommender has to beat: the most popular items, and neighbours of the last items.

Letters: U users, B users of a block, N items, K results.

A baseline is a function (histories, users_B) → scores_BxN; an item scored -inf is not recommended.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from sidrec.data.dataset import HeldOut, Histories
from sidrec.data.seen import seen_items
from sidrec.evaluation.metrics import COVERAGE_AT, coverage, per_user_metrics, summarise
from sidrec.features.cooccurrence import following_counts

ScoreBlock = Callable[[Histories, np.ndarray], np.ndarray]


def popularity(training: Histories, num_items: int) -> ScoreBlock:
  """Every user gets the items with the most training interactions.

  Args:
    training: the training view.
    num_items: N.

  Returns:
    A baseline; items without a training interaction are not recommended.
  """
  count_N = np.bincount(training.item_T, minlength=num_items).astype(np.float32)
  score_N = np.where(count_N > 0, count_N, -np.inf)
  return lambda _, users_B: np.tile(score_N, (len(users_B), 1))


def item_knn(training: Histories, num_items: int, window: int = 20, last: int = 10) -> ScoreBlock:
  """Item-to-item neighbours of each user's last items (after Sarwar et al. 2001).

  The similarity of j to an earlier i is c(i, j) / sqrt(n(i) n(j)): the cosine form, where n
  counts training interactions and c is `following_counts`. An item's score is the sum over the
  user's last `last` items of this similarity, the a-th latest weighing 1 / a.

  Args:
    training: the training view.
    num_items: N.
    window: see `following_counts`.
    last: how many of a user's latest items speak.

  Returns:
    A baseline; items without similarity to any of the user's last items are not recommended.
  """
  count_N = np.bincount(training.item_T, minlength=num_items)
  scale_NxN = sp.diags_array(1.0 / np.sqrt(np.maximum(count_N, 1.0)))
  following_NxN = following_counts(training, num_items, window)
  similarity_NxN = sp.csr_array(scale_NxN @ following_NxN @ scale_NxN, dtype=np.float32)

  def score_block(histories: Histories, users_B: np.ndarray) -> np.ndarray:
    age_A = np.arange(last)
    position_BxA = histories.offsets_U1[users_B + 1][:, None] - 1 - age_A
    row_P, age_P = np.nonzero(position_BxA >= histories.offsets_U1[users_B][:, None])
    item_P = histories.item_T[position_BxA[row_P, age_P]]
    weight_P = (1.0 / (age_P + 1.0)).astype(np.float32)
    # An item that occurs twice among the last ones speaks twice.
    query_BxN = sp.csr_array((weight_P, (row_P, item_P)), shape=(len(users_B), num_items))
    scores_BxN = (query_BxN @ similarity_NxN).toarray()
    return np.where(scores_BxN > 0, scores_BxN, -np.inf)

  return score_block


def ranks(scores_BxN: np.ndarray, target_B: np.ndarray) -> np.ndarray:
  """The target's place in the full ranking, ties counted against it.

  Args:
    scores_BxN: float [B, N]; -inf is not recommended.
    target_B: int [B], rows of Items.

  Returns:
    rank_B int64: the number of other items that score as much or more; -1 where the target is
    not recommended.
  """
  score_B1 = np.take_along_axis(scores_BxN, target_B[:, None], axis=1)
  rank_B = np.count_nonzero(scores_BxN >= score_B1, axis=1) - 1
  return np.where(np.isneginf(score_B1[:, 0]), -1, rank_B)


def top_items(scores_BxN: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
  """The k best items of each row (items_BxK, valid_BxK), best first; of a tie, the first rows."""
  num_items = scores_BxN.shape[1]
  k = min(k, num_items)
  least_B1 = np.partition(scores_BxN, num_items - k, axis=1)[:, num_items - k, None]
  above_BxN, tied_BxN = scores_BxN > least_B1, scores_BxN == least_B1
  room_B1 = k - np.count_nonzero(above_BxN, axis=1, keepdims=True)
  taken_BxN = above_BxN | (tied_BxN & (np.cumsum(tied_BxN, axis=1) <= room_B1))
  items_BxK = np.nonzero(taken_BxN)[1].reshape(-1, k)
  scores_BxK = np.take_along_axis(scores_BxN, items_BxK, axis=1)
  order_BxK = np.argsort(-scores_BxK, axis=1, kind="stable")
  valid_BxK = np.isfinite(np.take_along_axis(scores_BxK, order_BxK, axis=1))
  return np.take_along_axis(items_BxK, order_BxK, axis=1), valid_BxK


def evaluate_baseline(
  score_block: ScoreBlock,
  held_out: HeldOut,
  num_items: int,
  num_results: int = 20,
  block_size: int = 512,
) -> dict[str, dict[str, float]]:
  """Ranks the whole catalogue for every user, with and without the items of the history.

  Args:
    score_block: the baseline.
    held_out: a split's histories and targets.
    num_items: N.
    num_results: length of the lists; see `per_user_metrics`.
    block_size: users scored at once; memory is in proportion to block_size × N.

  Returns:
    {'masked': metrics, 'unmasked': metrics}, coverage@10 among them. Masked, a target that the
    user has seen counts as a miss.

  Raises:
    ValueError: if there are no users.
  """
  seen = seen_items(held_out.histories)
  num_users = held_out.histories.num_users
  rank_U = {way: np.full(num_users, -1) for way in ("masked", "unmasked")}
  top = {way: [] for way in rank_U}
  for start in range(0, num_users, block_size):
    users_B = np.arange(start, min(start + block_size, num_users))
    unmasked_BxN = score_block(held_out.histories, users_B)
    masked_BxN = unmasked_BxN.copy()
    seen_B = np.diff(seen.offsets_U1)[users_B]
    first, end = seen.offsets_U1[users_B[0]], seen.offsets_U1[users_B[-1] + 1]
    masked_BxN[np.repeat(users_B - start, seen_B), seen.item_S[first:end]] = -np.inf
    for way, scores_BxN in [("masked", masked_BxN), ("unmasked", unmasked_BxN)]:
      rank_U[way][users_B] = ranks(scores_BxN, held_out.target_U[users_B])
      top[way].append(top_items(scores_BxN, COVERAGE_AT))
  results = {}
  for way in rank_U:
    means = summarise(per_user_metrics(rank_U[way], num_results))
    items_UxK, valid_UxK = (np.concatenate(part) for part in zip(*top[way], strict=True))
    covered = coverage(items_UxK, valid_UxK, num_items)
    results[way] = {**means, f"coverage@{COVERAGE_AT}": covered}
  return results
