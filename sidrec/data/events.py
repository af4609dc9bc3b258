"""What a model may read of a history: its items, and when and how each of them was met.

Times reach a model as seconds before the newest time of their history, since only differences
count and 32 bits hold 68 years.

Here X counts the events before those that are read, and the attributes of users.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sidrec.core.item_rows import as_array
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import Dataset, Histories, has_times
from sidrec.data.inputs import InputsConfig, known_inputs
from sidrec.data.user_attributes import met_in

NUM_RATINGS = 16  # rows of the table: 0 for an unknown rating, then steps 0 to 14
_MOST_SECONDS = np.iinfo(np.int32).max


class Events(NamedTuple):
  """Histories as a model reads them, oldest first; inputs that it does not read are None.

  A user's token in front, where a model has one, is a column of `item_BxS` alone.
  """

  item_BxS: Any  # int32 item rows, NO_ITEM after the newest
  time_BxS: Any = None  # int32 seconds, at most 0 if made by `of`
  # int32: when what follows each event was asked for. That is the time of the next event, and
  # after the newest one the request's.
  asked_BxS: Any = None
  rating_BxS: Any = None  # float32, NaN where unknown
  action_BxS: Any = None  # int32, row of `InputsConfig.actions` + 1; 0 where unknown
  # int32 item rows met before these events, each once, newest first, NO_ITEM after the oldest.
  earlier_BxX: Any = None
  # int32 rows of the user's attributes, 0 where unknown; where several histories share a row, those
  # of each of them, one after another.
  user_BxX: Any = None

  @property
  def shape(self) -> tuple[int, ...]:
    """That of the items."""
    return self.item_BxS.shape

  @classmethod
  def in_batch(cls, batch: Mapping[str, Any]) -> "Events":
    """The histories of a training batch."""
    return cls(batch["history_BxS"], *(batch.get(name) for name in cls._fields[1:]))

  @classmethod
  def of(
    cls,
    items: Any,
    times: Any = None,
    ratings: Any = None,
    request_time: Any = None,
    actions: Any = None,
    inputs: InputsConfig | None = None,
    earlier: Any = None,
    attributes: Any = None,
  ) -> "Events":
    """Events from arrays, or from a list for each request.

    Args:
      items: item rows, oldest first; arrays are filled up with NO_ITEM.
      times: of the same shape, in seconds, such as since 1970; non-decreasing.
      ratings: of the same shape, NaN where unknown.
      request_time: when each request is made, one number or one for each; in seconds, not before
        the newest event.
      actions: of the same shape, names in lists, None where unknown; or rows as `action_row` has
        them.
      inputs: of the model, `run.model.config.inputs`, which has a row for each name.
      earlier: item rows of events before these, oldest first, in any number of columns.
      attributes: of the user of each request, a mapping or None; or their rows, int32 [B, X].

    Raises:
      TypeError: for items that are no integers.
      ValueError: for shapes that differ, times that decrease or span more than 68 years, a request
        before its newest event, or names without `inputs` or that it does not have.
    """
    item_BxS = np.asarray(as_array("histories", items))
    real_BxS = item_BxS != NO_ITEM
    time_BxS = asked_BxS = rating_BxS = None
    if times is None and request_time is not None:
      raise ValueError("request_time is given without times; give each event's time, too")
    if times is not None:
      time_BxS = _filled("times", times, real_BxS, np.int64)
      time_BxS, asked_BxS = _before(time_BxS, real_BxS, request_time)
    if ratings is not None:
      rating_BxS = _filled("ratings", ratings, real_BxS, np.float32)
    action_BxS = None if actions is None else _action_rows(actions, real_BxS, inputs)
    earlier_BxX = None if earlier is None else newest_first(as_array("earlier", earlier))
    user_BxX = None if attributes is None else _user_rows(attributes, len(item_BxS), inputs)
    columns = time_BxS, asked_BxS, rating_BxS, action_BxS, earlier_BxX, user_BxX
    return cls(item_BxS.astype(np.int32), *columns)


def newest_first(event_BxX: Any) -> np.ndarray:
  """The items of some events, the newest first, each once: int32 of the same shape.

  Args:
    event_BxX: integer item rows, oldest first, NO_ITEM anywhere.
  """
  item_BxX = np.asarray(event_BxX)[:, ::-1].astype(np.int64)
  row_BxX = np.broadcast_to(np.arange(len(item_BxX))[:, None], item_BxX.shape)
  many = item_BxX.max(initial=0) + 2  # a number for each item of each row, NO_ITEM included
  _, first_X = np.unique((row_BxX * many + item_BxX + 1).ravel(), return_index=True)
  is_first_BxX = np.zeros(item_BxX.size, bool)
  is_first_BxX[first_X] = True
  is_first_BxX = is_first_BxX.reshape(item_BxX.shape) & (item_BxX != NO_ITEM)
  order_BxX = np.argsort(~is_first_BxX, axis=1, kind="stable")
  kept_BxX = np.where(is_first_BxX, item_BxX, NO_ITEM)
  return np.take_along_axis(kept_BxX, order_BxX, axis=1).astype(np.int32)


def _action_rows(actions: Any, real_BxS: np.ndarray, inputs: InputsConfig | None) -> np.ndarray:
  """Rows of the model's table, of rows or of lists of names: int32 [B, S]."""
  if hasattr(actions, "dtype") and actions.dtype.kind not in "iu":
    raise TypeError(f"actions are an array of {actions.dtype}; give lists of names, or rows")
  if not hasattr(actions, "shape"):
    names = {name for one in actions for name in one if not isinstance(name, (int, np.integer))}
    if names and inputs is None:
      raise ValueError(
        "actions are given by name; give inputs=config.model.inputs, too, which numbers them"
      )
    rows = {name: inputs.action_row(name) for name in names} if inputs else {}
    actions = [[rows.get(name, name) for name in one] for one in actions]
  return _filled("actions", actions, real_BxS, np.int32)


def _user_rows(attributes: Any, batch: int, inputs: InputsConfig | None) -> np.ndarray:
  """Rows of the users' attributes, of rows or of mappings: int32 [B, X]."""
  if hasattr(attributes, "dtype"):
    if attributes.dtype.kind not in "iu":
      raise TypeError(f"attributes are an array of {attributes.dtype}; give mappings, or rows")
    rows = np.asarray(attributes).astype(np.int32)
  else:
    known, given = known_inputs(inputs), list(attributes)
    rows = np.array([known.given_user(one) for one in given], np.int32)
    rows = rows.reshape(len(given), len(known.known))
  if len(rows) != batch:
    raise ValueError(f"attributes of {len(rows)} users are given for {batch} histories")
  return rows


def _filled(what: str, values: Any, real_BxS: np.ndarray, dtype: type) -> np.ndarray:
  """A column as an array with zeros behind each history's newest event."""
  if isinstance(values, np.ndarray) or hasattr(values, "shape"):
    filled_BxS = np.asarray(values).astype(dtype)
  else:
    filled_BxS = np.zeros(real_BxS.shape, dtype)
    lists = [np.asarray(x, dtype) for x in values]
    if [x.shape for x in lists] != [(count,) for count in real_BxS.sum(axis=1).tolist()]:
      raise ValueError(f"{what} are lists of other lengths than those of items; give one an item")
    for row_S, x in zip(filled_BxS, lists, strict=True):
      row_S[: len(x)] = x
  if filled_BxS.shape != real_BxS.shape:
    raise ValueError(f"{what} have shape {filled_BxS.shape} and items {real_BxS.shape}")
  return np.where(real_BxS, filled_BxS, np.zeros((), dtype))


def _before(
  time_BxS: np.ndarray, real_BxS: np.ndarray, request_time: Any
) -> tuple[np.ndarray, np.ndarray | None]:
  """Times relative to each history's newest time or request, and when what follows is asked."""
  length_B = real_BxS.sum(axis=1)
  row_B = np.arange(len(length_B))
  newest_B = time_BxS[row_B, np.maximum(length_B - 1, 0)]
  origin_B = newest_B
  if request_time is not None:
    origin_B = np.broadcast_to(np.asarray(request_time), newest_B.shape).astype(np.int64)
    early_B = (origin_B < newest_B) & (length_B > 0)
    if early_B.any():
      b = int(early_B.argmax())
      raise ValueError(
        f"request {b} is made at {origin_B[b]}, before its newest event at {newest_B[b]}; give "
        "both in seconds, and a history that ends before the request"
      )
  check_order(time_BxS, real_BxS)
  time_BxS = np.where(real_BxS, time_BxS - origin_B[:, None], 0)
  time_BxS = _checked_seconds(time_BxS)
  if request_time is None:
    return time_BxS, None
  return time_BxS, asked_after(time_BxS, real_BxS)


def check_order(time_BxS: np.ndarray, real_BxS: np.ndarray) -> None:
  """Raises ValueError if times of a history's events decrease."""
  falls_BxS = real_BxS[:, 1:] & (np.diff(time_BxS, axis=1) < 0)
  if falls_BxS.any():
    raise ValueError(f"times of history {np.argwhere(falls_BxS)[0, 0]} decrease; oldest first")


def asked_after(time_BxS: np.ndarray, real_BxS: np.ndarray) -> np.ndarray:
  """When what follows each event is asked for, by times relative to the request: int32 [B, S]."""
  asked_BxS = np.zeros_like(time_BxS)
  asked_BxS[:, :-1] = np.where(real_BxS[:, 1:], time_BxS[:, 1:], 0)
  return asked_BxS


def seconds_before_end(time_T: np.ndarray, size_W: np.ndarray) -> np.ndarray:
  """Times of windows, one window after another, relative to each window's last: int32 [T].

  Raises:
    ValueError: if a window spans more than 68 years.
  """
  last_W = time_T[np.cumsum(size_W) - 1]
  return _checked_seconds(time_T - np.repeat(last_W, size_W))


def _checked_seconds(time: np.ndarray) -> np.ndarray:
  if len(time) and time.min(initial=0) < -_MOST_SECONDS:
    raise ValueError(
      f"the times of one history span {-int(time.min()):,} seconds, more than 68 years; are they "
      "seconds, and the request's time, too?"
    )
  return time.astype(np.int32)


def checked_ratings(rating: np.ndarray, inputs: InputsConfig) -> np.ndarray:
  """The ratings as float32, if the model's table has a row for each.

  Raises:
    ValueError: for a rating that is no multiple of `inputs.rating_step` from 0 to 14 steps.
  """
  rating = rating.astype(np.float32)
  step = rating / np.float32(inputs.rating_step)
  known = np.isfinite(rating)
  wrong = known & ((np.abs(step - np.round(step)) > 1e-3) | (step < -1e-3) | (step > 14 + 1e-3))
  if wrong.any():
    raise ValueError(
      f"a rating is {rating[wrong][0]:g}, and inputs.rating has a row for each multiple of "
      f"inputs.rating_step = {inputs.rating_step:g} from 0 to {14 * inputs.rating_step:g}; set the "
      "step, or leave ratings out"
    )
  return rating


def check_inputs(inputs: InputsConfig, dataset: Dataset, setting: str) -> None:
  """Raises ValueError if the data set lacks what the model of this setting is to read."""
  if inputs.times and not has_times(dataset):
    raise ValueError(
      f"{setting} reads times, and data set {dataset.name!r} has none: the order of its events "
      f"stands for them; set {setting}.gap and {setting}.time_bias to False"
    )
  if inputs.rating:
    rating_T = dataset.histories.rating_T
    if not np.isfinite(rating_T).any():
      raise ValueError(
        f"{setting} reads ratings, and data set {dataset.name!r} has none; set {setting}.rating "
        "to False"
      )
    checked_ratings(rating_T, inputs)
  check_actions(dataset.histories, inputs.actions, f"{setting}.actions")
  met_in(dataset.users, inputs.user_attributes)


def check_actions(histories: Histories, names: Sequence[str], setting: str) -> None:
  """Raises ValueError for the first name that is no action of the histories."""
  there = histories.actions or ()
  lacking = [name for name in names if name not in there]
  if lacking:
    have = "the log has no actions; name their column in data.table.columns.action"
    if there:
      have = f"the log has: {', '.join(there[:20])}"
    raise ValueError(f"{setting} names the action {lacking[0]!r}, and {have}")


def action_rows(actions: Sequence[str], inputs: InputsConfig) -> np.ndarray:
  """The model's row of each action of a log, and 0 as the last, for -1: int32 [actions + 1]."""
  rows = [inputs.action_row(name) if name in inputs.actions else 0 for name in actions]
  return np.array([*rows, 0], np.int32)
