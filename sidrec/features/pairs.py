"""Items that a user consumed near each other.

Here X counts the interactions that are the earlier one of a pair.
"""

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
  histories: Histories | Sequences,
  num_items: int,
  window: int,
  earlier_items: range | None = None,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
  """Pairs of different items of one user, at most `window` interactions apart.

  One distance at a time: memory stays in proportion to T, not to T × window.

  Args:
    histories: packed histories; pass the training view.
    num_items: N.
    window: largest distance.
    earlier_items: the only rows that the earlier item of a pair may have; None for all. Others
      cost next to nothing.

  Yields:
    (distance, item rows, rows of the items that many interactions later).

  Raises:
    ValueError: for an interaction outside the catalogue.
  """
  check_items(histories, num_items)
  item_T, offsets_Up1 = histories.item_T, histories.offsets_Up1
  behind_T = np.repeat(offsets_Up1[1:], np.diff(offsets_Up1)) - np.arange(1, len(item_T) + 1)
  if earlier_items is None:
    at_X = np.arange(len(item_T))
  else:
    first, last = np.int32(earlier_items.start), np.int32(earlier_items.stop - 1)
    at_X = np.flatnonzero((item_T >= first) & (item_T <= last))
  behind_X = behind_T[at_X]  # how many interactions the user had after each of these
  for distance in range(1, window + 1):
    long_enough_X = behind_X >= distance
    at_X, behind_X = at_X[long_enough_X], behind_X[long_enough_X]
    earlier, later = item_T[at_X], item_T[at_X + distance]
    different = earlier != later
    yield distance, earlier[different], later[different]
