"""Rows by key: binary searches in sorted keys, with no Python object for each."""

import numpy as np


class SortedKeys:
  """Finds rows by key, by binary search."""

  def __init__(self, keys_N: np.ndarray):
    """Sorts the keys, of any type that NumPy sorts."""
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
