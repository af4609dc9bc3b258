"""Checks of codes and sizes, numbers as base-V digits, and which items share their codes.

Plain NumPy, so that reading a mapping stays light. Codes are checked once, where they come in:
`SemanticIDManager.from_codes`, files, and the functions of a `checked` tokenizer. All other
functions trust the arrays that they are given.
"""

import operator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

MAX_CODEBOOK_SIZE = 2**31  # codes are int32


def check_sizes(id_length: int, codebook_size: int) -> None:
  """Raises ValueError unless id_length >= 1 and 2 <= codebook_size <= 2**31."""
  if operator.index(id_length) < 1:
    raise ValueError(f"id_length is {id_length}; give at least 1")
  if not 2 <= operator.index(codebook_size) <= MAX_CODEBOOK_SIZE:
    raise ValueError(f"codebook_size is {codebook_size}; give a number from 2 to 2**31")


def digits_needed(count: int, codebook_size: int) -> int:
  """The smallest L >= 1 with codebook_size**L >= count."""
  # Whole numbers throughout: a logarithm is off by one near powers of V.
  digits, capacity = 1, codebook_size
  while capacity < count:
    digits, capacity = digits + 1, capacity * codebook_size
  return digits


def as_integers(values: ArrayLike, what: str) -> np.ndarray:
  """Checks integers of any shape; ValueError, which names `what` they are, for others."""
  try:
    array = np.asarray(values)
  except ValueError:
    raise ValueError(f"{what} are ragged; give rows of one length") from None
  if array.size == 0 and array.dtype == np.float64:  # what NumPy makes of []
    return array.astype(np.int64)
  if not np.issubdtype(array.dtype, np.integer):
    raise ValueError(f"{what} must be integers of at most 64 bits, not {array.dtype}")
  return array


def as_codes(codes: ArrayLike, codebook_size: int) -> np.ndarray:
  """Checks tokens of any shape [..., L].

  Returns:
    The codes, int32, same shape.

  Raises:
    ValueError: if they are not integers in [0, codebook_size); names the first.
  """
  array = as_integers(codes, "tokens")
  bad = (array < 0) | (array >= codebook_size)
  if bad.any():
    place = [int(axis[0]) for axis in np.nonzero(bad)]
    raise ValueError(
      f"token {array[tuple(place)]} at {place} is outside 0..{codebook_size - 1} "
      f"({bad.sum()} such in all); check the codebook size"
    )
  return array.astype(np.int32)


def check_codes(codes: ArrayLike, codebook_size: int, num_levels: int | None = None) -> np.ndarray:
  """Checks the codes of items.

  Args:
    codes: integer [N, L].
    codebook_size: V.
    num_levels: L; None for any.

  Returns:
    The codes, int32 [N, L].

  Raises:
    ValueError: if they are not integers in [0, V) of that shape, or there are none.
  """
  codes_NxL = as_integers(codes, "tokens")
  if codes_NxL.ndim != 2 or 0 in codes_NxL.shape or num_levels not in (None, codes_NxL.shape[1]):
    levels = "levels" if num_levels is None else num_levels
    raise ValueError(
      f"codes have shape {codes_NxL.shape}; give [items, {levels}], at least one each"
    )
  return as_codes(codes_NxL, codebook_size)


def radix_codes(items: ArrayLike, id_length: int, codebook_size: int) -> np.ndarray:
  """Item numbers as tuples of base-V digits: digit l of item n is n // V**l mod V.

  Item 520 with 4 levels of 256 codes is [8, 2, 0, 0], as 520 = 8 + 2 · 256.

  Args:
    items: the number of items N, for items 0..N-1; or item numbers, integer [N].
    id_length: L.
    codebook_size: V.

  Returns:
    codes_NxL int32, unique for distinct items.

  Raises:
    ValueError: if an item number is negative or needs more than L digits, or a size makes no sense.
  """
  check_sizes(id_length, codebook_size)
  given = as_integers(items, "item numbers")
  if given.ndim > 1:
    raise ValueError(f"item numbers have shape {given.shape}; give a count or one axis")
  lowest, count = 0, 0
  if given.ndim == 0:
    lowest = count = int(given)
  elif given.size:
    lowest, count = int(given.min()), int(given.max()) + 1
  if lowest < 0:
    raise ValueError(f"item number or count {lowest} is negative; give 0 or more")
  if count > codebook_size**id_length:
    raise ValueError(
      f"{count} items do not fit in {id_length} levels of {codebook_size} codes; "
      f"id_length={digits_needed(count, codebook_size)} would do"
    )
  rest_N = np.arange(count, dtype=np.int64) if given.ndim == 0 else given.astype(np.uint64)
  codes_NxL = np.empty((len(rest_N), id_length), np.int32)
  base = rest_N.dtype.type(codebook_size)
  for level in range(id_length):
    rest_N, codes_NxL[:, level] = np.divmod(rest_N, base)
  return codes_NxL


class Groups(NamedTuple):
  """Items with equal tuples; a group's members keep item order."""

  order_N: np.ndarray  # int64 [N], items by group
  start_G: np.ndarray  # int64 [G], where each group starts in order_N
  size_G: np.ndarray  # int64 [G]

  @property
  def group_N(self) -> np.ndarray:
    """The group of each item, int64 [N]."""
    group_N = np.empty(len(self.order_N), np.int64)
    group_N[self.order_N] = np.repeat(np.arange(len(self.size_G)), self.size_G)
    return group_N


def group(codes_NxL: np.ndarray) -> Groups:
  """Groups items by their tuple of integers, in lexicographic order."""
  order_N = np.lexsort(codes_NxL.T[::-1])  # stable: equal tuples stay in item order
  sorted_NxL = codes_NxL[order_N]
  first_N = np.ones(len(codes_NxL), bool)
  first_N[1:] = (sorted_NxL[1:] != sorted_NxL[:-1]).any(axis=1)
  start_G = np.flatnonzero(first_N)
  return Groups(order_N, start_G, np.diff(start_G, append=len(codes_NxL)))


def collision_rate(codes_NxL: np.ndarray) -> float:
  """The share of items that share their tuple with another item; 0 for no items."""
  size_G = group(codes_NxL).size_G
  return float(size_G[size_G > 1].sum() / max(size_G.sum(), 1))
