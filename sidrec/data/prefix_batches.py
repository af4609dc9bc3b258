"""Batches with one target for each prefix of a history, where short prefixes share a row.

Here W counts windows, each a prefix and its target, R rows, and Q the targets that a row has room
for.

Most prefixes of most logs are far shorter than the longest: with one a row, 83% of the positions
of Amazon Beauty would be empty.
"""

import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import (
  BatchAt,
  Source,
  in_memory,
  last_position,
  packed_batches,
  targets_of,
)
from sidrec.data.dataset import Histories
from sidrec.data.inputs import ITEMS_ALONE, InputsConfig
from sidrec.data.packing import PackedRows, Windows

_ROOM = 1.25  # a row takes so many times the windows that full rows hold on average


def prefix_batches(
  histories: Histories | Source,
  history_length: int,
  batch_size: int,
  seed: int,
  process_index: int = 0,
  process_count: int = 1,
  inputs: InputsConfig = ITEMS_ALONE,
) -> BatchAt:
  """Batches in which the last position of each prefix is followed by its target, and no other.

  Each interaction but a user's first is a target, once a pass, after its S latest predecessors. So
  a model may look ahead within a prefix. All windows stay in memory: 24 bytes an interaction.

  Returns:
    step → 'history_BxS' and 'segment_BxS' as `packed_batches` has them, and the other columns that
    the inputs want; 'target_BxQ', int32 item rows, filled up with NO_ITEM, and 'at_BxQ', int32,
    the positions that they follow.
  """
  source = in_memory(histories) if isinstance(histories, Histories) else histories
  count, windows_at = last_position(source.offsets_Up1, history_length)
  number_W = targets_of(source)
  windows = windows_at(np.arange(count) if number_W is None else number_W)
  rows, room = pack_mixed(windows, history_length, seed)
  share = process_index, process_count
  packed_at = packed_batches(
    source, history_length, batch_size, seed, *share, inputs=inputs, packed=(windows, rows)
  )

  def batch_at(step: int) -> dict[str, np.ndarray]:
    batch = packed_at(step)
    target_BxQ, at_BxQ = _last_of_segments(batch["segment_BxS"], batch.pop("target_BxS"), room)
    return batch | {"target_BxQ": target_BxQ, "at_BxQ": at_BxQ}

  return batch_at


def pack_mixed(windows: Windows, history_length: int, seed: int) -> tuple[PackedRows, int]:
  """Groups windows into rows of at most S positions and Q windows, best fit, in random order.

  `pack` goes from long to short and makes rows of many short windows. Here every row has about as
  many as any other, so that batches do, and little of the room for targets is empty.

  Returns:
    The rows, and Q.
  """
  size_W = windows.stop_W - windows.start_W - 1
  full_rows = -(-int(size_W.sum()) // history_length)
  room = min(max(int(_ROOM * len(size_W) / max(full_rows, 1)), 1), history_length)
  order_W = np.random.default_rng([seed, len(size_W)]).permutation(len(size_W))
  open_rows: list[list[int]] = [[] for _ in range(history_length + 1)]  # by free positions
  members: list[list[int]] = []
  for window, size in zip(order_W.tolist(), size_W[order_W].tolist(), strict=True):
    free = next((f for f in range(size, history_length + 1) if open_rows[f]), history_length)
    if open_rows[free]:
      row = open_rows[free].pop()
      members[row].append(window)
    else:
      row = len(members)
      members.append([window])
    if len(members[row]) < room and free > size:
      open_rows[free - size].append(row)
  offsets_Rp1 = np.cumsum([0, *map(len, members)])
  window_W = np.fromiter((w for row in members for w in row), np.int64, len(size_W))
  return PackedRows(offsets_Rp1.astype(np.int64), window_W), room


def _last_of_segments(
  segment_BxS: np.ndarray, target_BxS: np.ndarray, room: int
) -> tuple[np.ndarray, np.ndarray]:
  """The target after each segment's last position, and that position: int32 [B, Q] both."""
  goes_on_BxS = np.zeros(segment_BxS.shape, bool)
  goes_on_BxS[:, :-1] = segment_BxS[:, :-1] == segment_BxS[:, 1:]
  row_W, at_W = np.nonzero(~goes_on_BxS & (target_BxS != NO_ITEM))
  place_W = np.arange(len(row_W)) - np.searchsorted(row_W, row_W)
  target_BxQ = np.full((len(segment_BxS), room), NO_ITEM, np.int32)
  at_BxQ = np.zeros(target_BxQ.shape, np.int32)
  target_BxQ[row_W, place_W], at_BxQ[row_W, place_W] = target_BxS[row_W, at_W], at_W
  return target_BxQ, at_BxQ
