"""Checks of codes and sizes, and which items share their codes; plain NumPy.

Letters: N items, L levels, V codes per level, G groups of items with equal codes.
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


class Groups(NamedTuple):
  """Items with equal tuples; a group's members keep item order."""

  order_N: np.ndarray  # int64 [N], items by group
  start_G: np.ndarray  # int64 [G], where each group starts in order_N
  size_G: np.ndarray  # int64 [G]


def group(codes: ArrayLike) -> Groups:
  """Groups items by tuple. codes: integer [N, L]; ValueError for another shape or type."""
  codes_NxL = as_integers(codes, "tokens")
  if codes_NxL.ndim != 2 or codes_NxL.shape[1] == 0:
    raise ValueError(f"codes have shape {codes_NxL.shape}; give [items, levels]")
  order_N = np.lexsort(codes_NxL.T[::-1])  # stable: equal tuples stay in item order
  sorted_NxL = codes_NxL[order_N]
  first_N = np.ones(len(codes_NxL), bool)
  first_N[1:] = (sorted_NxL[1:] != sorted_NxL[:-1]).any(axis=1)
  start_G = np.flatnonzero(first_N)
  return Groups(order_N, start_G, np.diff(start_G, append=len(codes_NxL)))


def collision_rate(codes: ArrayLike) -> float:
  """The share of items that share their tuple with another item; 0 for no items."""
  size_G = group(codes).size_G
  return float(size_G[size_G > 1].sum() / max(size_G.sum(), 1))


def largest_group(codes: ArrayLike) -> int:
  """The number of items in the most crowded tuple; 0 for no items."""
  return int(group(codes).size_G.max(initial=0))
