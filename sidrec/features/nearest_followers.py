"""Which items follow each item most strongly, counted in a log of any size.

Pairs are counted for a range of earlier items at a time, as many items as fit a bound on the pairs
in memory; each range goes over the histories once more. Counts are whole numbers, so neither the
ranges nor the parts that histories come in change a bit of the result.

Here P counts the pairs of a range, and M the items of a range.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import scipy.sparse as sp

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import Histories
from sidrec.features.pairs import check_items, near_pairs

EXPONENTS = (0.5, 0.25)  # of how often the earlier and the later item occur
_ONE = 1 << 32  # the weight of a pair at distance 1, so that sums of weights are exact
_PAIRS = 1 << 26  # in memory at once, up to 2 GiB with what counting takes

Parts = Callable[[], Iterable[Histories]]


def nearest_followers(
  parts: Parts, num_items: int, count: int, window: int = 20, pairs_at_once: int = _PAIRS
) -> tuple[np.ndarray, np.ndarray]:
  """The items that follow each item most strongly, and how strongly they do.

  How strongly j follows i is c(i, j) / (n(i)^a n(j)^b): c sums 1 / distance over the window, see
  `cooccurrence.following_counts`, n counts an item's interactions, and a and b are `EXPONENTS`.

  Args:
    parts: returns packed histories, of some users at a time, whenever it is called; pass the
      training view.
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
  count_N, pairs_N = _totals(parts, num_items, window)
  follower_NxR = np.full((num_items, count), NO_ITEM, np.int32)
  similarity_NxR = np.zeros((num_items, count), np.float32)
  for start, stop in _ranges(pairs_N, pairs_at_once):
    weight_MxN = _weights(parts, num_items, window, start, stop, pairs_at_once)
    earlier_P, later_P, similarity_P = _similarity(weight_MxN, count_N, start)
    earlier_P, later_P, similarity_P, place_P = _strongest(earlier_P, later_P, similarity_P, count)
    follower_NxR[start + earlier_P, place_P] = later_P
    similarity_NxR[start + earlier_P, place_P] = similarity_P
  return follower_NxR, similarity_NxR


def _totals(parts: Parts, num_items: int, window: int) -> tuple[np.ndarray, np.ndarray]:
  """How often each item occurs, and how many events are in the windows behind it: int64 [N]."""
  count_N, pairs_N = (np.zeros(num_items, np.int64) for _ in range(2))
  for part in parts():
    check_items(part, num_items)
    end_T = np.repeat(part.offsets_Up1[1:], part.lengths_U)
    behind_T = np.minimum(end_T - 1 - np.arange(len(end_T)), window)
    count_N += np.bincount(part.item_T, minlength=num_items)
    pairs_N += np.bincount(part.item_T, behind_T, minlength=num_items).astype(np.int64)
  return count_N, pairs_N


def _ranges(pairs_N: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
  """Ranges of items, each of about `most` pairs, or of one item that has more."""
  up_to_N, start = np.cumsum(pairs_N), 0
  while start < len(pairs_N):
    before = up_to_N[start - 1] if start else 0
    stop = max(int(np.searchsorted(up_to_N, before + most, side="right")), start + 1)
    yield start, stop
    start = stop


def _weights(
  parts: Parts, num_items: int, window: int, start: int, stop: int, most: int
) -> sp.csr_array:
  """The summed weights of the pairs whose earlier item is in a range: int64 sparse [M, N]."""
  shape = stop - start, num_items
  weight_MxN = sp.csr_array(shape, dtype=np.int64)
  found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

  def summed() -> sp.csr_array:
    earlier, later, weight = (np.concatenate(column) for column in zip(*found, strict=True))
    return weight_MxN + sp.csr_array((weight, (earlier, later)), shape=shape)

  waiting = 0
  for part in parts():
    for distance, earlier, later in near_pairs(part, num_items, window):
      if shape[0] < num_items:
        inside = (earlier >= start) & (earlier < stop)
        earlier, later = earlier[inside] - np.int32(start), later[inside]
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
  """Earlier items within the range, later items and how strongly they follow: [P] each."""
  weights = sp.coo_array(weight_MxN)
  earlier_P, later_P = weights.coords
  of_earlier_N, of_later_N = (np.maximum(count_N, 1.0) ** -exponent for exponent in EXPONENTS)
  similarity_P = weights.data * (of_earlier_N[start + earlier_P] * of_later_N[later_P] / _ONE)
  return earlier_P, later_P, similarity_P.astype(np.float32)


def _strongest(
  earlier_P: np.ndarray, later_P: np.ndarray, similarity_P: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """The strongest pairs of each earlier item, and which place each has among these."""
  order_P = np.lexsort((later_P, -similarity_P, earlier_P))
  earlier_P, later_P, similarity_P = (x[order_P] for x in (earlier_P, later_P, similarity_P))
  place_P = np.arange(len(earlier_P)) - np.searchsorted(earlier_P, earlier_P)
  kept = place_P < count
  return earlier_P[kept], later_P[kept], similarity_P[kept], place_P[kept]
