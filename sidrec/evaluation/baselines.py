"""What a recommender has to beat: popular items, neighbours of the history's, and the latter again.

Here X counts a user's latest items.

A baseline is a function (histories, users_B) → scores_BxN; an item scored -inf is not recommended.
"""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp

from sidrec.data.batches import ragged_arange
from sidrec.data.dataset import HeldOut, Histories
from sidrec.data.seen import SeenItems, has_repeats, seen_items
from sidrec.evaluation.evaluate import Evaluation, measure
from sidrec.evaluation.metrics import COVERAGE_AT, per_user_metrics
from sidrec.evaluation.own_metrics import OwnMetrics
from sidrec.evaluation.protocol import WAYS
from sidrec.features.cooccurrence import following_counts, following_similarity

ScoreBlock = Callable[[Histories, np.ndarray], np.ndarray]

POPULARITY_EXPONENTS = (0.0, 0.25, 0.5)  # that `best_item_knn` chooses from
_BLOCK, _TUNED_ON = 512, 4096  # users at once, and users that decide


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


def item_knn(
  training: Histories,
  num_items: int,
  window: int = 20,
  last: int = 10,
  against_popular: float = 0.5,
) -> ScoreBlock:
  """Item-to-item neighbours of each user's last items (after Sarwar et al. 2001).

  The similarity of j to an earlier i is c(i, j) / (n(i)^½ n(j)^b), where n counts training
  interactions and c is `following_counts`; b = ½ is the cosine form. An item's score is the sum
  over the user's last `last` items of this similarity, where the a-th latest weighs 1 / a.

  Args:
    training: the training view.
    num_items: N.
    window: see `following_counts`.
    last: number of a user's latest items that count.
    against_popular: b, which decides how much less popular items are recommended.

  Returns:
    A baseline; items without similarity to any of the user's last items are not recommended.
  """
  counts_NxN = following_counts(training, num_items, window)
  similarity_NxN = following_similarity(counts_NxN, training, num_items, (0.5, against_popular))
  return _neighbours(similarity_NxN, num_items, last)


def _neighbours(similarity_NxN: sp.csr_array, num_items: int, last: int) -> ScoreBlock:
  """What is similar to each user's last items, see `item_knn`."""

  def score_block(histories: Histories, users_B: np.ndarray) -> np.ndarray:
    position_BxX = histories.offsets_Up1[users_B + 1][:, None] - 1 - np.arange(last)
    row_T, age_T = np.nonzero(position_BxX >= histories.offsets_Up1[users_B][:, None])
    item_T = histories.item_T[position_BxX[row_T, age_T]]
    weight_T = (1.0 / (age_T + 1.0)).astype(np.float32)
    # An item that occurs twice among the last ones counts twice.
    query_BxN = sp.csr_array((weight_T, (row_T, item_T)), shape=(len(users_B), num_items))
    return _positive_scores(query_BxN @ similarity_NxN)

  return score_block


def best_item_knn(
  training: Histories, validation: HeldOut, num_items: int, window: int = 20, last: int = 10
) -> tuple[ScoreBlock, float]:
  """`item_knn` with the exponent of POPULARITY_EXPONENTS that ranks best on validation, and that.

  The best is that of the largest NDCG@10 over `_TUNED_ON` users or fewer. Seen items are masked,
  unless targets repeat.

  Args:
    training: the training view.
    validation: another split.
    num_items: N.
    window: see `item_knn`.
    last: see there.
  """
  counts_NxN, found = following_counts(training, num_items, window), {}
  for exponent in POPULARITY_EXPONENTS:
    similarity_NxN = following_similarity(counts_NxN, training, num_items, (0.5, exponent))
    score_block = _neighbours(similarity_NxN, num_items, last)
    found[exponent] = _mean_ndcg(score_block, validation), score_block
  best = max(found, key=lambda exponent: found[exponent][0])
  return found[best][1], best


def _mean_ndcg(score_block: ScoreBlock, held_out: HeldOut) -> float:
  """NDCG@10 over some of the users, in blocks that lie evenly among all."""
  num_users, seen = held_out.histories.num_users, seen_items(held_out.histories)
  masks_seen = not has_repeats(held_out.histories)
  num_blocks = min(_TUNED_ON // _BLOCK, -(-num_users // _BLOCK))
  ndcg = []
  for start in np.linspace(0, max(num_users - _BLOCK, 0), num_blocks).astype(int):
    users_B = np.arange(start, min(start + _BLOCK, num_users))
    scores_BxN = score_block(held_out.histories, users_B)
    if masks_seen:
      scores_BxN = _masked(scores_BxN, seen, users_B)
    rank_B = ranks(scores_BxN, held_out.target_U[users_B])
    ndcg.append(per_user_metrics(rank_B, 10)["ndcg@10"])
  return float(np.concatenate(ndcg).mean())


def item_knn_cosine(training: Histories, num_items: int) -> ScoreBlock:
  """Item-to-item cosine over the whole history, in any order (Sarwar et al. 2001).

  The similarity of i and j is c(i, j) / sqrt(c(i, i) c(j, j)), where c(i, j) counts the users
  whose training histories hold both: the cosine of two columns of the binary user-item matrix.
  An item's score is the sum of its similarities to the user's distinct items except itself, so
  an item of the history is recommended again only if it is similar to the others.

  Unlike `item_knn` it ignores order, distance and age. It holds the similarities of all pairs
  that occur in memory: at most N² of them, 8 bytes each.

  Args:
    training: the training view.
    num_items: N.

  Returns:
    A baseline; items without similarity to any other of the user's items are not recommended.
  """
  has_UxN = _has_item(training, np.arange(training.num_users), num_items)
  both_NxN = (has_UxN.T @ has_UxN).tocsr()
  norm_N = np.sqrt(np.maximum(both_NxN.diagonal(), 1.0))
  both_NxN.setdiag(0.0)
  scale_NxN = sp.diags_array((1.0 / norm_N).astype(np.float32))
  similarity_NxN = sp.csr_array(scale_NxN @ both_NxN @ scale_NxN)
  return lambda histories, users_B: _positive_scores(
    _has_item(histories, users_B, num_items) @ similarity_NxN
  )


def own_frequency(num_items: int) -> ScoreBlock:
  """Every user gets their own most frequent items; of equal counts the one met latest.

  'Personal top' of Hu et al. (SIGIR 2020, arXiv:2006.00556). Nothing is learnt from others.
  """

  def score_block(histories: Histories, users_B: np.ndarray) -> np.ndarray:
    row_T, item_T, age_T = _events(histories, users_B)
    count_BxN, latest_BxN = np.zeros((2, len(users_B), num_items))
    np.add.at(count_BxN, (row_T, item_T), 1.0)
    np.maximum.at(latest_BxN, (row_T, item_T), 0.5 / (1.0 + age_T))
    return np.where(count_BxN > 0, count_BxN + latest_BxN, -np.inf)

  return score_block


def own_recency(num_items: int) -> ScoreBlock:
  """Every user gets their own latest items, the newest first."""

  def score_block(histories: Histories, users_B: np.ndarray) -> np.ndarray:
    row_T, item_T, age_T = _events(histories, users_B)
    score_BxN = np.full((len(users_B), num_items), -np.inf)
    np.maximum.at(score_BxN, (row_T, item_T), -age_T.astype(float))
    return score_BxN

  return score_block


def own_and_item_knn(
  training: Histories,
  num_items: int,
  share: float = 0.02,
  decay: float = 1.0,
  neighbours: ScoreBlock | None = None,
) -> ScoreBlock:
  """A mixture of a user's own items, by how often and how lately, and of their neighbours.

  After TIFU-KNN (Hu et al., SIGIR 2020, arXiv:2006.00556), which mixes the user's decayed
  frequencies with those of similar users; here the neighbours are items, those of `item_knn`. Both
  parts are scaled to a sum of 1 before they are mixed.

  Args:
    training: the training view.
    num_items: N.
    share: of the user's own items. The defaults of it and of `decay` are the best of 30 pairs by
      unmasked NDCG@10 on the validation of UCI's Online Retail.
    decay: weight of an event in relation to the one after it.
    neighbours: an `item_knn`; None for that with its defaults.

  Returns:
    A baseline; items in neither part are not recommended.
  """
  near = neighbours or item_knn(training, num_items)

  def score_block(histories: Histories, users_B: np.ndarray) -> np.ndarray:
    row_T, item_T, age_T = _events(histories, users_B)
    own_BxN = np.zeros((len(users_B), num_items))
    np.add.at(own_BxN, (row_T, item_T), decay**age_T)
    near_BxN = np.maximum(near(histories, users_B), 0.0)
    score_BxN = share * _scaled(own_BxN) + (1.0 - share) * _scaled(near_BxN)
    return np.where(score_BxN > 0, score_BxN, -np.inf)

  return score_block


def _events(histories: Histories, users_B: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The events of some users: row of the block, item, and number of the user's events after it."""
  row_T, within_T = ragged_arange(histories.lengths_U[users_B])
  item_T = histories.item_T[histories.offsets_Up1[users_B][row_T] + within_T]
  return row_T, item_T, histories.lengths_U[users_B][row_T] - 1 - within_T


def _scaled(part_BxN: np.ndarray) -> np.ndarray:
  """Rows with a sum of 1; those of zeros stay."""
  total_Bx1 = part_BxN.sum(axis=1, keepdims=True)
  return part_BxN / np.where(total_Bx1 > 0, total_Bx1, 1.0)


def _positive_scores(scores_BxN: sp.csr_array) -> np.ndarray:
  dense_BxN = scores_BxN.toarray()
  return np.where(dense_BxN > 0, dense_BxN, -np.inf)


def _has_item(histories: Histories, users_B: np.ndarray, num_items: int) -> sp.csr_array:
  """1 where the item occurs in the user's history, however often: float32 sparse [B, N]."""
  once_T = np.ones(len(histories.item_T), np.float32)
  packed = (once_T, histories.item_T, histories.offsets_Up1)
  count_UxN = sp.csr_array(packed, shape=(histories.num_users, num_items))
  has_BxN = sp.csr_array(count_UxN[users_B])
  has_BxN.sum_duplicates()
  has_BxN.data.fill(1.0)
  return has_BxN


def ranks(scores_BxN: np.ndarray, target_B: np.ndarray) -> np.ndarray:
  """The target's rank among all items; it comes after every item of the same score.

  Args:
    scores_BxN: float [B, N]; -inf is not recommended.
    target_B: int [B], rows of Items.

  Returns:
    rank_B int64: the number of other items that score as much or more; -1 where the target is
    not recommended.
  """
  score_Bx1 = np.take_along_axis(scores_BxN, target_B[:, None], axis=1)
  rank_B = np.count_nonzero(scores_BxN >= score_Bx1, axis=1) - 1
  return np.where(np.isneginf(score_Bx1[:, 0]), -1, rank_B)


def top_items(scores_BxN: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
  """The k <= N best items of each row (item_BxK, valid_BxK), best first; lower rows win ties."""
  # Largest first by negation: most scores are often -inf, and selecting beyond a long run of
  # equal values is an order of magnitude slower than selecting before it.
  least_Bx1 = -np.partition(-scores_BxN, k - 1, axis=1)[:, k - 1, None]
  above_BxN, tied_BxN = scores_BxN > least_Bx1, scores_BxN == least_Bx1
  room_Bx1 = k - np.count_nonzero(above_BxN, axis=1, keepdims=True)
  taken_BxN = above_BxN | (tied_BxN & (np.cumsum(tied_BxN, axis=1) <= room_Bx1))
  item_BxK = np.nonzero(taken_BxN)[1].reshape(-1, k)
  scores_BxK = np.take_along_axis(scores_BxN, item_BxK, axis=1)
  order_BxK = np.argsort(-scores_BxK, axis=1, kind="stable")
  valid_BxK = np.isfinite(np.take_along_axis(scores_BxK, order_BxK, axis=1))
  return np.take_along_axis(item_BxK, order_BxK, axis=1), valid_BxK


def evaluate_baseline(
  score_block: ScoreBlock,
  held_out: HeldOut,
  num_items: int,
  num_results: int = 20,
  block_size: int = _BLOCK,
  ways: Sequence[str] = WAYS,
  own: OwnMetrics | None = None,
) -> Evaluation:
  """Ranks the whole catalogue for every user, with and without the items of the history.

  Args:
    score_block: the baseline.
    held_out: a split's histories and targets.
    num_items: N.
    num_results: length of the lists; see `per_user_metrics`.
    block_size: users scored at once; memory grows with block_size × N.
    ways: some of WAYS: 'unmasked' alone for a baseline that only repeats.
    own: the metrics of plugins.

  Returns:
    The means, coverage@10 among them, and the metrics of each user. With seen items masked, a
    target that the user has seen counts as a miss.

  Raises:
    ValueError: if there are no users.
  """
  num_users, seen = held_out.histories.num_users, seen_items(held_out.histories)
  k = min(max(COVERAGE_AT, num_results if own else 0), num_items)
  rank_U = {way: np.zeros(num_users, int) for way in ways}
  item_UxK = {way: np.zeros((num_users, k), int) for way in ways}
  valid_UxK = {way: np.zeros((num_users, k), bool) for way in ways}
  for start in range(0, num_users, block_size):
    users_B = np.arange(start, min(start + block_size, num_users))
    unmasked_BxN = score_block(held_out.histories, users_B)
    for way in ways:
      scores_BxN = _masked(unmasked_BxN, seen, users_B) if way == "masked" else unmasked_BxN
      rank_U[way][users_B] = ranks(scores_BxN, held_out.target_U[users_B])
      item_UxK[way][users_B], valid_UxK[way][users_B] = top_items(scores_BxN, k)
  return Evaluation.of(
    {
      way: measure(rank_U[way], item_UxK[way], valid_UxK[way], num_items, num_results, None, own)
      for way in ways
    }
  )


def _masked(scores_BxN: np.ndarray, seen: SeenItems, users_B: np.ndarray) -> np.ndarray:
  """The scores with -inf for the seen items of each user; users_B is a range."""
  masked_BxN = scores_BxN.copy()
  seen_B = np.diff(seen.offsets_Up1)[users_B]
  first, end = seen.offsets_Up1[users_B[0]], seen.offsets_Up1[users_B[-1] + 1]
  masked_BxN[np.repeat(users_B - users_B[0], seen_B), seen.item_X[first:end]] = -np.inf
  return masked_BxN
