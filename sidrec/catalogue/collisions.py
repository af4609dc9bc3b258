"""Making codes unique: a last digit numbers the items that share a tuple.

The rule is TIGER's (Rajput et al. 2023, https://arxiv.org/abs/2305.05065, section
3.1): every ID gets one more digit, which numbers the items of a tuple 0, 1, 2, …
The other way, moving items to free codes nearby, is `reassignment.py`.

Plain NumPy, deterministic. Codes are trusted; X is the length of an ID with its extra digits.
"""

import numpy as np

from sidrec.core.codes import digits_needed, group, radix_codes


def add_extra_digit(codes_NxL: np.ndarray, codebook_size: int) -> np.ndarray:
  """Appends the running number of each item within its tuple.

  The digit is added even where nothing collides, so that all IDs have one length.
  A tuple with more than V items makes the running number more than one digit long for
  all items (base V, least significant first).

  Args:
    codes_NxL: integers in [0, V).
    codebook_size: V.

  Returns:
    Unique codes, int32 [N, X]; the first L columns are `codes_NxL`, items in order.
  """
  groups = group(codes_NxL)
  digits = digits_needed(int(groups.size_G.max(initial=0)), codebook_size)
  number_N = np.empty(len(codes_NxL), np.int64)
  number_N[groups.order_N] = np.arange(len(codes_NxL)) - np.repeat(groups.start_G, groups.size_G)
  return _joined(codes_NxL, number_N, digits, codebook_size)


def extend_extra_digits(
  codes_MxL: np.ndarray, codebook_size: int, taken_NxX: np.ndarray
) -> np.ndarray:
  """Gives new items the lowest free numbers of their tuples; the old IDs stay as they are.

  Args:
    codes_MxL: integers in [0, V), the tuples of the new items.
    codebook_size: V.
    taken_NxX: integers in [0, V), the unique IDs there are; X > L.

  Returns:
    Codes int32 [M, X], different from each other and from all of `taken_NxX`; the
    first L columns are `codes_MxL`, items of one tuple are numbered in their order.

  Raises:
    ValueError: if a tuple has no free number left (names it).
  """
  num_taken, num_levels = len(taken_NxX), codes_MxL.shape[1]
  num_digits = taken_NxX.shape[1] - num_levels
  # Old items, then new ones; `at` runs over both by tuple.
  groups = group(np.concatenate([taken_NxX[:, :num_levels], codes_MxL]))
  start_at, size_at = (np.repeat(x, groups.size_G) for x in (groups.start_G, groups.size_G))
  if groups.size_G.max(initial=0) > codebook_size**num_digits:
    item = groups.order_N[groups.start_G[groups.size_G.argmax()] + groups.size_G.max() - 1]
    raise ValueError(
      f"the tuple {codes_MxL[item - num_taken].tolist()} has no free extra digit left for a new "
      f"item: {num_digits} digit(s) of {codebook_size} codes number "
      f"{codebook_size**num_digits} items"
    )
  # A tuple of n items, old and new, has n slots; the old items' numbers below n take theirs.
  is_new_at = groups.order_N >= num_taken
  old_N = groups.order_N[~is_new_at]
  number_N = _numbers(taken_NxX[old_N, num_levels:], codebook_size)
  inside_N = number_N < size_at[~is_new_at]
  used_at = np.zeros(len(is_new_at), bool)
  used_at[(start_at[~is_new_at] + number_N)[inside_N]] = True
  free_slots = np.flatnonzero(~used_at)
  # Slots come by tuple, as the new items do: each tuple gives its first ones.
  rank = np.arange(len(free_slots)) - np.searchsorted(free_slots, start_at[free_slots])
  num_new_G = np.add.reduceat(is_new_at, groups.start_G, dtype=np.int64)
  slots_M = free_slots[rank < np.repeat(num_new_G, groups.size_G)[free_slots]]
  number_M = np.empty(len(codes_MxL), np.int64)
  number_M[groups.order_N[is_new_at] - num_taken] = slots_M - start_at[slots_M]
  return _joined(codes_MxL, number_M, num_digits, codebook_size)


def next_radix_codes(count: int, codebook_size: int, taken_NxL: np.ndarray) -> np.ndarray:
  """The digits of the lowest numbers that no code of a base-conversion mapping stands for.

  Args:
    count: the number of new items M.
    codebook_size: V.
    taken_NxL: integers in [0, V), unique.

  Returns:
    Codes int32 [M, L].

  Raises:
    ValueError: if N + M numbers do not fit in L digits.
  """
  num_taken, num_digits = taken_NxL.shape
  total = num_taken + count
  if total > codebook_size**num_digits:
    raise ValueError(
      f"{count} new items and the {num_taken} old ones do not fit in {num_digits} tokens of "
      f"{codebook_size} codes; make new IDs with id_length={digits_needed(total, codebook_size)}"
    )
  # All of an ID is a running number: extra digits of one tuple that all items share.
  shared_NxX = np.pad(taken_NxL, ((0, 0), (1, 0)))
  return extend_extra_digits(np.zeros((count, 1), np.int32), codebook_size, shared_NxX)[:, 1:]


def _joined(
  codes_NxL: np.ndarray, number_N: np.ndarray, num_digits: int, codebook_size: int
) -> np.ndarray:
  """Codes, then the digits of a number: int32 [N, X]."""
  digits = radix_codes(number_N, num_digits, codebook_size)
  return np.concatenate([codes_NxL, digits], axis=1, dtype=np.int32)


def _numbers(digits: np.ndarray, codebook_size: int) -> np.ndarray:
  """Base-V numbers, least significant digit first: int64 [N], those from 2**31 on only as such."""
  number_N = np.zeros(len(digits), np.int64)
  for digit_N in digits.T[::-1]:
    number_N = np.minimum(number_N, 2**31) * codebook_size + digit_N
  return number_N
