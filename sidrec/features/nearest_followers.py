"""Which items follow each item most strongly, counted in a log of any size.

Pairs are counted for one range of earlier items at a time, so that the pairs of a range fit memory.
Each range goes over all events, whose items are in a temporary file. Counts are whole
numbers, so neither the ranges nor the parts that histories come in change a bit of the result.

Here P counts the pairs of a range, M the items of a range, and X those of them with pairs.
"""

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np
import scipy.sparse as sp

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import Histories
from sidrec.features.pairs import Sequences, check_items, near_pairs

EXPONENTS = (0.5, 0.25)  # of how often the earlier and the later item occur
_ONE = 1 << 32  # the weight of a pair at distance 1, so that sums of weights are exact
_PAIRS = 1 << 25  # in memory at once, up to 2 GiB with what counting takes


def nearest_followers(
  parts: Iterable[Histories],
  num_items: int,
  count: int,
  window: int = 20,
  pairs_at_once: int = _PAIRS,
) -> tuple[np.ndarray, np.ndarray]:
  """The items that follow each item most strongly, and how strongly they do.

  How strongly j follows i is c(i, j) / (n(i)^a n(j)^b): c sums 1 / distance over the window, see
  `cooccurrence.following_counts`, n counts an item's interactions, and a and b are `EXPONENTS`.

  Args:
    parts: packed histories, of some users at a time; pass the training view.
    num_items: N.
    count: R.
    window: largest distance that counts, in interactions; 1 or more.
    pairs_at_once: about as many pairs are counted at once.

  Returns:
    int32 [N, R] item rows, the strongest first, and of equal ones the first row; NO_ITEM where
    fewer items followed. float32 [N, R], how strongly, 0 for no item.

  Raises:
    ValueError: for an interaction outside the catalogue.
  """
  follower_NxR = np.full((num_items, count), NO_ITEM, np.int32)
  similarity_NxR = np.zeros((num_items, count), np.float32)
  with tempfile.TemporaryFile() as file:
    log = _Log(file, num_items, window, parts)
    for start, stop in _ranges(log.pairs_N, pairs_at_once):
      weight_MxN = _weights(log, start, stop, pairs_at_once)
      pairs = _similarity(weight_MxN, log.count_N, start)
      earlier_P, later_P, similarity_P, place_P = _strongest(*pairs, count)
      follower_NxR[start + earlier_P, place_P] = later_P
      similarity_NxR[start + earlier_P, place_P] = similarity_P
  return follower_NxR, similarity_NxR


class _Log:
  """The items of all events, in a file, and their counts.

  Attributes:
    count_N: how often each item occurs, int64.
    pairs_N: how many events are in the windows behind it, int64.
    window: largest distance that counts.
  """

  def __init__(self, file: IO[bytes], num_items: int, window: int, parts: Iterable[Histories]):
    self.count_N, self.pairs_N = (np.zeros(num_items, np.int64) for _ in range(2))
    self.window = window
    self._file, self._offsets = file, []
    for part in parts:
      check_items(part, num_items)
      end_T = np.repeat(part.offsets_Up1[1:], part.lengths_U)
      behind_T = np.minimum(end_T - 1 - np.arange(len(end_T)), window)
      self.count_N += np.bincount(part.item_T, minlength=num_items)
      self.pairs_N += np.bincount(part.item_T, behind_T, minlength=num_items).astype(np.int64)
      self._offsets.append(part.offsets_Up1)
      file.write(part.item_T.astype(np.int32).tobytes())

  @property
  def num_items(self) -> int:
    """N."""
    return len(self.count_N)

  def parts(self) -> Iterator[Sequences]:
    """All events, of some users at a time."""
    self._file.seek(0)
    for offsets_Up1 in self._offsets:
      yield Sequences(offsets_Up1, np.fromfile(self._file, np.int32, offsets_Up1[-1]))


def _ranges(pairs_N: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
  """Ranges of items, each of about `most` pairs, or of one item that has more."""
  up_to_N, start = np.cumsum(pairs_N), 0
  while start < len(pairs_N):
    before = up_to_N[start - 1] if start else 0
    stop = max(int(np.searchsorted(up_to_N, before + most, side="right")), start + 1)
    yield start, stop
    start = stop


def _weights(log: _Log, start: int, stop: int, most: int) -> sp.csr_array:
  """The summed weights of the pairs whose earlier item is in a range: int64 sparse [M, N]."""
  shape, where = (stop - start, log.num_items), (log.num_items, log.window, range(start, stop))
  weight_MxN = sp.csr_array(shape, dtype=np.int64)
  found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

  def summed() -> sp.csr_array:
    earlier, later, weight = (np.concatenate(column) for column in zip(*found, strict=True))
    return weight_MxN + sp.csr_array((weight, (earlier, later)), shape=shape)

  waiting = 0
  for part in log.parts():
    for distance, earlier, later in near_pairs(part, *where):
      earlier = earlier - np.int32(start)
      weight = np.full(len(earlier), round(_ONE / distance), np.int64)
      found.append((earlier, later, weight))
      waiting += len(earlier)
      if 2 * waiting > most:
        weight_MxN, waiting = summed(), 0
        found.clear()
  return summed() if found else weight_MxN


def _similarity(
  weight_MxN: sp.csr_array, count_N: np.ndarray, start: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Earlier items within the range, later items, in order, and how strongly they follow: [P]."""
  weight_MxN.sort_indices()
  weights = sp.coo_array(weight_MxN)
  earlier_P, later_P = weights.coords
  of_earlier_N, of_later_N = (np.maximum(count_N, 1.0) ** -exponent for exponent in EXPONENTS)
  similarity_P = weights.data * (of_earlier_N[start + earlier_P] * of_later_N[later_P] / _ONE)
  return earlier_P, later_P, similarity_P.astype(np.float32)


def _strongest(
  earlier_P: np.ndarray, later_P: np.ndarray, similarity_P: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """The strongest pairs of each earlier item, and which place each has among these.

  Of equally strong ones, the order stays as it is.
  """
  # Bits of positive floats are in their order. One sort of whole numbers, for two are slower.
  weaker_P = np.uint64(0xFFFFFFFF) - similarity_P.view(np.uint32)
  order_P = np.argsort(earlier_P.astype(np.uint64) << np.uint64(32) | weaker_P, kind="stable")
  earlier_P, later_P, similarity_P = (x[order_P] for x in (earlier_P, later_P, similarity_P))
  first_X = np.flatnonzero(np.diff(earlier_P, prepend=-1))  # of each earlier item
  place_P = np.arange(len(earlier_P)) - np.repeat(first_X, np.diff(first_X, append=len(earlier_P)))
  kept = place_P < count
  return earlier_P[kept], later_P[kept], similarity_P[kept], place_P[kept]
