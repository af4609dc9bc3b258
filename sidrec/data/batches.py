"""Training windows, and batches as a pure function of the step.

Letters: W windows, B global batch, S history length.

`batch_at(step)` depends on the seed, the step and which share of the batch a
process takes; the global batch does not depend on the number of processes. So
the position in the data is the step, and there is nothing to checkpoint.
"""

import bisect
import functools
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sidrec.data.dataset import Histories

NO_ITEM = -1  # fills histories up to S

BatchAt = Callable[[int], dict[str, np.ndarray]]  # step → this process's share of the batch


class Windows(NamedTuple):
  """Slices of the packed interactions, each at most S + 1 items of one user."""

  start_W: np.ndarray  # int64 [W]
  stop_W: np.ndarray  # int64 [W]


def all_positions(histories: Histories, history_length: int) -> Windows:
  """Windows in which every item but the first is a target, each target in one window.

  Long histories are cut from the newest end, so only a user's oldest window is short.
  """
  length_U = histories.lengths_U
  per_user_U = np.where(length_U >= 2, -(-(length_U - 1) // history_length), 0)
  user_W = np.repeat(np.arange(histories.num_users), per_user_U)
  first_W = np.cumsum(per_user_U) - per_user_U
  back_W = np.arange(len(user_W)) - np.repeat(first_W, per_user_U)
  stop_W = histories.offsets_U1[user_W + 1] - back_W * history_length
  return Windows(np.maximum(stop_W - history_length - 1, histories.offsets_U1[user_W]), stop_W)


def last_position(histories: Histories, history_length: int) -> Windows:
  """One window per target, the target last: the sliding windows of TIGER."""
  begin_T = np.repeat(histories.offsets_U1[:-1], histories.lengths_U)
  target_W = np.flatnonzero(np.arange(len(begin_T)) > begin_T)
  return Windows(np.maximum(target_W - history_length, begin_T[target_W]), target_W + 1)


def gather(item_T: np.ndarray, start_W: np.ndarray, stop_W: np.ndarray, width: int) -> np.ndarray:
  """Items of slices, oldest first, filled up with NO_ITEM: int32 [W, width]."""
  if not len(item_T):
    return np.full((len(start_W), width), NO_ITEM, np.int32)
  at = start_W[:, None] + np.arange(width)
  inside = at < stop_W[:, None]
  return np.where(inside, item_T[np.minimum(at, len(item_T) - 1)], NO_ITEM).astype(np.int32)


def last_items(histories: Histories, history_length: int) -> np.ndarray:
  """Each user's last S items, oldest first, filled up with NO_ITEM: int32 [U, S]."""
  stop_U = histories.offsets_U1[1:]
  start_U = np.maximum(stop_U - history_length, histories.offsets_U1[:-1])
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
    raise ValueError("there is no training example; are all histories shorter than 4 items?")
  if batch_size % process_count:
    raise ValueError(f"a batch of {batch_size} cannot be shared by {process_count} processes")
  share = batch_size // process_count

  @functools.lru_cache(maxsize=2)
  def order_of_pass(number: int) -> np.ndarray:
    return np.random.default_rng([seed, number]).permutation(size)

  def indices_at(step: int) -> np.ndarray:
    at = step * batch_size + process_index * share + np.arange(share)
    passes, places = np.divmod(at, size)
    return np.concatenate([order_of_pass(p)[places[passes == p]] for p in np.unique(passes)])

  return indices_at


def pack(windows: Windows, history_length: int) -> list[np.ndarray]:
  """Groups windows into rows of at most S history positions, best fit, longest first.

  A window of n items fills n - 1 positions. Rows are then almost full, where one
  window a row would leave nearly half of MovieLens-1M's positions empty.

  Returns:
    For each row, the windows in it.
  """
  size_W = windows.stop_W - windows.start_W - 1
  rows: list[list[int]] = []
  open_rows: list[list[int]] = [[] for _ in range(history_length + 1)]  # by free positions
  frees: list[int] = []  # sorted sizes for which there are open rows
  for window in np.argsort(-size_W, kind="stable"):
    size = int(size_W[window])
    at = bisect.bisect_left(frees, size)
    if at < len(frees):
      free = frees[at]
      row = open_rows[free].pop()
      if not open_rows[free]:
        del frees[at]
    else:
      free, row = history_length, len(rows)
      rows.append([])
    rows[row].append(int(window))
    if free > size:
      if not open_rows[free - size]:
        bisect.insort(frees, free - size)
      open_rows[free - size].append(row)
  return [np.array(row) for row in rows]


def packed_batches(
  histories: Histories,
  history_length: int,
  batch_size: int,
  seed: int,
  process_index: int = 0,
  process_count: int = 1,
) -> BatchAt:
  """Batches in which every history position is followed by its target.

  Returns:
    step → int32 [B, S] each: 'history_BxS' and 'target_BxS', filled up with NO_ITEM,
    and 'segment_BxS', which numbers the windows that share a row.
  """
  windows = all_positions(histories, history_length)
  rows = pack(windows, history_length)
  count_R = np.array([len(row) for row in rows])
  window_P = np.concatenate(rows) if rows else np.zeros(0, np.int64)
  offset_R = np.cumsum(count_R) - count_R
  indices_at = shuffled(len(rows), batch_size, seed, process_index, process_count)

  def batch_at(step: int) -> dict[str, np.ndarray]:
    row_B = indices_at(step)
    at_W, segment_W = ragged_arange(count_R[row_B])
    window_W = window_P[offset_R[row_B][at_W] + segment_W]
    size_W = windows.stop_W[window_W] - windows.start_W[window_W] - 1
    column_W = np.cumsum(size_W) - size_W
    first_W = np.searchsorted(at_W, at_W)  # each window's row's first window
    column_W = column_W - column_W[first_W]
    of_T, within_T = ragged_arange(size_W)
    place = (at_W[of_T], column_W[of_T] + within_T)
    source_T = windows.start_W[window_W][of_T] + within_T
    empty = lambda value: np.full((len(row_B), history_length), value, np.int32)
    history_BxS, target_BxS, segment_BxS = empty(NO_ITEM), empty(NO_ITEM), empty(0)
    history_BxS[place] = histories.item_T[source_T]
    target_BxS[place] = histories.item_T[source_T + 1]
    segment_BxS[place] = segment_W[of_T]
    # Fillers form a segment of their own, so that segments never decrease along a row.
    segment_BxS[history_BxS == NO_ITEM] = history_length
    return {"history_BxS": history_BxS, "target_BxS": target_BxS, "segment_BxS": segment_BxS}

  return batch_at


def sliding_batches(
  histories: Histories,
  history_length: int,
  batch_size: int,
  seed: int,
  process_index: int = 0,
  process_count: int = 1,
  num_user_tokens: int = 0,
) -> BatchAt:
  """Batches with one target an example, each interaction but a user's first in turn.

  Returns:
    step → 'history_BxS' int32 [B, S], filled up with NO_ITEM, and 'target_Bx1'. With
    `num_user_tokens`, histories are [B, 1 + S]: column 0 holds their user's token.
  """
  windows = last_position(histories, history_length)
  token_U = user_tokens(histories.user_ids_U, num_user_tokens) if num_user_tokens else None
  indices_at = shuffled(len(windows.start_W), batch_size, seed, process_index, process_count)

  def batch_at(step: int) -> dict[str, np.ndarray]:
    index_B = indices_at(step)
    start_B, stop_B = windows.start_W[index_B], windows.stop_W[index_B]
    history_BxS = gather(histories.item_T, start_B, stop_B - 1, history_length)
    if token_U is not None:
      user_B = np.searchsorted(histories.offsets_U1, start_B, side="right") - 1
      history_BxS = with_user_tokens(token_U[user_B], history_BxS)
    return {"history_BxS": history_BxS, "target_Bx1": histories.item_T[stop_B - 1][:, None]}

  return batch_at


def ragged_arange(size_W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """For runs of the given sizes, one after another: each element's run and its place in it."""
  of_T = np.repeat(np.arange(len(size_W)), size_W)
  return of_T, np.arange(len(of_T)) - (np.cumsum(size_W) - size_W)[of_T]
