"""Training windows, and batches as a pure function of the step.

Here R counts the rows of batches that windows share, and X the events before a window.

`batch_at(step)` depends on the seed, the step and which share of the batch a
process takes; the global batch does not depend on the number of processes. So
the position in the data is the step, and there is nothing to checkpoint.
"""

import functools
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.columns import columns_read, filler_of, gather, gather_column
from sidrec.data.dataset import Histories
from sidrec.data.events import newest_first
from sidrec.data.inputs import ITEMS_ALONE, InputsConfig, known_inputs
from sidrec.data.packing import PackedRows, Windows, most_windows, pack
from sidrec.data.user_attributes import Users

BatchAt = Callable[[int], dict[str, np.ndarray]]  # step → this process's share of the batch


class Source(NamedTuple):
  """Where batches find histories: in memory, or in shards that stay on disk.

  User u owns the places offsets_Up1[u]:offsets_Up1[u + 1] of all users' interactions together;
  which windows there are, and in which batch, follows from these alone.
  """

  offsets_Up1: np.ndarray  # int64 [U + 1]
  # Two int64 [W], each window's first place and the one after its last, and names of columns →
  # these columns of the windows' events, one window after another: [T] each.
  columns_of: Callable[[np.ndarray, np.ndarray, Sequence[str]], list[np.ndarray]]
  ids_of: Callable[[np.ndarray], np.ndarray]  # user rows [R] → their original ids
  # bool [T], which interactions may be targets; the others are only read. None for all.
  target_T: np.ndarray | None = None
  actions: tuple[str, ...] = ()  # names that the column 'action' numbers
  users: Callable[[], Users | None] = lambda: None  # what is known of each user, where it is read


def in_memory(histories: Histories) -> Source:
  """The source of histories that are in memory."""

  columns = {"item": histories.item_T, "time": histories.time_T, "rating": histories.rating_T}
  if histories.action_T is not None:
    columns["action"] = histories.action_T

  def columns_of(start_W: np.ndarray, stop_W: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
    of_T, within_T = ragged_arange(stop_W - start_W)
    at_T = start_W[of_T] + within_T
    return [columns[name][at_T] for name in names]

  return Source(
    histories.offsets_Up1,
    columns_of,
    lambda user_R: histories.user_ids_U[user_R],
    histories.target_T,
    histories.actions or (),
    lambda: histories.users,
  )


def all_positions(offsets_Up1: np.ndarray, history_length: int) -> Windows:
  """Windows in which every item but the first is a target, each target in one window.

  Long histories are cut from the newest end, so only a user's oldest window is short.
  """
  length_U = np.diff(offsets_Up1)
  per_user_U = np.where(length_U >= 2, -(-(length_U - 1) // history_length), 0)
  user_W = np.repeat(np.arange(len(length_U)), per_user_U)
  first_W = np.cumsum(per_user_U) - per_user_U
  back_W = np.arange(len(user_W)) - np.repeat(first_W, per_user_U)
  stop_W = offsets_Up1[user_W + 1] - back_W * history_length
  return Windows(np.maximum(stop_W - history_length - 1, offsets_Up1[user_W]), stop_W)


def num_targets(windows: Windows, target_T: np.ndarray) -> np.ndarray:
  """How many targets each window has behind its first event: int64 [W]."""
  before_Tp1 = np.concatenate([[0], np.cumsum(target_T)])
  return before_Tp1[windows.stop_W] - before_Tp1[windows.start_W + 1]


def last_position(
  offsets_Up1: np.ndarray, history_length: int
) -> tuple[int, Callable[[np.ndarray], Windows]]:
  """One window per target, the target last: the sliding windows of TIGER.

  Returns:
    How many there are, and a function: numbers of windows [W] → these windows. All at once
    would take sixteen bytes an interaction.
  """
  targets_U = np.maximum(np.diff(offsets_Up1) - 1, 0)
  end_U = np.cumsum(targets_U)

  def windows_at(number_W: np.ndarray) -> Windows:
    user_W = np.searchsorted(end_U, number_W, side="right")
    begin_W = offsets_Up1[user_W]
    target_W = begin_W + 1 + number_W - (end_U[user_W] - targets_U[user_W])
    return Windows(np.maximum(target_W - history_length, begin_W), target_W + 1)

  return int(targets_U.sum()), windows_at


def targets_of(source: Source) -> np.ndarray | None:
  """The numbers of those windows of `last_position` whose target may be one; None for all."""
  if source.target_T is None:
    return None
  follows_T = np.ones(len(source.target_T), bool)
  begin_U = source.offsets_Up1[:-1]
  follows_T[begin_U[begin_U < source.offsets_Up1[1:]]] = False
  return np.flatnonzero(source.target_T[follows_T])


def last_items(histories: Histories, history_length: int) -> np.ndarray:
  """Each user's last S items, oldest first, filled up with NO_ITEM: int32 [U, S]."""
  stop_U = histories.offsets_Up1[1:]
  start_U = np.maximum(stop_U - history_length, histories.offsets_Up1[:-1])
  return gather(histories.item_T, start_U, stop_U, history_length)


def user_tokens(user_ids_R: np.ndarray, count: int) -> np.ndarray:
  """The token of each user, a hash of the original id: int32 [R] in [0, count).

  It is the same in every process and data set, so that users without training data,
  too, have one, though one that others may share.
  """
  names = (str(user).encode("utf-8") for user in user_ids_R.tolist())
  return np.array([zlib.crc32(name) % count for name in names], np.int32)


def with_user_tokens(token_B: np.ndarray, history_BxS: np.ndarray) -> np.ndarray:
  """Histories with their user's token before them: int32 [B, 1 + S]."""
  return np.concatenate([token_B[:, None], history_BxS], axis=1)


def shuffled(
  size: int, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> Callable[[int], np.ndarray]:
  """An endless shuffled pass over `size` examples.

  Returns:
    step → int64 indices [B / process_count], this process's rows of the global
    batch. Every example comes once before any comes twice.

  Raises:
    ValueError: if there is no example or the processes cannot share the batch evenly.
  """
  if size < 1:
    raise ValueError(
      "there is no training example; are all histories shorter than 4 items, or without a target?"
    )
  if batch_size % process_count:
    raise ValueError(f"a batch of {batch_size} cannot be shared by {process_count} processes")
  share = batch_size // process_count
  one_at_a_time = threading.Lock()

  @functools.lru_cache(maxsize=2)
  def order_of_pass(number: int) -> np.ndarray:
    # Half the memory of the order that `permutation(size)` gives, and the same one.
    numbers = np.arange(size, dtype=np.int32 if size < 1 << 31 else np.int64)
    np.random.default_rng([seed, number]).shuffle(numbers)
    return numbers

  def indices_at(step: int) -> np.ndarray:
    at = int(step) * batch_size + process_index * share + np.arange(share)
    passes, places = np.divmod(at, size)
    with one_at_a_time:  # else threads that meet at the start of a pass all shuffle it
      orders = {p: order_of_pass(p) for p in np.unique(passes).tolist()}
    parts = [order[places[passes == p]] for p, order in orders.items()]
    return np.concatenate(parts).astype(np.int64)

  return indices_at


def packed_batches(
  histories: Histories | Source,
  history_length: int,
  batch_size: int,
  seed: int,
  process_index: int = 0,
  process_count: int = 1,
  inputs: InputsConfig = ITEMS_ALONE,
  packed: tuple[Windows, PackedRows] | None = None,
) -> BatchAt:
  """Batches in which every history position is followed by its target.

  With `packed`, rows hold those windows in place of `all_positions`, each packed by best fit.

  Returns:
    step → int32 [B, S] each: 'history_BxS' and 'target_BxS', filled up with NO_ITEM,
    and 'segment_BxS', which numbers the windows that share a row. Where the inputs want them, the
    other columns of `Events` by their names, too; what follows an event is asked for at its time.
    Users' attributes are those of each window that a row has room for, in their order.
  """
  source = in_memory(histories) if isinstance(histories, Histories) else histories
  row_UxX = user_rows(source, inputs)
  if packed is None:
    windows = all_positions(source.offsets_Up1, history_length)
    if source.target_T is not None:
      has_W = num_targets(windows, source.target_T) > 0
      windows = Windows(windows.start_W[has_W], windows.stop_W[has_W])
    most = 0 if row_UxX is None else most_windows(windows, history_length)
    packed = windows, pack(windows, history_length, most)
  windows, rows = packed
  count_R = np.diff(rows.offsets_Rp1)
  most = int(count_R.max(initial=1))
  indices_at = shuffled(len(count_R), batch_size, seed, process_index, process_count)

  def batch_at(step: int) -> dict[str, np.ndarray]:
    row_B = indices_at(step)
    at_W, segment_W = ragged_arange(count_R[row_B])
    window_W = rows.window_W[rows.offsets_Rp1[row_B][at_W] + segment_W]
    start_W, stop_W = windows.start_W[window_W], windows.stop_W[window_W]
    size_W = stop_W - start_W - 1
    column_W = np.cumsum(size_W) - size_W
    first_W = np.searchsorted(at_W, at_W)  # each window's row's first window
    column_W = column_W - column_W[first_W]
    of_T, within_T = ragged_arange(size_W)
    place = (at_W[of_T], column_W[of_T] + within_T)
    columns = source.columns_of(start_W, stop_W, inputs.columns)
    items = columns[0]
    at_T = np.arange(len(of_T)) + of_T  # each window has one item more than positions
    shape = (len(row_B), history_length)
    history_BxS, target_BxS = np.full(shape, NO_ITEM, np.int32), np.full(shape, NO_ITEM, np.int32)
    segment_BxS = np.zeros(shape, np.int32)
    history_BxS[place] = items[at_T]
    target_BxS[place] = items[at_T + 1]
    if source.target_T is not None:
      is_target_T = source.target_T[start_W[of_T] + within_T + 1]
      target_BxS[place] = np.where(is_target_T, target_BxS[place], NO_ITEM)
    segment_BxS[place] = segment_W[of_T]
    # Fillers form a segment of their own, so that segments never decrease along a row.
    segment_BxS[history_BxS == NO_ITEM] = history_length
    batch = {"history_BxS": history_BxS, "target_BxS": target_BxS, "segment_BxS": segment_BxS}
    read = columns_read(inputs, columns, stop_W - start_W, at_T, source.actions)
    for name, value_T in read.items():
      batch[name] = np.full(shape, filler_of(name), value_T.dtype)
      batch[name][place] = value_T
    if inputs.earlier:
      batch["earlier_BxX"] = np.full((len(row_B), inputs.earlier), NO_ITEM, np.int32)
      row_W, earlier_WxX = _earlier(source, at_W, start_W, inputs.earlier)
      batch["earlier_BxX"][row_W] = earlier_WxX
    if row_UxX is not None:
      user_BxWxX = np.zeros((len(row_B), most, row_UxX.shape[1]), np.int32)
      user_BxWxX[at_W, segment_W] = row_UxX[_users_at(source, start_W)]
      batch["user_BxX"] = user_BxWxX.reshape(len(row_B), -1)
    return batch

  return batch_at


def user_rows(source: Source, inputs: InputsConfig) -> np.ndarray | None:
  """The rows of all users' attributes, int32 [U, X]; None where none are read."""
  return known_inputs(inputs).user_rows(source.users()) if inputs.user_attributes else None


def _users_at(source: Source, place_W: np.ndarray) -> np.ndarray:
  """The user rows that own these places, of users with any: int [W]."""
  return np.searchsorted(source.offsets_Up1, place_W, side="right") - 1


def _earlier(
  source: Source, at_W: np.ndarray, start_W: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """The rows of those windows before which something happened, and the items of that, [W, X].

  Such a window fills its row.
  """
  user_W = _users_at(source, start_W)
  has = source.offsets_Up1[user_W] < start_W
  at_W, stop_W = at_W[has], start_W[has]
  begin_W = np.maximum(stop_W - count, source.offsets_Up1[user_W[has]])
  (items,) = source.columns_of(begin_W, stop_W, ("item",))
  end_W = np.cumsum(stop_W - begin_W)
  return at_W, newest_first(gather(items, end_W - (stop_W - begin_W), end_W, count))


def sliding_batches(
  histories: Histories | Source,
  history_length: int,
  batch_size: int,
  seed: int,
  process_index: int = 0,
  process_count: int = 1,
  num_user_tokens: int = 0,
  inputs: InputsConfig = ITEMS_ALONE,
) -> BatchAt:
  """Batches with one target an example, each interaction but a user's first in turn.

  Returns:
    step → 'history_BxS' int32 [B, S], filled up with NO_ITEM, and 'target_Bx1'. With
    `num_user_tokens`, histories are [B, 1 + S]: column 0 holds their user's token. Other columns
    are as in `packed_batches`, [B, S].
  """
  source = in_memory(histories) if isinstance(histories, Histories) else histories
  row_UxX = user_rows(source, inputs)
  count, windows_at = last_position(source.offsets_Up1, history_length)
  number_W = targets_of(source)
  count = count if number_W is None else len(number_W)
  indices_at = shuffled(count, batch_size, seed, process_index, process_count)

  def batch_at(step: int) -> dict[str, np.ndarray]:
    index_B = indices_at(step)
    start_B, stop_B = windows_at(index_B if number_W is None else number_W[index_B])
    columns = source.columns_of(start_B, stop_B, inputs.columns)
    items, size_B = columns[0], stop_B - start_B
    end_B = np.cumsum(size_B)
    history_BxS = gather(items, end_B - size_B, end_B - 1, history_length)
    of_T, within_T = ragged_arange(size_B - 1)
    at_T = within_T + (end_B - size_B)[of_T]
    more = columns_read(inputs, columns, size_B, at_T, source.actions)
    if num_user_tokens:
      user_B = _users_at(source, start_B)
      token_B = user_tokens(source.ids_of(user_B), num_user_tokens)
      history_BxS = with_user_tokens(token_B, history_BxS)
    batch = {"history_BxS": history_BxS, "target_Bx1": items[end_B - 1][:, None]}
    if row_UxX is not None:
      batch["user_BxX"] = row_UxX[_users_at(source, start_B)]
    first_B = end_B - size_B - np.arange(len(size_B))  # of each window's positions
    for name, value_T in more.items():
      stop_B, filler = first_B + size_B - 1, filler_of(name)
      batch[name] = gather_column(value_T, first_B, stop_B, history_length, filler)
    return batch

  return batch_at


def ragged_arange(size_W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """For runs of the given sizes, one after another: each element's run and its place in it."""
  of_T = np.repeat(np.arange(len(size_W)), size_W)
  return of_T, np.arange(len(of_T)) - (np.cumsum(size_W) - size_W)[of_T]
