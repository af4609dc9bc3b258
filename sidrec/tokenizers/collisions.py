"""Making codes unique: items that share a tuple are told apart by a last digit.

The rule is TIGER's (Rajput et al. 2023, https://arxiv.org/abs/2305.05065, section
3.1): every ID gets one more digit, which numbers the items of a tuple 0, 1, 2, …

Letters: N items, L levels, V codes per level. Plain NumPy, deterministic.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sidrec.tokenizers.radix import as_codes, as_integers, check_sizes, digits_needed, radix_codes


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


def add_extra_digit(
  codes: ArrayLike, codebook_size: int, max_digits: int | None = None
) -> np.ndarray:
  """Appends the running number of each item within its tuple.

  The digit is added even where nothing collides, so that all IDs have one length.
  A tuple with more than V items makes the running number D > 1 digits long for
  all items (base V, least significant first).

  Args:
    codes: integer [N, L] in [0, V).
    codebook_size: V.
    max_digits: the most digits that may be added; None for as many as needed.

  Returns:
    Unique codes, int32 [N, L + D]; the first L columns are `codes`, items in order.

  Raises:
    ValueError: if more than max_digits are needed, or the codes are not valid.
  """
  check_sizes(1, codebook_size)
  if max_digits is not None and max_digits < 1:
    raise ValueError(f"max_digits is {max_digits}; give at least 1, or None for no limit")
  groups = group(codes)
  codes_NxL = as_codes(codes, codebook_size)
  largest = int(groups.size_G.max(initial=0))
  digits = digits_needed(largest, codebook_size)
  if max_digits is not None and digits > max_digits:
    item = groups.order_N[groups.start_G[groups.size_G.argmax()]]
    raise ValueError(
      f"{largest} items share the tuple {codes_NxL[item].tolist()}, more than {max_digits} extra "
      f"digit(s) of {codebook_size} codes can tell apart; allow max_digits={digits}, or a "
      "tokenizer with more levels or codes"
    )
  number_N = np.empty(len(codes_NxL), np.int64)
  number_N[groups.order_N] = np.arange(len(codes_NxL)) - np.repeat(groups.start_G, groups.size_G)
  return np.concatenate([codes_NxL, radix_codes(number_N, digits, codebook_size)], axis=1)
