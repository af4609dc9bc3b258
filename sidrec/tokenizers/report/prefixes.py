"""The items below each prefix of semantic IDs, and what they have in common."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from sidrec.data.dataset import Items
from sidrec.tokenizers.report.interpretation import (
  NUM_CATEGORIES,
  NUM_DECADES,
  Labels,
  category_labels,
  decade_labels,
  marks,
)


class Mark(NamedTuple):
  """A category or a decade that marks the items of a prefix."""

  name: str
  share: float  # of the prefix's items where any is known
  lift: float  # that, divided by the same for the whole catalogue


class Meaning(NamedTuple):
  """What the items of a prefix are; see `interpretation.interpret`."""

  items: int
  categories: tuple[Mark, ...]
  decades: tuple[Mark, ...]
  examples: tuple[int, ...]  # rows of the most popular items


class PrefixIndex:
  """A catalogue sorted by semantic ID, so that a prefix is a range of it."""

  def __init__(self, codes_NxL: np.ndarray, items: Items, popularity_N: np.ndarray):
    """Takes the catalogue.

    Args:
      codes_NxL: integers, the ID of each item row, -1 for rows without one. Rows behind those of
        `items` have no labels.
      items: what is known about the items.
      popularity_N: how often each item was chosen in training, say; 0 for rows behind its end.
    """
    num_items = len(codes_NxL)
    self.codes_NxL = codes_NxL
    self.popularity_N = np.zeros(num_items)
    self.popularity_N[: len(popularity_N)] = popularity_N[:num_items]
    self._order_N = np.lexsort(codes_NxL.T[::-1])
    self._sorted_NxL = codes_NxL[self._order_N]
    self._without = int((codes_NxL[:, 0] < 0).sum())  # rows without an ID, which sort first
    self._categories = _padded(category_labels(items), num_items)
    self._decades = _padded(decade_labels(items), num_items)

  def rows(self, prefix: Sequence[int]) -> np.ndarray:
    """The rows of the items whose ID begins so, the most popular first: int64 [R]."""
    start, stop = self._range(prefix)
    row_R = self._order_N[start:stop]
    return row_R[np.lexsort((row_R, -self.popularity_N[row_R]))]

  def children(self, prefix: Sequence[int]) -> list[tuple[int, int]]:
    """The codes that follow a prefix, and how many items have each; most items first."""
    if len(prefix) == self.codes_NxL.shape[1]:
      return []
    start, stop = self._range(prefix)
    code_X, count_X = np.unique(self._sorted_NxL[start:stop, len(prefix)], return_counts=True)
    order_X = np.argsort(-count_X, kind="stable")
    return list(zip(code_X[order_X].tolist(), count_X[order_X].tolist(), strict=True))

  def meanings(self, prefixes: Sequence[Sequence[int]], examples: int = 3) -> list[Meaning]:
    """What the items of each prefix are; items beyond a dozen thousand cost milliseconds."""
    rows_G = [self.rows(prefix) for prefix in prefixes]
    size_G = np.array([len(row_R) for row_R in rows_G], np.int64)
    member_GxN = sp.csr_array(
      (
        np.ones(size_G.sum()),
        np.concatenate([*rows_G, np.zeros(0, np.int64)]),
        np.concatenate([[0], np.cumsum(size_G)]),
      ),
      shape=(len(rows_G), len(self.codes_NxL)),
    )
    categories_C = marks(member_GxN, self._categories, NUM_CATEGORIES)
    decades_G = marks(member_GxN, self._decades, NUM_DECADES)
    return [
      Meaning(
        len(row_R),
        tuple(Mark(**mark) for mark in categories),
        tuple(Mark(**mark) for mark in decades),
        tuple(row_R[:examples].tolist()),
      )
      for row_R, categories, decades in zip(rows_G, categories_C, decades_G, strict=True)
    ]

  def _range(self, prefix: Sequence[int]) -> tuple[int, int]:
    start, stop = self._without, len(self._order_N)
    for level, code in enumerate(prefix):
      column = self._sorted_NxL[start:stop, level]
      first, after = np.searchsorted(column, (code, code + 1)).tolist()
      start, stop = start + first, start + after
    return start, stop


def _padded(labels: Labels, num_items: int) -> Labels:
  has_NxX = labels.has_NxX.copy()
  has_NxX.resize((num_items, has_NxX.shape[1]))
  return labels._replace(has_NxX=has_NxX)
