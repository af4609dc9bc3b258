"""How a log has grown since a run was trained: which items, users and events are new.

Rows move when items and users come or go, since both are ordered by original id; so everything is
matched by original id.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from sidrec.data.dataset import (
  TEXT,
  Dataset,
  Histories,
  leave_last_out,
  training_lengths,
  training_view,
)
from sidrec.models.transfer import UNKNOWN

_KEY = ["user", "item", "time", "rating"]
_NAMED = 5  # ids that a message names


class Growth(NamedTuple):
  """What came, and where what was there is now."""

  old_row_N: np.ndarray  # int64, the row that each item had, or UNKNOWN
  new_T: np.ndarray  # bool, in the order of the histories: events that were not there
  untrained_T: np.ndarray  # bool: events that the run before was not trained on
  new_users: int
  gone_items: int  # which users who were forgotten were the last to have met

  @property
  def new_rows(self) -> np.ndarray:
    """The rows of new items, int64."""
    return np.flatnonzero(self.old_row_N == UNKNOWN)


def compare_logs(old: Dataset, new: Dataset, forgotten: Sequence[str] = ()) -> Growth:
  """What is new in a data set that must hold all of an older one, but for some users.

  Args:
    old: of the run before.
    new: the grown one.
    forgotten: original ids, as text, of users who may have gone.

  Raises:
    ValueError: if an event of other users is gone or changed, a forgotten user is still there, or
      ids have become text.
  """
  for what, before, after in [
    ("items'", old.items.ids_N, new.items.ids_N),
    ("users'", old.histories.user_ids_U, new.histories.user_ids_U),
  ]:
    _check_same_kind(what, before, after)
  _check_gone(new.histories.user_ids_U, forgotten)
  old_row_N = match_ids(new.items.ids_N, old.items.ids_N)
  old_user_U = match_ids(new.histories.user_ids_U, old.histories.user_ids_U)
  both = [data.histories.action_T is not None for data in (old, new)]
  kinds = ["action"] if all(both) else []
  key = [*_KEY, *kinds]
  before = _events(
    kinds,
    old.histories,
    match_ids(old.histories.user_ids_U, new.histories.user_ids_U),
    match_ids(old.items.ids_N, new.items.ids_N),
  )
  after = _events(
    kinds, new.histories, np.arange(new.histories.num_users), np.arange(len(old_row_N))
  )
  _check_all_there(old, before, after, set(forgotten), key)
  kept = before.filter(pl.col("user") >= 0)
  known = kept.group_by(key).agg(pl.col("trained").any())
  seen = after.select(key).join(known, on=key, how="left", maintain_order="left")
  trained_T = seen["trained"].fill_null(value=False).to_numpy()
  return Growth(
    old_row_N,
    seen["trained"].is_null().to_numpy(),
    ~trained_T,
    int((old_user_U == UNKNOWN).sum()),
    int(old.items.num_items - (old_row_N != UNKNOWN).sum()),
  )


def match_ids(ids: np.ndarray, among: np.ndarray) -> np.ndarray:
  """The row of each id among others, int64, or UNKNOWN."""
  row_of = {other: row for row, other in enumerate(among.tolist())}
  return np.array([row_of.get(one, UNKNOWN) for one in ids.tolist()], np.int64)


def named(ids: np.ndarray) -> str:
  """The first of some ids, and how many more there are."""
  first = ", ".join(map(str, ids[:_NAMED].tolist()))
  return first + (f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else "")


def _events(
  kinds: Sequence[str], histories: Histories, user_U: np.ndarray, item_N: np.ndarray
) -> pl.DataFrame:
  """Histories as a frame: users and items by the rows given, ratings by their bits."""
  length_U = histories.lengths_U
  user_T = np.repeat(np.arange(len(length_U)), length_U)
  trained_U = histories.offsets_Up1[:-1] + training_lengths(histories)
  trained_T = np.arange(len(user_T)) < np.repeat(trained_U, length_U)
  rating_T = np.where(np.isnan(histories.rating_T), np.float32(np.nan), histories.rating_T)
  names = np.array([*(histories.actions or ()), ""], TEXT)
  return pl.DataFrame(
    {
      "user": user_U[user_T],
      "item": item_N[histories.item_T],
      "time": histories.time_T,
      "rating": rating_T.astype(np.float32).view(np.int32),
      **{kind: pl.Series(names[histories.action_T].tolist(), dtype=pl.String) for kind in kinds},
      "trained": trained_T,
      "old_user": user_T,
    }
  )


def _check_same_kind(what: str, before: np.ndarray, after: np.ndarray) -> None:
  kinds = ["text" if ids.dtype == TEXT else "numbers" for ids in (before, after)]
  if kinds[0] != kinds[1]:
    raise ValueError(
      f"{what} ids were {kinds[0]} and are {kinds[1]} now, so nobody can say which is which; write "
      "them as before"
    )


def _check_gone(user_ids_U: np.ndarray, forgotten: Sequence[str]) -> None:
  wanted = set(forgotten)
  still = sum(str(user) in wanted for user in user_ids_U.tolist())
  if still:
    raise ValueError(
      f"the log still holds {still} of the users to forget, so any later reading would bring them "
      "back; take them out of the log first"
    )


def _check_all_there(
  old: Dataset,
  before: pl.DataFrame,
  after: pl.DataFrame,
  forgotten: set[str],
  key: Sequence[str],
) -> None:
  """Raises ValueError unless all events are there, but for those of the forgotten users."""
  is_forgotten_U = np.array(
    [str(user) in forgotten for user in old.histories.user_ids_U.tolist()], bool
  )
  wanted = before.filter(~is_forgotten_U[before["old_user"].to_numpy()])
  counted = wanted.group_by(key).agg(pl.len().alias("was"), pl.col("old_user").first())
  counted = counted.join(after.group_by(key).agg(pl.len().alias("is")), on=key, how="left")
  missing = counted.filter(pl.col("was") > pl.col("is").fill_null(0))
  if len(missing):
    count = int((missing["was"] - missing["is"].fill_null(0)).sum())
    users = missing["old_user"].unique().sort().to_numpy()
    raise ValueError(
      f"{count:,} events that the run knows are no longer in the log, or changed: those of "
      f"{len(users):,} users ({named(old.histories.user_ids_U[users])}); an update takes in a log "
      "that has grown. Give all of it; name users who asked to be forgotten with --forget_users; "
      "or make the run anew with --mode=all"
    )


def is_newest(new: Dataset, growth: Growth) -> np.ndarray:
  """Whether each user's last event, or target, is new: bool [U]; False for who has none."""
  split, newest_U = leave_last_out(new.histories), np.zeros(new.histories.num_users, bool)
  newest_U[split.user_R] = growth.new_T[split.test_R]
  return newest_U


def may_choose(new: Dataset, growth: Growth) -> np.ndarray:
  """Whether each user's last target is new, and the one before was never trained on: bool [U].

  Where some events alone are targets, who had one of them was not evaluated, and it trained.
  """
  split, chosen_U = leave_last_out(new.histories), np.zeros(new.histories.num_users, bool)
  chosen_U[split.user_R] = growth.new_T[split.test_R] & growth.untrained_T[split.valid_R]
  return chosen_U


def untrained_from(new: Dataset, growth: Growth, recent_share: float) -> np.ndarray:
  """Where each user's recent part begins in the training view: int64 [U], its length if nowhere.

  Recent is what was never trained on, and the newest share of all events.
  """
  view = training_view(new.histories)
  length_U = view.lengths_U
  user_T = np.repeat(np.arange(len(length_U)), length_U)
  within_T = np.arange(len(user_T)) - np.repeat(view.offsets_Up1[:-1], length_U)
  recent_T = growth.untrained_T[new.histories.offsets_Up1[:-1][user_T] + within_T]
  if recent_share > 0 and len(view.time_T):
    recent_T = recent_T | (view.time_T >= np.quantile(view.time_T, 1 - recent_share))
  first_U = length_U.copy()
  np.minimum.at(first_U, user_T[recent_T], within_T[recent_T])
  return first_U
