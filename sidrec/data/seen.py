"""Which items each user has seen.

Here X counts distinct pairs of user and seen item.
"""

from typing import NamedTuple

import numpy as np

from sidrec.data.dataset import Histories


class SeenItems(NamedTuple):
  """Packed sets: user u has seen item_X[offsets_Up1[u]:offsets_Up1[u + 1]]."""

  offsets_Up1: np.ndarray  # int64 [U + 1]
  item_X: np.ndarray  # int32 [X], sorted and distinct within a user

  def of(self, user: int) -> np.ndarray:
    """The items that user row `user` has seen, sorted and distinct: int32 [count]."""
    return self.item_X[self.offsets_Up1[user] : self.offsets_Up1[user + 1]]


def seen_items(histories: Histories) -> SeenItems:
  """Each user's distinct item rows in sorted order. Pass the histories of a `HeldOut`."""
  user_T = np.repeat(np.arange(histories.num_users), histories.lengths_U)
  span = int(histories.item_T.max()) + 1 if len(histories.item_T) else 1
  user_X, item_X = np.divmod(np.unique(user_T * span + histories.item_T), span)
  counts_U = np.bincount(user_X, minlength=histories.num_users)
  offsets_Up1 = np.concatenate([[0], np.cumsum(counts_U)]).astype(np.int64)
  return SeenItems(offsets_Up1, item_X.astype(np.int32))


def has_repeats(histories: Histories) -> bool:
  """Whether any user has met an item more than once."""
  return len(seen_items(histories).item_X) < len(histories.item_T)
