"""Rules that every reader applies to raw interactions, and filters to choose from.

  * Exact duplicates (same user, item, time and rating) are one interaction, written twice.
  * Repeats (same user and item at different times) are real: people watch, buy and listen
    again. They stay, unless a reader is told to keep the first of them only.
  * The k-core leaves users and items with at least k interactions each.

Every rule returns `keep_T`, which interactions stay, and leaves their order alone.

Letters: T interactions, P those of pairs of user and item that come more than once.
"""

import numpy as np

REPEATS = ("keep", "first")


def distinct_rows(
  user_T: np.ndarray, item_T: np.ndarray, time_T: np.ndarray, rating_T: np.ndarray
) -> np.ndarray:
  """Keeps the first of interactions that agree in everything: bool [T].

  Ids may be of any type that sorts; ratings may be NaN, and NaN equals NaN.
  """
  keep_T = np.ones(len(user_T), bool)
  pair_T = _pairs(user_T, item_T)
  at_P = np.flatnonzero(_is_repeated(pair_T))
  # Only these can be duplicates, and most logs have few.
  rating_P = np.nan_to_num(rating_T[at_P].astype(np.float64), nan=np.inf)
  order_P = np.lexsort((rating_P, time_T[at_P], pair_T[at_P]))  # stable: the first comes first
  columns = (pair_T[at_P][order_P], time_T[at_P][order_P], rating_P[order_P])
  if len(at_P):
    same_P = np.all([column[1:] == column[:-1] for column in columns], axis=0)
    keep_T[at_P[order_P[1:][same_P]]] = False
  return keep_T


def first_of_pairs(user_T: np.ndarray, item_T: np.ndarray, time_T: np.ndarray) -> np.ndarray:
  """Keeps each user's earliest interaction with an item, of equal times the first: bool [T]."""
  keep_T = np.ones(len(user_T), bool)
  pair_T = _pairs(user_T, item_T)
  at_P = np.flatnonzero(_is_repeated(pair_T))
  order_P = np.lexsort((time_T[at_P], pair_T[at_P]))
  pair_P = pair_T[at_P][order_P]
  keep_T[at_P[order_P[1:][pair_P[1:] == pair_P[:-1]]]] = False
  return keep_T


def without_duplicates(
  user_T: np.ndarray,
  item_T: np.ndarray,
  time_T: np.ndarray,
  rating_T: np.ndarray,
  repeats: str = "keep",
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], list[str]]:
  """Drops exact duplicates and, with repeats='first', every later interaction with an item.

  Returns:
    The four columns without them, and one sentence for each kind that there was.

  Raises:
    ValueError: if `repeats` is neither 'keep' nor 'first'.
  """
  check_repeats(repeats)
  keep_T = distinct_rows(user_T, item_T, time_T, rating_T)
  copies, later = int((~keep_T).sum()), 0
  if copies:
    user_T, item_T, time_T, rating_T = (c[keep_T] for c in (user_T, item_T, time_T, rating_T))
  if repeats == "first":
    keep_T = first_of_pairs(user_T, item_T, time_T)
    if later := int((~keep_T).sum()):
      user_T, item_T, time_T, rating_T = (c[keep_T] for c in (user_T, item_T, time_T, rating_T))
  return (user_T, item_T, time_T, rating_T), duplicate_notes(copies, later)


def duplicate_notes(copies: int, later: int) -> list[str]:
  """What was dropped: exact duplicates, and later interactions with an item."""
  notes = []
  if copies:
    notes.append(
      f"dropped {_rows(copies)} that repeat{'s' if copies == 1 else ''} another in user, item, "
      "time and rating"
    )
  if later:
    notes.append(f"dropped {_rows(later)} with an item that the user had met before")
  return notes


def check_repeats(repeats: str) -> None:
  """Raises ValueError for another value than 'keep' or 'first'."""
  if repeats not in REPEATS:
    raise ValueError(f"repeats must be 'keep' or 'first', not {repeats!r}")


def k_core(user_T: np.ndarray, item_T: np.ndarray, k: int) -> np.ndarray:
  """Keeps the largest set of interactions in which every user and item has k or more: bool [T].

  Users and items with fewer are dropped in turn until none is left to drop. Repeats count.
  """
  _, user_T = np.unique(user_T, return_inverse=True)
  _, item_T = np.unique(item_T, return_inverse=True)
  at_K = np.arange(len(user_T))  # what is kept so far
  while True:
    enough_K = np.ones(len(at_K), bool)
    for row_T in (user_T, item_T):
      enough_K &= (np.bincount(row_T[at_K]) >= k)[row_T[at_K]]
    if enough_K.all():
      break
    at_K = at_K[enough_K]
  keep_T = np.zeros(len(user_T), bool)
  keep_T[at_K] = True
  return keep_T


def _pairs(user_T: np.ndarray, item_T: np.ndarray) -> np.ndarray:
  """One number for each pair of user and item: int64 [T]."""
  user_T, _ = _numbered(user_T)
  item_T, num_items = _numbered(item_T)
  return user_T * num_items + item_T


def _numbered(ids_T: np.ndarray) -> tuple[np.ndarray, int]:
  """Distinct numbers for distinct ids, and a bound on them. Small whole numbers stay."""
  if len(ids_T) and ids_T.dtype.kind == "i" and ids_T.min() >= 0 and ids_T.max() < 1 << 31:
    return ids_T.astype(np.int64), int(ids_T.max()) + 1
  ids, row_T = np.unique(ids_T, return_inverse=True)
  return row_T, len(ids)


def _is_repeated(pair_T: np.ndarray) -> np.ndarray:
  """Which pairs come more than once: bool [T]."""
  sorted_T = np.sort(pair_T)
  repeated = np.unique(sorted_T[1:][sorted_T[1:] == sorted_T[:-1]])
  return np.isin(pair_T, repeated) if len(repeated) else np.zeros(len(pair_T), bool)


def _rows(number: int) -> str:
  return f"{number:,} interaction{'' if number == 1 else 's'}"
