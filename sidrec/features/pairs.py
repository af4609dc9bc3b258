"""Items that a user consumed near each other."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sidrec.data.dataset import Histories


class Sequences(NamedTuple):
  """The items of `Histories` alone."""

  offsets_Up1: np.ndarray  # int64 [U + 1]
  item_T: np.ndarray  # int32 [T]


def check_items(histories: Histories | Sequences, num_items: int) -> None:
  """Raises ValueError for an interaction outside a catalogue of `num_items`."""
  item_T = histories.item_T
  if len(item_T) and (item_T.min() < 0 or item_T.max() >= num_items):
    raise ValueError(f"histories name an item outside the catalogue of {num_items} items")


def near_pairs(
  histories: Histories | Sequences, num_items: int, window: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
  """Pairs of different items of one user, at most `window` interactions apart.

  One distance at a time: memory stays in proportion to T, not to T × window.

  Args:
    histories: packed histories; pass the training view.
    num_items: N.
    window: largest distance.

  Yields:
    (distance, item rows, rows of the items that many interactions later).

  Raises:
    ValueError: for an interaction outside the catalogue.
  """
  check_items(histories, num_items)
  item_T = histories.item_T
  length_U = np.diff(histories.offsets_Up1)
  user_T = np.repeat(np.arange(len(length_U)), length_U)
  for distance in range(1, window + 1):
    earlier, later = item_T[:-distance], item_T[distance:]
    pairs = (user_T[:-distance] == user_T[distance:]) & (earlier != later)
    yield distance, earlier[pairs], later[pairs]
