"""The data contract: a `Dataset` of packed user histories and an item table.

Here C counts distinct categories, and E pairs of item and category.

Rules every reader follows:
  * A user's interactions are ordered by time; equal times keep file order.
  * The catalogue holds the items with at least one interaction, ordered by
    original id (numerically if all ids are numbers). Order by first appearance
    would leak popularity through ties.
  * A missing value is explicit: '' for text, NaN for a number, no category.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

TEXT = np.dtypes.StringDType()  # of all text: strings of any length, without padding


class Histories(NamedTuple):
  """Packed interactions: user u owns the slice offsets_Up1[u]:offsets_Up1[u + 1]."""

  offsets_Up1: np.ndarray  # int64 [U + 1]
  item_T: np.ndarray  # int32 [T], rows of Items
  time_T: np.ndarray  # int64 [T], seconds; non-decreasing within a user
  rating_T: np.ndarray  # float32 [T], NaN where the log has none
  user_ids_U: np.ndarray  # [U], original ids, int64 or TEXT
  # int64 [U], seconds: when what follows each history is asked for; None where nobody says. It is
  # of a task, such as that of a split, and no part of a data set.
  request_time_U: np.ndarray | None = None

  @property
  def num_users(self) -> int:
    """U."""
    return len(self.user_ids_U)

  @property
  def lengths_U(self) -> np.ndarray:
    """Interactions of each user: int64 [U]."""
    return np.diff(self.offsets_Up1)

  def of(self, user: int) -> np.ndarray:
    """The item rows of user row `user`, oldest first: int32 [length]."""
    return self.item_T[self.offsets_Up1[user] : self.offsets_Up1[user + 1]]


class Items(NamedTuple):
  """The catalogue: one row per item."""

  ids_N: np.ndarray  # [N], original ids, int64 or TEXT
  titles_N: np.ndarray  # TEXT [N], '' where unknown
  categories_C: np.ndarray  # TEXT [C], distinct category names
  category_offsets_Np1: np.ndarray  # int64 [N + 1], into category_E
  # int32 [E], rows of categories_C, in the source's order; the name '' is a level that is missing
  category_E: np.ndarray
  numeric: Mapping[str, np.ndarray]  # name → float32 [N], NaN where unknown; 'year' is one
  text_N: np.ndarray  # TEXT [N], free text, '' where unknown

  @property
  def num_items(self) -> int:
    """N."""
    return len(self.ids_N)

  def categories_of(self, item: int) -> list[str]:
    """Category names of item row `item`."""
    span = slice(self.category_offsets_Np1[item], self.category_offsets_Np1[item + 1])
    return self.categories_C[self.category_E[span]].tolist()


class Dataset(NamedTuple):
  """What every reader returns and every later stage starts from."""

  name: str
  histories: Histories
  items: Items
  notes: tuple[str, ...]  # what the reader dropped or assumed, one sentence each
  # Attribute → [U], in the order of the histories: TEXT, '' where unknown, or float32, NaN where
  # unknown. Empty where the source says nothing about users.
  users: Mapping[str, np.ndarray] = MappingProxyType({})


# What notes say of a data set without times; see `has_times`.
NO_TIMES = "the source has no times"
ORDER_FOR_TIME = "the order of the file stands for time"


def has_times(dataset: Dataset) -> bool:
  """Whether times are the source's own, by what its notes say."""
  return not any(NO_TIMES in note or ORDER_FOR_TIME in note for note in dataset.notes)


class HeldOut(NamedTuple):
  """One prediction task per user: from the history, find the target; asked at the target's time."""

  histories: Histories
  target_U: np.ndarray  # int32 [U], rows of Items


def without_last(histories: Histories, count: int) -> Histories:
  """Histories without each user's last `count` interactions (users may become empty)."""
  keep_U = np.maximum(histories.lengths_U - count, 0)
  offsets_Up1 = np.concatenate([[0], np.cumsum(keep_U)]).astype(np.int64)
  start_T = np.repeat(histories.offsets_Up1[:-1] - offsets_Up1[:-1], keep_U)
  kept_T = start_T + np.arange(offsets_Up1[-1])
  return histories._replace(
    offsets_Up1=offsets_Up1,
    item_T=histories.item_T[kept_T],
    time_T=histories.time_T[kept_T],
    rating_T=histories.rating_T[kept_T],
    request_time_U=None,
  )


def training_view(histories: Histories) -> Histories:
  """Everything that may be learnt from: all but each user's last two interactions."""
  return without_last(histories, 2)


def held_out_view(histories: Histories, split: str) -> HeldOut:
  """The leave-last-out task of a split.

  Args:
    histories: users with at least 3 interactions each.
    split: 'valid' (target: last but one) or 'test' (target: last).

  Returns:
    Each user's history before the target, asked for at the target's time, and the target.

  Raises:
    ValueError: for another split, or a user with fewer than 3 interactions.
  """
  back = {"valid": 2, "test": 1}.get(split)
  if back is None:
    raise ValueError(f"split must be 'valid' or 'test', not {split!r}")
  if len(histories.lengths_U) and histories.lengths_U.min() < 3:
    user = histories.user_ids_U.item(int(histories.lengths_U.argmin()))
    raise ValueError(f"user {user!r} has fewer than 3 interactions; leave-last-out needs 3")
  at_U = histories.offsets_Up1[1:] - back
  before = without_last(histories, back)._replace(request_time_U=histories.time_T[at_U])
  return HeldOut(before, histories.item_T[at_U])


def validate(dataset: Dataset) -> Dataset:
  """Returns the dataset if it keeps the contract; raises ValueError naming what does not."""
  histories, items = dataset.histories, dataset.items
  num_items, total = items.num_items, len(histories.item_T)

  def require(holds: bool, what: str) -> None:
    if not holds:
      raise ValueError(f"data set {dataset.name!r}: {what}")

  require(num_items > 0, "no items")
  require(histories.num_users > 0, "no users are left; were all histories too short?")
  require(_distinct(items.ids_N) == num_items, "item ids repeat")
  require(_distinct(histories.user_ids_U) == histories.num_users, "user ids repeat")
  require(
    len(histories.offsets_Up1) == histories.num_users + 1
    and histories.offsets_Up1[0] == 0
    and histories.offsets_Up1[-1] == total
    and bool((histories.lengths_U >= 0).all()),
    "history offsets do not cover the interactions",
  )
  require(
    len(histories.time_T) == total and len(histories.rating_T) == total,
    "interaction columns differ in length",
  )
  require(
    total == 0 or (histories.item_T.min() >= 0 and histories.item_T.max() < num_items),
    "an interaction names an item outside the catalogue",
  )
  same_user_Tm1 = np.ones(max(total - 1, 0), bool)
  starts = histories.offsets_Up1[1:-1]
  same_user_Tm1[starts[(starts > 0) & (starts < total)] - 1] = False
  require(
    bool((np.diff(histories.time_T)[same_user_Tm1] >= 0).all()), "a history is not ordered by time"
  )
  for name, column in [("titles", items.titles_N), ("text", items.text_N), *items.numeric.items()]:
    require(len(column) == num_items, f"item column {name!r} has {len(column)} of {num_items} rows")
  for name, column in dataset.users.items():
    require(
      len(column) == histories.num_users,
      f"user column {name!r} has {len(column)} of {histories.num_users} rows",
    )
  pairs = len(items.category_E)
  require(
    pairs == 0
    or (items.category_E.min() >= 0 and items.category_E.max() < len(items.categories_C)),
    "an item names a category that is not listed",
  )
  require(
    len(items.category_offsets_Np1) == num_items + 1 and items.category_offsets_Np1[-1] == pairs,
    "category offsets do not cover the item-category pairs",
  )
  return dataset


def _distinct(ids: np.ndarray) -> int:
  """How many different ids there are; NumPy 2.4 crashes where it sorts text."""
  return len({*ids.tolist()}) if ids.dtype == TEXT else len(np.unique(ids))
