"""Training windows, and batches as a pure function of the step.

Letters: W windows, B global batch, S history length.

`batch_at(step)` depends on the seed, the step and which share of the batch a
process takes; the global batch does not depend on the number of processes. So
the position in the data is the step, and there is nothing to checkpoint.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sidrec.data.dataset import Histories

NO_ITEM = -1


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
  at = start_W[:, None] + np.arange(width)
  inside = at < stop_W[:, None]
  return np.where(inside, item_T[np.minimum(at, len(item_T) - 1)], NO_ITEM).astype(np.int32)


def last_items(histories: Histories, history_length: int) -> np.ndarray:
  """Each user's last S items, oldest first, filled up with NO_ITEM: int32 [U, S]."""
  stop_U = histories.offsets_U1[1:]
  start_U = np.maximum(stop_U - history_length, histories.offsets_U1[:-1])
  if not len(histories.item_T):
    return np.full((histories.num_users, history_length), NO_ITEM, np.int32)
  return gather(histories.item_T, start_U, stop_U, history_length)


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


def window_batches(
  histories: Histories,
  windows: Windows,
  history_length: int,
  batch_size: int,
  seed: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Callable[[int], dict[str, np.ndarray]]:
  """`batch_at`: step → {"item_BxS1"}, windows of S + 1 items filled up with NO_ITEM."""
  indices_at = shuffled(len(windows.start_W), batch_size, seed, process_index, process_count)

  def batch_at(step: int) -> dict[str, np.ndarray]:
    index_B = indices_at(step)
    start_B, stop_B = windows.start_W[index_B], windows.stop_W[index_B]
    return {"item_BxS1": gather(histories.item_T, start_B, stop_B, history_length + 1)}

  return batch_at
