"""Making codes unique: items that share a tuple are told apart by a last digit.

The rule is TIGER's (Rajput et al. 2023, https://arxiv.org/abs/2305.05065, section
3.1): every ID gets one more digit, which numbers the items of a tuple 0, 1, 2, …
The other way, moving items to free codes nearby, is `reassignment.py`.

Letters: N items, L levels, V codes per level, D extra digits, M items that have
their IDs already. Plain NumPy, deterministic.
"""

import numpy as np
from numpy.typing import ArrayLike

from sidrec.core.codes import as_codes, check_sizes, digits_needed, group
from sidrec.tokenizers.radix import radix_codes


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


def extend_extra_digits(
  codes: ArrayLike, codebook_size: int, taken: ArrayLike, num_digits: int
) -> np.ndarray:
  """Gives new items the lowest free numbers of their tuples; the old IDs stay as they are.

  Args:
    codes: integer [N, L] in [0, V), the tuples of the new items.
    codebook_size: V.
    taken: integer [M, L + D] in [0, V), the unique IDs there are.
    num_digits: D >= 1.

  Returns:
    Codes int32 [N, L + D], different from each other and from all of `taken`; the
    first L columns are `codes`, items of one tuple are numbered in their order.

  Raises:
    ValueError: if a tuple has no free number left (names it), or the codes are not valid.
  """
  codes_NxL = as_codes(codes, codebook_size)
  taken_MxI = as_codes(taken, codebook_size)
  if codes_NxL.ndim != 2 or taken_MxI.shape[1:] != (codes_NxL.shape[1] + num_digits,):
    raise ValueError(
      f"new codes of shape {codes_NxL.shape} and {num_digits} extra digit(s) do not make IDs like "
      f"the old ones, of shape {taken_MxI.shape}"
    )
  num_levels, num_taken = codes_NxL.shape[1], len(taken_MxI)
  groups = group(np.concatenate([taken_MxI[:, :num_levels], codes_NxL]))
  start_T, size_T = (np.repeat(x, groups.size_G) for x in (groups.start_G, groups.size_G))
  if groups.size_G.max(initial=0) > codebook_size**num_digits:
    item = groups.order_N[groups.start_G[groups.size_G.argmax()] + groups.size_G.max() - 1]
    raise ValueError(
      f"the tuple {codes_NxL[item - num_taken].tolist()} has no free extra digit left for a new "
      f"item: {num_digits} digit(s) of {codebook_size} codes number "
      f"{codebook_size**num_digits} items"
    )
  # A tuple of n items, old and new, has n slots; the old items' numbers below n take theirs.
  is_new_T = groups.order_N >= num_taken
  old_M = groups.order_N[~is_new_T]
  number_M = _numbers(taken_MxI[old_M, num_levels:], codebook_size)
  inside_M = number_M < size_T[~is_new_T]
  used_T = np.zeros(len(is_new_T), bool)
  used_T[(start_T[~is_new_T] + number_M)[inside_M]] = True
  free_slots = np.flatnonzero(~used_T)
  # Slots come by tuple, as the new items do: each tuple gives its first ones.
  rank = np.arange(len(free_slots)) - np.searchsorted(free_slots, start_T[free_slots])
  num_new_G = np.add.reduceat(is_new_T, groups.start_G, dtype=np.int64)
  slots_N = free_slots[rank < np.repeat(num_new_G, groups.size_G)[free_slots]]
  number_N = np.empty(len(codes_NxL), np.int64)
  number_N[groups.order_N[is_new_T] - num_taken] = slots_N - start_T[slots_N]
  return np.concatenate([codes_NxL, radix_codes(number_N, num_digits, codebook_size)], axis=1)


def next_radix_codes(count: int, codebook_size: int, taken: ArrayLike) -> np.ndarray:
  """The digits of the lowest numbers that no code of a base-conversion mapping stands for.

  Args:
    count: the number of new items N.
    codebook_size: V.
    taken: integer [M, L] in [0, V), unique.

  Returns:
    Codes int32 [N, L].

  Raises:
    ValueError: if M + N numbers do not fit in L digits.
  """
  taken_MxL = as_codes(taken, codebook_size)
  total, num_digits = len(taken_MxL) + count, taken_MxL.shape[1]
  if total > codebook_size**num_digits:
    raise ValueError(
      f"{count} new items beside {len(taken_MxL)} do not fit in {num_digits} tokens of "
      f"{codebook_size} codes; make new IDs with id_length={digits_needed(total, codebook_size)}"
    )
  # All of an ID is a running number: extra digits of one tuple that all items share.
  shared_TxL = np.pad(taken_MxL, ((0, 0), (1, 0)))
  new_Nx1 = np.zeros((count, 1), np.int32)
  return extend_extra_digits(new_Nx1, codebook_size, shared_TxL, num_digits)[:, 1:]


def _numbers(digits_NxD: np.ndarray, codebook_size: int) -> np.ndarray:
  """Base-V numbers, least significant digit first: int64 [N], those from 2**31 on only as such."""
  number_N = np.zeros(len(digits_NxD), np.int64)
  for digit_N in digits_NxD.T[::-1]:
    number_N = np.minimum(number_N, 2**31) * codebook_size + digit_N
  return number_N
