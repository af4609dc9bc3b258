"""Columns of histories → the arrays that a model reads.

Here X counts the events before those that are read.
"""

from collections.abc import Sequence

import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import Histories
from sidrec.data.events import (
  Events,
  action_rows,
  checked_ratings,
  newest_first,
  seconds_before_end,
)
from sidrec.data.inputs import InputsConfig, known_inputs


def gather(item_T: np.ndarray, start_W: np.ndarray, stop_W: np.ndarray, width: int) -> np.ndarray:
  """Items of slices, oldest first, filled up with NO_ITEM: int32 [W, width]."""
  return gather_column(item_T, start_W, stop_W, width, NO_ITEM).astype(np.int32)


def gather_column(
  value_T: np.ndarray, start_W: np.ndarray, stop_W: np.ndarray, width: int, fill: float
) -> np.ndarray:
  """What `gather` returns, of any column and with any filler."""
  if not len(value_T):
    return np.full((len(start_W), width), fill, value_T.dtype)
  at = start_W[:, None] + np.arange(width)
  inside = at < stop_W[:, None]
  return np.where(inside, value_T[np.minimum(at, len(value_T) - 1)], value_T.dtype.type(fill))


def filler_of(name: str) -> float:
  """What stands in a column of `Events` where a row has no event."""
  return {"item_BxS": NO_ITEM, "rating_BxS": np.nan}.get(name, 0)


def last_events(
  histories: Histories, history_length: int, users_R: np.ndarray, inputs: InputsConfig
) -> Events:
  """The last S events of some users, with what a model of these inputs reads of them.

  What came before them is of `earlier_items`, and what is known of the users of `users_of`.

  Args:
    histories: of all users.
    history_length: S.
    users_R: int, user rows.
    inputs: what the model reads.

  Raises:
    ValueError: if the request's time is read and the histories do not say it, if a request is made
      before its history ends, or for times and ratings as `Events.of` and `checked_ratings` do.
  """
  stop_R = histories.offsets_Up1[1:][users_R]
  start_R = np.maximum(stop_R - history_length, histories.offsets_Up1[:-1][users_R])

  def column(value_T: np.ndarray, fill: float) -> np.ndarray:
    return gather_column(value_T, start_R, stop_R, history_length, fill)

  item_RxS = gather(histories.item_T, start_R, stop_R, history_length)
  times = ratings = request_R = None
  if inputs.times:
    times = column(histories.time_T, 0)
  if inputs.asks:
    if histories.request_time_U is None:
      raise ValueError(
        "the model reads the request's time (inputs.request_time is 'known') and the histories do "
        "not say it; give histories._replace(request_time_U=…), in seconds, one for each user"
      )
    request_R = np.asarray(histories.request_time_U)[users_R]
  if inputs.rating:
    ratings = checked_ratings(column(histories.rating_T, np.nan), inputs)
  actions = None
  if inputs.actions:
    actions = action_rows(histories.actions or (), inputs)[column(actions_of(histories), -1)]
  return Events.of(item_RxS, times, ratings, request_R, actions)


def actions_of(histories: Histories) -> np.ndarray:
  """The action of each event: int16 [T]; raises ValueError if the histories have none."""
  if histories.action_T is None:
    raise ValueError(
      "the model reads actions (inputs.actions) and the histories have none; give "
      "histories._replace(action_T=…, actions=…), -1 where an event's is unknown"
    )
  return histories.action_T


def users_of(histories: Histories, users_R: np.ndarray, inputs: InputsConfig) -> np.ndarray:
  """The rows of some users' attributes, as in `Events`: int32 [R, X].

  Raises:
    ValueError: if the histories do not say what is known of their users.
  """
  return known_inputs(inputs).user_rows(histories.users_at(users_R))


def earlier_items(
  histories: Histories, history_length: int, users_R: np.ndarray, count: int
) -> np.ndarray:
  """The items of the X events before the last S of some users, as in `Events`: int32 [R, X]."""
  stop_R = histories.offsets_Up1[1:][users_R] - history_length
  begin_R = histories.offsets_Up1[:-1][users_R]
  return newest_first(gather(histories.item_T, np.maximum(stop_R - count, begin_R), stop_R, count))


def columns_read(
  inputs: InputsConfig,
  columns: Sequence[np.ndarray],
  size_W: np.ndarray,
  at_T: np.ndarray,
  actions: Sequence[str] = (),
) -> dict[str, np.ndarray]:
  """What is read of the events at these places beside their items, by the names of `Events`.

  Args:
    inputs: what is read.
    columns: `inputs.columns` of windows, one window after another.
    size_W: events of each window.
    at_T: the events that are positions: all of a window but its last.
    actions: names of those that the log has.
  """
  of_windows, more = dict(zip(inputs.columns, columns, strict=True)), {}
  if inputs.times:
    second_T = seconds_before_end(of_windows["time"], size_W)
    more["time_BxS"] = second_T[at_T]
    if inputs.asks:
      more["asked_BxS"] = second_T[at_T + 1]
  if inputs.rating:
    more["rating_BxS"] = checked_ratings(of_windows["rating"], inputs)[at_T]
  if inputs.actions:
    more["action_BxS"] = action_rows(actions, inputs)[of_windows["action"][at_T]]
  return more
