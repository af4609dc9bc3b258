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
  # int16 [T], rows of `actions`, -1 where unknown; None where the log has no actions.
  action_T: np.ndarray | None = None
  actions: tuple[str, ...] | None = None  # their names, sorted
  target_T: np.ndarray | None = None  # bool [T], which events may be predicted; None for all
  # What is known of each user, as `Dataset.users`; None where no model is to read it. A data set
  # has it there alone; see `describing_users`.
  users: Mapping[str, np.ndarray] | None = None

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

  def users_at(self, user_R: np.ndarray) -> Mapping[str, np.ndarray] | None:
    """What is known of some users, in this order."""
    return None if self.users is None else {n: column[user_R] for n, column in self.users.items()}

  def taken(self, offsets_Up1: np.ndarray, at_T: np.ndarray | slice) -> "Histories":
    """Some events, by their places and in this order, as the histories that these offsets say."""

    def column(value_T: np.ndarray | None) -> np.ndarray | None:
      return None if value_T is None else value_T[at_T]

    return self._replace(
      offsets_Up1=offsets_Up1,
      item_T=self.item_T[at_T],
      time_T=self.time_T[at_T],
      rating_T=self.rating_T[at_T],
      action_T=column(self.action_T),
      target_T=column(self.target_T),
    )


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


def describing_users(dataset: Dataset) -> Dataset:
  """The data set with histories that carry what is known of their users, for models to read."""
  if not dataset.users:
    return dataset
  return dataset._replace(histories=dataset.histories._replace(users=dataset.users))


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


def first_events(histories: Histories, user_R: np.ndarray, count_R: np.ndarray) -> Histories:
  """The histories of some users, of each its first so many events; asked at no time."""
  offsets_Rp1 = np.concatenate([[0], np.cumsum(count_R)]).astype(np.int64)
  start_T = np.repeat(histories.offsets_Up1[:-1][user_R] - offsets_Rp1[:-1], count_R)
  first = histories.taken(offsets_Rp1, start_T + np.arange(offsets_Rp1[-1]))
  return first._replace(
    user_ids_U=histories.user_ids_U[user_R], request_time_U=None, users=histories.users_at(user_R)
  )


class Split(NamedTuple):
  """Leave-last-out: who is evaluated, and on which of their events."""

  user_R: np.ndarray  # int64 [R], user rows, ascending
  valid_R: np.ndarray  # int64 [R], places of these users' targets among the T interactions
  test_R: np.ndarray  # int64 [R]


def leave_last_out(histories: Histories) -> Split:
  """Each user's last two events; where `target_T` says what may be one, the last two targets.

  Then users with fewer than two targets, or with nothing before the earlier one, are not
  evaluated: all of their events train.
  """
  if histories.target_T is None:
    end_U = histories.offsets_Up1[1:]
    return Split(np.arange(histories.num_users), end_U - 2, end_U - 1)
  at_X = np.flatnonzero(histories.target_T)
  first_U, stop_U = np.searchsorted(at_X, [histories.offsets_Up1[:-1], histories.offsets_Up1[1:]])
  user_R = np.flatnonzero(stop_U - first_U >= 2)
  valid_R, test_R = at_X[stop_U[user_R] - 2], at_X[stop_U[user_R] - 1]
  follows_R = valid_R > histories.offsets_Up1[:-1][user_R]
  return Split(user_R[follows_R], valid_R[follows_R], test_R[follows_R])


def training_lengths(histories: Histories) -> np.ndarray:
  """How many of each user's events may be learnt from, those before both targets: int64 [U]."""
  if histories.target_T is None:
    return np.maximum(histories.lengths_U - 2, 0)
  split, length_U = leave_last_out(histories), histories.lengths_U
  length_U[split.user_R] = split.valid_R - histories.offsets_Up1[:-1][split.user_R]
  return length_U


def training_view(histories: Histories) -> Histories:
  """Everything that may be learnt from: what users met before both targets, or all without any."""
  return first_events(histories, np.arange(histories.num_users), training_lengths(histories))


def held_out_view(histories: Histories, split: str) -> HeldOut:
  """The leave-last-out task of a split.

  Args:
    histories: users with at least 3 interactions each.
    split: 'valid' (target: last but one) or 'test' (target: last); see `leave_last_out`.

  Returns:
    Each user's history before the target, asked for at the target's time, and the target. Where
    `target_T` says what may be a target, of users who have enough of them alone.

  Raises:
    ValueError: for another split, a user with fewer than 3 interactions, or if nobody has enough
      targets.
  """
  if split not in ("valid", "test"):
    raise ValueError(f"split must be 'valid' or 'test', not {split!r}")
  if len(histories.lengths_U) and histories.lengths_U.min() < 3:
    user = histories.user_ids_U.item(int(histories.lengths_U.argmin()))
    raise ValueError(f"user {user!r} has fewer than 3 interactions; leave-last-out needs 3")
  found = leave_last_out(histories)
  if histories.target_T is not None and not len(found.user_R):
    raise ValueError("no user has two targets with an event before them; see config.train.targets")
  at_R = found.valid_R if split == "valid" else found.test_R
  count_R = at_R - histories.offsets_Up1[:-1][found.user_R]
  before = first_events(histories, found.user_R, count_R)
  return HeldOut(before._replace(request_time_U=histories.time_T[at_R]), histories.item_T[at_R])


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
  for column in (histories.action_T, histories.target_T):
    require(column is None or len(column) == total, "interaction columns differ in length")
  num_actions = len(histories.actions or ())
  require((histories.action_T is None) == (histories.actions is None), "actions lack their names")
  if histories.action_T is not None and total:
    require(
      histories.action_T.min() >= -1 and histories.action_T.max() < num_actions,
      "an interaction has an action that is not named",
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
