"""The last step of every reader: raw interaction columns and item metadata → `Dataset`.

Letters as in `dataset`: T interactions, U users, N items, C categories, E item-category
pairs. M are the items that the metadata describes, of which the catalogue keeps N.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sidrec.data import dataset


def item_table(
  ids: Sequence[int] | Sequence[str] | np.ndarray,
  titles: Sequence[str],
  categories: Sequence[Sequence[str]],
  numeric: Mapping[str, Sequence[float]],
  text: Sequence[str] | None = None,
) -> dataset.Items:
  """Packs one value per item into an `Items`; a missing value is '', NaN or ()."""
  flat = [name for names in categories for name in names]
  categories_C, category_E = np.unique(np.array(flat, dtype=str), return_inverse=True)
  return dataset.Items(
    ids_N=np.asarray(ids),
    titles_N=np.array(titles, dtype=str),
    categories_C=categories_C,
    category_offsets_Np1=_offsets(np.array([len(names) for names in categories], np.int64)),
    category_E=category_E.astype(np.int32),
    numeric={name: np.asarray(column, np.float32) for name, column in numeric.items()},
    text_N=np.array([""] * len(titles) if text is None else text, dtype=str),
  )


def build(
  name: str,
  user_T: np.ndarray,
  item_T: np.ndarray,
  time_T: np.ndarray,
  rating_T: np.ndarray,
  metadata: dataset.Items,
  min_interactions: int = 3,
  notes: Sequence[str] = (),
) -> dataset.Dataset:
  """Drops short users, orders everything as the contract asks and keeps the rated items.

  Args:
    name: of the data set.
    user_T: original user ids, integers or str, in file order.
    item_T: original item ids, likewise.
    time_T: seconds.
    rating_T: NaN where the log has none.
    metadata: what is known about items, in any order. Items without an interaction
      are left out; items that it lacks get missing values.
    min_interactions: users with fewer are dropped, with their interactions.
    notes: what the reader itself dropped or assumed; this step's notes follow them.

  Returns:
    A validated data set.

  Raises:
    ValueError: where no user is left, an item is described twice, ids are integers
      on one side and text on the other, or the result breaks the contract.
  """
  if min_interactions < 3:
    raise ValueError(
      f"min_interactions is {min_interactions}; it must be at least 3, for each user's last item "
      "tests, the last but one validates and the rest trains"
    )
  user_ids_U, user_T = _distinct(np.asarray(user_T))
  long_U = np.bincount(user_T, minlength=len(user_ids_U)) >= min_interactions
  if not long_U.any():
    raise ValueError(
      f"data set {name!r}: none of its {_count(len(user_ids_U), 'user')} has {min_interactions} or "
      "more interactions"
    )
  kept_T = long_U[user_T]
  user_T = (np.cumsum(long_U) - 1)[user_T[kept_T]]
  time_T = np.asarray(time_T, np.int64)[kept_T]
  item_ids_N, item_T = _distinct(np.asarray(item_T)[kept_T])

  order_T = np.lexsort((time_T, user_T))  # stable: equal times keep file order
  user_T, time_T = user_T[order_T], time_T[order_T]
  histories = dataset.Histories(
    offsets_Up1=_offsets(np.bincount(user_T)),
    item_T=item_T[order_T].astype(np.int32),
    time_T=time_T,
    rating_T=np.asarray(rating_T, np.float32)[kept_T][order_T],
    user_ids_U=user_ids_U[long_U],
  )
  items, described = describe(name, metadata, item_ids_N)
  ties = int(((np.diff(user_T) == 0) & (np.diff(time_T) == 0)).sum())
  own_notes = build_notes(
    int((~long_U).sum()),
    min_interactions,
    metadata.num_items,
    described,
    items.num_items,
    ties,
    len(time_T),
  )
  return dataset.validate(dataset.Dataset(name, histories, items, (*notes, *own_notes)))


def build_notes(
  short: int,
  min_interactions: int,
  num_metadata: int,
  described: int,
  num_items: int,
  ties: int,
  interactions: int,
) -> list[str]:
  """What building a data set dropped or assumed.

  Args:
    short: users with fewer than `min_interactions`.
    min_interactions: what a user must have.
    num_metadata: items that the metadata describes, of which `described` are in the catalogue.
    described: see there.
    num_items: of the catalogue.
    ties: interactions at the time of their user's previous one.
    interactions: in all.
  """
  notes = []
  unused, unknown = num_metadata - described, num_items - described
  if short:
    notes.append(f"dropped {_count(short, 'user')} with fewer than {min_interactions} interactions")
  if unused:
    notes.append(
      f"{unused:,} of {_count(num_metadata, 'item')} have no interaction left and are not in "
      "the catalogue"
    )
  if unknown:
    notes.append(f"the metadata lacks {_count(unknown, 'item')} of the catalogue")
  notes.append(
    f"{ties:,} of {_count(interactions, 'interaction')} share their user's previous timestamp; "
    "equal timestamps keep file order"
  )
  return notes


def describe(name: str, metadata: dataset.Items, ids_N: np.ndarray) -> tuple[dataset.Items, int]:
  """The catalogue of these ids, and how many of them the metadata describes.

  Raises:
    ValueError: where an item is described twice, or ids are integers on one side and text on
      the other.
  """
  row_N = _metadata_rows(name, metadata, ids_N)
  return _described(ids_N, metadata, row_N), int((row_N < metadata.num_items).sum())


def _distinct(ids_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The distinct ids, ordered by number if all are numbers, and each id's row among them."""
  ids_N, row_T = np.unique(ids_T, return_inverse=True)
  if ids_N.dtype.kind != "U" or not np.strings.isdecimal(ids_N).all():
    return ids_N, row_T
  # Text of digits, of any length: compare how many there are, then the digits; '07' stays
  # before '7' because the sort is stable.
  digits_N = np.strings.lstrip(ids_N, "0")
  order_N = np.lexsort((digits_N, np.strings.str_len(digits_N)))
  return ids_N[order_N], np.argsort(order_N)[row_T]


def _metadata_rows(name: str, metadata: dataset.Items, item_ids_N: np.ndarray) -> np.ndarray:
  """Rows of the metadata that describe the items: int64 [N], M for those it lacks."""
  if metadata.num_items == 0:
    return np.zeros(len(item_ids_N), np.int64)
  if (metadata.ids_N.dtype.kind == "U") != (item_ids_N.dtype.kind == "U"):
    raise ValueError(
      f"data set {name!r}: item ids are {item_ids_N.dtype} in the interactions and "
      f"{metadata.ids_N.dtype} in the metadata; read both as integers or both as text"
    )
  order_M = np.argsort(metadata.ids_N, kind="stable")
  sorted_M = metadata.ids_N[order_M]
  repeats = sorted_M[1:][sorted_M[1:] == sorted_M[:-1]]
  if len(repeats):
    raise ValueError(f"data set {name!r}: the metadata describes item {repeats[0].item()!r} twice")
  place_N = np.minimum(np.searchsorted(sorted_M, item_ids_N), len(sorted_M) - 1)
  return np.where(sorted_M[place_N] == item_ids_N, order_M[place_N], metadata.num_items)


def _described(ids_N: np.ndarray, items: dataset.Items, row_N: np.ndarray) -> dataset.Items:
  """Items with these ids, described by the given rows of `items`; row M is a missing one."""
  lengths_N = np.append(np.diff(items.category_offsets_Np1), 0)[row_N]
  offsets_Np1 = _offsets(lengths_N)
  start_E = np.repeat(items.category_offsets_Np1[row_N] - offsets_Np1[:-1], lengths_N)
  pair_E = items.category_E[start_E + np.arange(offsets_Np1[-1])]
  used_C, category_E = np.unique(pair_E, return_inverse=True)
  return dataset.Items(
    ids_N=ids_N,
    titles_N=np.append(items.titles_N, "")[row_N],
    categories_C=items.categories_C[used_C],
    category_offsets_Np1=offsets_Np1,
    category_E=category_E.astype(np.int32),
    numeric={
      key: np.append(column, np.float32("nan"))[row_N] for key, column in items.numeric.items()
    },
    text_N=np.append(items.text_N, "")[row_N],
  )


def _offsets(lengths: np.ndarray) -> np.ndarray:
  return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _count(number: int, noun: str) -> str:
  return f"{number:,} {noun}{'' if number == 1 else 's'}"
