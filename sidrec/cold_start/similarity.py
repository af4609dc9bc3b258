"""How similar items are to the latest items of a history, by their vectors.

Letters: R users, S latest items of a history, B users in memory at once, K items of each, A known
ones, J new ones, N items of the catalogue, F vector width.
"""

import numpy as np

from sidrec.data.batches import last_items
from sidrec.data.dataset import Histories
from sidrec.search.results import Recommendations

LATEST = 10  # items of a history that are looked at
DECAY = 0.7  # weight of an item relative to the one after it
TEMPERATURE = 0.05  # of a cosine
AMONG = 10  # known items that a new one is compared with
SEARCH_WEIGHT = 0.4  # of the search's log probability; the similarity has weight 1

_USERS_AT_ONCE = 128


def by_similarity(
  known: Recommendations,
  new: Recommendations,
  histories: Histories,
  users_R: np.ndarray,
  unit_NxF: np.ndarray,
) -> Recommendations:
  """Ranks new items by their similarity to the history, compared with the known items found.

  Args:
    known: results [R, K] among known items, best first.
    new: results [R, J] among new items, scores in nats.
    histories: of all users.
    users_R: int, user rows.
    unit_NxF: vectors of all items, of length 1; float32.

  Returns:
    Recommendations [R, J], best first. The score is SEARCH_WEIGHT times the search's, plus the
    log of the item's similarity over the sum of those of the first AMONG known items.
  """
  item_RxJ, score_RxJ, valid_RxJ = map(np.asarray, new)
  known_RxA, valid_RxA = (np.asarray(x)[:, :AMONG] for x in (known.item_BxK, known.valid_BxK))
  item_RxJA = np.concatenate([item_RxJ, known_RxA], axis=1)
  similarity_RxJA = log_similarity(histories, users_R, item_RxJA, unit_NxF)
  similarity_RxJ, similarity_RxA = np.split(similarity_RxJA, [item_RxJ.shape[1]], axis=1)
  similarity_RxA = np.where(valid_RxA, similarity_RxA, -np.inf)
  similarity_Rx1 = np.logaddexp.reduce(similarity_RxA, axis=1, keepdims=True)
  similarity_Rx1 = np.where(
    np.isfinite(similarity_Rx1), similarity_Rx1, 0.0
  )  # no known item at all
  score_RxJ = np.where(
    valid_RxJ, SEARCH_WEIGHT * score_RxJ + similarity_RxJ - similarity_Rx1, -np.inf
  )
  order_RxJ = np.argsort(-score_RxJ, axis=1, kind="stable")
  ordered = (
    np.take_along_axis(x, order_RxJ, axis=1)
    for x in (item_RxJ, score_RxJ.astype(np.float32), valid_RxJ)
  )
  return Recommendations(*ordered)  # pyrefly: ignore


def log_similarity(
  histories: Histories, users_R: np.ndarray, item_RxK: np.ndarray, unit_NxF: np.ndarray
) -> np.ndarray:
  """log of the weighted mean of exp((cos(item, s) - 1) / TEMPERATURE) over the latest items s.

  Args:
    histories: of all users.
    users_R: int, user rows.
    item_RxK: int item rows for each of them; what is negative counts as row 0.
    unit_NxF: vectors of all items, of length 1; float32.

  Returns:
    float32 [R, K], at most 0; 0 throughout for an empty history.
  """
  latest_RxS = last_items(histories, LATEST)[users_R]
  real_RxS = latest_RxS >= 0
  # Oldest first, the newest before what fills up: the last real item weighs 1.
  age_RxS = real_RxS.sum(axis=1, keepdims=True) - 1 - np.arange(LATEST)[None]
  weight_RxS = np.where(real_RxS, DECAY ** np.maximum(age_RxS, 0), 0.0)
  weight_RxS /= np.maximum(weight_RxS.sum(axis=1, keepdims=True), 1e-9)
  parts = [np.zeros((0, item_RxK.shape[1]), np.float32)]
  for start in range(0, len(users_R), _USERS_AT_ONCE):
    B = slice(start, start + _USERS_AT_ONCE)
    latest_BxSxF = unit_NxF[np.maximum(latest_RxS[B], 0)]
    item_BxKxF = unit_NxF[np.maximum(item_RxK[B], 0)]
    near_BxKxS = np.exp((item_BxKxF @ latest_BxSxF.transpose(0, 2, 1) - 1) / TEMPERATURE)
    mean_BxK = (near_BxKxS * weight_RxS[B, None]).sum(axis=2)
    empty_Bx1 = ~real_RxS[B].any(axis=1, keepdims=True)
    parts.append(np.log(np.where(empty_Bx1, 1.0, np.maximum(mean_BxK, 1e-30))).astype(np.float32))
  return np.concatenate(parts)
