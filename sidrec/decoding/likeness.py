"""How alike items are to the latest items of a history, by their vectors.

Letters: R users, S latest items of a history, B users in memory at once, K items of each, N
items of the catalogue, F vector width.
"""

import numpy as np

from sidrec.data.batches import last_items
from sidrec.data.dataset import Histories

LATEST = 10  # items of a history that are looked at
DECAY = 0.7  # weight of an item beside that of the one after it
TEMPERATURE = 0.05  # of a cosine

_USERS_AT_ONCE = 128


def log_likeness(
  histories: Histories, users_R: np.ndarray, item_RxK: np.ndarray, vectors_NxF: np.ndarray
) -> np.ndarray:
  """log of the weighted mean of exp((cos(item, s) - 1) / TEMPERATURE) over the latest items s.

  Args:
    histories: of all users.
    users_R: int, user rows.
    item_RxK: int item rows for each of them; what is negative counts as row 0.
    vectors_NxF: of all items.

  Returns:
    float32 [R, K], at most 0; 0 throughout for an empty history.
  """
  norm_N1 = np.linalg.norm(vectors_NxF, axis=1, keepdims=True)
  unit_NxF = (vectors_NxF / np.maximum(norm_N1, 1e-9)).astype(np.float32)
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
    empty_B1 = ~real_RxS[B].any(axis=1, keepdims=True)
    parts.append(np.log(np.where(empty_B1, 1.0, np.maximum(mean_BxK, 1e-30))).astype(np.float32))
  return np.concatenate(parts)
