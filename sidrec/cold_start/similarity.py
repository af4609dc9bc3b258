"""How similar items are to the latest items of a history, by their vectors.

Here X counts items whose similarity is needed.
"""

import numpy as np

from sidrec.data.batches import last_items
from sidrec.data.dataset import Histories
from sidrec.search.results import Recommendations

LATEST = 10  # items of a history that count
DECAY = 0.7  # weight of an item relative to the next one in the history
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
    new: results among new items, scores in nats; its K may differ.
    histories: of all users.
    users_R: int, user rows.
    unit_NxF: vectors of all items, of length 1; float32.

  Returns:
    The results of `new`, best first. The score is SEARCH_WEIGHT times the search's, plus the log
    of the item's similarity divided by the sum of those of the first AMONG known items.
  """
  item_RxK, score_RxK, valid_RxK = map(np.asarray, new)
  known_item_RxK = np.asarray(known.item_BxK)[:, :AMONG]
  known_valid_RxK = np.asarray(known.valid_BxK)[:, :AMONG]
  item_RxX = np.concatenate([item_RxK, known_item_RxK], axis=1)
  similarity_RxX = log_similarity(histories, users_R, item_RxX, unit_NxF)
  similarity_RxK, known_RxK = np.split(similarity_RxX, [item_RxK.shape[1]], axis=1)
  known_RxK = np.where(known_valid_RxK, known_RxK, -np.inf)
  total_Rx1 = np.logaddexp.reduce(known_RxK, axis=1, keepdims=True)
  total_Rx1 = np.where(np.isfinite(total_Rx1), total_Rx1, 0.0)  # without any known item
  score_RxK = np.where(valid_RxK, SEARCH_WEIGHT * score_RxK + similarity_RxK - total_Rx1, -np.inf)
  order_RxK = np.argsort(-score_RxK, axis=1, kind="stable")
  ordered = (
    np.take_along_axis(x_RxK, order_RxK, axis=1)
    for x_RxK in (item_RxK, score_RxK.astype(np.float32), valid_RxK)
  )
  return Recommendations(*ordered)  # pyrefly: ignore


def log_similarity(
  histories: Histories, users_R: np.ndarray, item_RxX: np.ndarray, unit_NxF: np.ndarray
) -> np.ndarray:
  """log of the weighted mean of exp((cos(item, s) - 1) / TEMPERATURE) over the latest items s.

  Args:
    histories: of all users.
    users_R: int, user rows.
    item_RxX: int item rows for each of them; a negative one counts as row 0.
    unit_NxF: vectors of all items, of length 1; float32.

  Returns:
    float32 [R, X], at most 0; 0 throughout for an empty history.
  """
  latest_RxS = last_items(histories, LATEST)[users_R]
  real_RxS = latest_RxS >= 0
  # Histories are oldest first and padded at the end: the last real item weighs 1.
  age_RxS = real_RxS.sum(axis=1, keepdims=True) - 1 - np.arange(LATEST)[None]
  weight_RxS = np.where(real_RxS, DECAY ** np.maximum(age_RxS, 0), 0.0)
  weight_RxS /= np.maximum(weight_RxS.sum(axis=1, keepdims=True), 1e-9)
  parts = [np.zeros((0, item_RxX.shape[1]), np.float32)]
  for start in range(0, len(users_R), _USERS_AT_ONCE):
    block = slice(start, start + _USERS_AT_ONCE)
    latest_BxSxF = unit_NxF[np.maximum(latest_RxS[block], 0)]
    item_BxXxF = unit_NxF[np.maximum(item_RxX[block], 0)]
    near_BxXxS = np.exp((item_BxXxF @ latest_BxSxF.transpose(0, 2, 1) - 1) / TEMPERATURE)
    mean_BxX = (near_BxXxS * weight_RxS[block, None]).sum(axis=2)
    empty_Bx1 = ~real_RxS[block].any(axis=1, keepdims=True)
    parts.append(np.log(np.where(empty_Bx1, 1.0, np.maximum(mean_BxX, 1e-30))).astype(np.float32))
  return np.concatenate(parts)
