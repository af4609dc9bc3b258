"""Windows of histories that share rows of a batch, so that few positions stay empty."""

import bisect
from typing import NamedTuple

import numpy as np


class Windows(NamedTuple):
  """Slices of the packed interactions, each at most S + 1 items of one user."""

  start_W: np.ndarray  # int64 [W]
  stop_W: np.ndarray  # int64 [W]


class PackedRows(NamedTuple):
  """Windows by the row that they share: row r has window_W[offsets_Rp1[r]:offsets_Rp1[r + 1]]."""

  offsets_Rp1: np.ndarray  # int64 [R + 1]
  window_W: np.ndarray  # int64 [W], each window once


def pack(windows: Windows, history_length: int, most: int = 0) -> PackedRows:
  """Groups windows into rows of at most S history positions, best fit, longest first.

  With `most`, a row takes no more windows than that.

  A window of n items fills n - 1 positions. Rows are then almost full, where one
  window a row would leave nearly half of MovieLens-1M's positions empty.
  """
  size_W = windows.stop_W - windows.start_W - 1
  window_W = np.argsort(-size_W, kind="stable")
  row_W = np.empty(len(window_W), np.int64)
  full = int((size_W == history_length).sum())
  row_W[:full] = np.arange(full)  # nothing fits beside these

  num_rows, count_R = full, [1] * full
  open_rows: list[list[int]] = [[] for _ in range(history_length + 1)]  # by free positions
  frees: list[int] = []  # sorted sizes for which there are open rows
  for place in range(full, len(window_W)):
    size = int(size_W[window_W[place]])
    at = bisect.bisect_left(frees, size)
    if at < len(frees):
      free = frees[at]
      row = open_rows[free].pop()
      if not open_rows[free]:
        del frees[at]
    else:
      free, row = history_length, num_rows
      num_rows += 1
      count_R.append(0)
    row_W[place] = row
    count_R[row] += 1
    if free > size and count_R[row] != most:
      if not open_rows[free - size]:
        bisect.insort(frees, free - size)
      open_rows[free - size].append(row)
  offsets_Rp1 = np.concatenate([[0], np.cumsum(np.bincount(row_W, minlength=num_rows))])
  return PackedRows(offsets_Rp1.astype(np.int64), window_W[np.argsort(row_W, kind="stable")])


def most_windows(windows: Windows, history_length: int) -> int:
  """Windows that a row has room for where each brings what is known of its user.

  Half as many again as full rows hold on average, so that few rows stay half empty and little of
  the room does.
  """
  size_W = windows.stop_W - windows.start_W - 1
  full_rows = max(-(-int(size_W.sum()) // history_length), 1)
  return min(-(-3 * len(size_W) // (2 * full_rows)), history_length)
