"""Rows of a map by item id or by codes: binary searches in sorted keys."""

import numpy as np
from numpy.typing import ArrayLike

from sidrec.core.codes import as_integers


class SortedKeys:
  """Finds rows by key, by binary search."""

  def __init__(self, keys_N: np.ndarray):
    """Sorts the keys."""
    self._order_N = np.argsort(keys_N, kind="stable")
    self._sorted_N = keys_N[self._order_N]

  def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of keys of any shape, and which of them there are."""
    place = np.minimum(np.searchsorted(self._sorted_N, keys), len(self._sorted_N) - 1)
    return self._order_N[place], np.asarray(self._sorted_N[place] == keys)

  def repeats(self) -> np.ndarray:
    """Pairs of rows with equal keys: int64 [pairs, 2]."""
    at = np.flatnonzero(self._sorted_N[1:] == self._sorted_N[:-1])
    return self._order_N[at[:, None] + np.arange(2)]


def check_ids(item_ids: ArrayLike, num_items: int) -> np.ndarray:
  """Item ids as int64 [N]; ValueError unless they are distinct and not negative."""
  ids_N = as_integers(item_ids, "item ids")
  if ids_N.shape != (num_items,):
    raise ValueError(f"item ids have shape {ids_N.shape}; give one for each of {num_items} codes")
  wide_N = ids_N.astype(np.int64)  # a uint64 too large for it turns negative
  if wide_N.min() < 0:
    row = int((wide_N < 0).argmax())
    raise ValueError(f"item id {ids_N[row]} in row {row} is outside 0..2**63-1; give item numbers")
  repeats = SortedKeys(wide_N).repeats()
  if len(repeats):
    raise ValueError(
      f"item id {wide_N[repeats[0, 0]]} stands more than once; give each item one semantic ID"
    )
  return wide_N


def pack(codes: np.ndarray, codebook_size: int) -> np.ndarray:
  """Tuples [..., L] as one sortable key each [...]; equal for equal tuples only."""
  id_length = codes.shape[-1]
  if codebook_size**id_length <= 2**64:
    keys = np.zeros(codes.shape[:-1], np.uint64)
    for level in range(id_length):
      keys = keys * np.uint64(codebook_size) + codes[..., level].astype(np.uint64)
    return keys
  # Too many for one number: the tuple's bytes, which sort in some fixed order.
  token = np.min_scalar_type(codebook_size - 1)
  raw = np.ascontiguousarray(codes.astype(token))
  return raw.view(np.dtype((np.void, token.itemsize * id_length)))[..., 0]


def first_true(bad: np.ndarray) -> tuple[tuple[int, ...], str]:
  """The index of the first True, and words for it (none for a single value)."""
  at = tuple(int(axis[0]) for axis in np.nonzero(np.atleast_1d(bad)))[: np.ndim(bad)]
  return at, f" (at {list(at)})" if at else ""
