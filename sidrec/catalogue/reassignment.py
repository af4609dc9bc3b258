"""Making codes unique without another digit: colliding items move to the nearest free codes.

A mover takes the nearest free code of the last level; where its prefix is full, it
goes to the nearest code of the level above whose subtree has room, and from there
down again; and so on up to the first level. LC-Rec (Zheng et al. 2024,
https://arxiv.org/abs/2311.09049) spreads colliding items over the codes of the last
level too; the search on the levels above makes it exact: no item is left behind.

Letters: N items, L levels, V codes per level, F vector width, B items of a block, M
movers, T items that have their codes already, G distinct tuples. Plain NumPy
but for `costs`; deterministic.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sidrec.catalogue.collisions import extend_extra_digits
from sidrec.core.codes import as_codes, check_sizes, digits_needed, group

if TYPE_CHECKING:
  from sidrec.tokenizers.base import Fitted

# (vectors_BxF, codes_BxL, level) → cost_BxV: a Tokenizer's `costs` with its parameters bound.
Costs = Callable[[np.ndarray, np.ndarray, int], Any]

BLOCK_SIZE = 4096  # items whose costs are in memory at once


class Reassigned(NamedTuple):
  """Unique codes, and what it took to get them."""

  codes_NxL: np.ndarray  # int32
  moved_M: np.ndarray  # int64, ascending rows of the items whose codes changed
  report: dict[str, Any]  # plain numbers and lists that JSON takes


def reassign(
  codes: ArrayLike,
  vectors: np.ndarray,
  costs: Costs | None,
  codebook_size: int,
  taken: ArrayLike | None = None,
  capacity: int = 1,
) -> Reassigned:
  """Moves colliding items to free codes near them; all others keep theirs.

  Of the items that share a tuple, the one nearest to its last codeword keeps it
  (the first row on a tie). The others move, tuple by tuple in lexicographic order,
  nearest first, each to the cheapest free code of the last level. Those whose prefix
  had no free code then choose, in the same order, the cheapest code with room on
  the level above and descend from it by the cheapest codes with room; what is left
  tries one level higher, until the first. Equal costs: the lowest code.

  Args:
    codes: integer [N, L] in [0, V).
    vectors: float [N, F], what was encoded; may be memory-mapped.
    costs: how far each code of a level is from an item whose codes above are given;
      `inf` is the last choice.
    codebook_size: V.
    taken: integer [T, L] in [0, V), codes of other items, which keep them. None for none.
    capacity: how many items may have one tuple.

  Returns:
    The codes, no tuple of which is held (with `taken`) by more than `capacity` items;
    the rows that moved; and a report: 'moved', 'share_moved', 'without_codeword' (moved
    to a code of infinite cost), and 'levels', a list of {'level' (from 1), 'moved'
    (first changed there), 'own_cost_mean', 'extra_cost_mean', 'extra_cost_max',
    'extra_relative' (extra over own, of the means)} on that level; None where
    there is nothing to measure.

  Raises:
    ValueError: without costs, or if the items do not fit, or costs are NaN, or shapes disagree.
  """
  if costs is None:
    raise ValueError(
      "this tokenizer has no costs to find the nearest free codes by; resolve its collisions by "
      "extra_digit"
    )
  codes_NxL = as_codes(codes, codebook_size)  # a copy, changed in place below
  if codes_NxL.ndim != 2 or len(codes_NxL) != len(vectors):
    raise ValueError(
      f"codes have shape {codes_NxL.shape} and vectors {np.shape(vectors)}; give [items, levels] "
      "and [items, width]"
    )
  num_items, num_levels = codes_NxL.shape
  check_sizes(num_levels, codebook_size)
  taken_TxL = codes_NxL[:0] if taken is None else as_codes(taken, codebook_size)
  if taken_TxL.shape[1:] != (num_levels,):
    raise ValueError(f"taken codes have shape {taken_TxL.shape}; give [items, {num_levels}]")
  total = len(taken_TxL) + num_items
  if total > capacity * codebook_size**num_levels:
    needed = digits_needed(-(-total // capacity), codebook_size)
    raise ValueError(
      f"{total} items do not fit in {num_levels} levels of {codebook_size} codes with {capacity} "
      f"item(s) each; {needed} levels would do"
    )

  blocks = _Blocks(vectors, costs, codebook_size)
  occupied, movers_M = _settle(codes_NxL, taken_TxL, blocks, capacity)
  levels: list[dict[str, Any]] = []
  without_codeword = 0
  waiting = movers_M
  for top in reversed(range(num_levels)):
    own, chosen, left = [], [], []
    placed: list[int] = []
    for row, cost_V in blocks.rows(codes_NxL, waiting, top):
      code = occupied.take(codes_NxL[row], top, cost_V)
      if code is None:
        left.append(row)
        continue
      own.append(cost_V[codes_NxL[row, top]])
      chosen.append(cost_V[code])
      codes_NxL[row, top] = code
      placed.append(row)
    # A place below was reserved for each, so that each level has a code with room.
    finite_P = np.isfinite(chosen)
    for level in range(top + 1, num_levels):
      below = []
      for row, cost_V in blocks.rows(codes_NxL, placed, level):
        code = occupied.take_below(codes_NxL[row], level, cost_V)
        below.append(cost_V[code])
        codes_NxL[row, level] = code
      finite_P &= np.isfinite(below)
    without_codeword += int((~finite_P).sum())
    levels.insert(0, _level_report(top, np.array(own), np.array(chosen)))
    waiting = left
  report = {
    "moved": len(movers_M),
    "share_moved": len(movers_M) / max(num_items, 1),
    "without_codeword": without_codeword,
    "levels": levels,
  }
  return Reassigned(codes_NxL, np.sort(movers_M), report)


def place_items(fitted: "Fitted", vectors: np.ndarray, taken: ArrayLike) -> np.ndarray:
  """Encodes items that a catalogue lacks, and gives them free IDs in it.

  Tokens beyond the tokenizer's L levels are extra digits: a new item gets the lowest
  free number of its tuple. Where its tuple is full, with extra digits or without,
  it moves to the nearest tuple with room, as `reassign` does.

  Args:
    fitted: the tokenizer that made the catalogue's IDs.
    vectors: float32 [N, F].
    taken: integer [M, L + D], the catalogue's IDs.

  Returns:
    IDs int32 [N, L + D], different from each other and from all of `taken`.

  Raises:
    ValueError: if the catalogue is full, or a tuple is and the tokenizer has no costs.
  """
  tokenizer, params = fitted
  taken_MxI = np.asarray(taken)
  num_levels, codebook_size = tokenizer.num_levels, tokenizer.codebook_size
  num_digits = taken_MxI.shape[1] - num_levels

  def costs(vectors_BxF: np.ndarray, codes_BxL: np.ndarray, level: int) -> Any:
    if tokenizer.costs is None:
      raise ValueError(
        f"the tuple {codes_BxL[0].tolist()} of a new item is full, and the tokenizer "
        f"{tokenizer.name!r} has no costs to find the nearest free one by; make new IDs of the "
        "whole catalogue, with one more extra digit"
      )
    return tokenizer.costs(params, vectors_BxF, codes_BxL, level)

  codes_NxL = reassign(
    np.asarray(tokenizer.encode(params, vectors)),
    vectors,
    costs,
    codebook_size,
    taken_MxI[:, :num_levels],
    codebook_size**num_digits,
  ).codes_NxL
  if not num_digits:
    return codes_NxL
  return extend_extra_digits(codes_NxL, codebook_size, taken_MxI, num_digits)


class _Blocks(NamedTuple):
  """Costs of chosen items, computed a block at a time."""

  vectors_NxF: np.ndarray
  costs: Costs
  codebook_size: int

  def rows(
    self, codes_NxL: np.ndarray, rows_M: ArrayLike, level: int
  ) -> Iterator[tuple[int, np.ndarray]]:
    """Each row with its cost_V, in the order given."""
    rows_M = np.asarray(rows_M, np.int64)
    for start in range(0, len(rows_M), BLOCK_SIZE):
      rows_B = rows_M[start : start + BLOCK_SIZE]
      cost_BxV = np.asarray(self.costs(self.vectors_NxF[rows_B], codes_NxL[rows_B], level))
      if cost_BxV.shape != (len(rows_B), self.codebook_size):
        raise ValueError(
          f"costs have shape {cost_BxV.shape}, not {(len(rows_B), self.codebook_size)}"
        )
      bad_B = np.isnan(cost_BxV).any(axis=1)
      if bad_B.any():
        raise ValueError(f"the costs of item {rows_B[bad_B.argmax()]} are NaN; check its vector")
      yield from zip(rows_B.tolist(), cost_BxV, strict=True)


class _Occupied:
  """How many items are below each code of a prefix; counted when first asked for."""

  def __init__(self, tuples_GxL: np.ndarray, held_G: np.ndarray, codebook_size: int, capacity: int):
    # Columns in one piece: binary search in them copies nothing.
    self._columns_LxG = np.ascontiguousarray(tuples_GxL.T)
    self._held_G = held_G
    self._codebook_size = codebook_size
    num_levels = tuples_GxL.shape[1]
    self._room_L = [capacity * codebook_size**below for below in reversed(range(num_levels))]
    self._counts: dict[tuple[int, ...], np.ndarray] = {}

  def take(self, codes_L: np.ndarray, level: int, cost_V: np.ndarray) -> int | None:
    """Takes the cheapest code with room at a level, counted on all levels down to it."""
    path = tuple(codes_L[:level].tolist())
    code = self._take(path, cost_V)
    if code is not None:
      for above in range(level):
        self._counts_of(path[:above])[path[above]] += 1
    return code

  def take_below(self, codes_L: np.ndarray, level: int, cost_V: np.ndarray) -> int:
    """The same for an item that is counted on the levels above already."""
    code = self._take(tuple(codes_L[:level].tolist()), cost_V)
    assert code is not None, "a place was reserved"
    return code

  def _take(self, path: tuple[int, ...], cost_V: np.ndarray) -> int | None:
    counts_V = self._counts_of(path)
    free = np.flatnonzero(counts_V < self._room_L[len(path)])
    if not len(free):
      return None
    code = int(free[cost_V[free].argmin()])
    counts_V[code] += 1
    return code

  def _counts_of(self, path: tuple[int, ...]) -> np.ndarray:
    counts_V = self._counts.get(path)
    if counts_V is None:
      low, high = 0, len(self._held_G)
      for column_G, code in zip(self._columns_LxG, path, strict=False):
        # A key of the column's own type: any other would copy the column.
        ends = np.array([code, code + 1], column_G.dtype)
        low, high = (low + np.searchsorted(column_G[low:high], ends)).tolist()
      codes = self._columns_LxG[len(path), low:high]
      counts = np.bincount(codes, self._held_G[low:high], self._codebook_size)
      room = self._room_L[len(path)]
      counts_V = counts.astype(np.min_scalar_type(min(room, 2**62)))
      self._counts[path] = counts_V
    return counts_V


def _settle(
  codes_NxL: np.ndarray, taken_TxL: np.ndarray, blocks: _Blocks, capacity: int
) -> tuple[_Occupied, np.ndarray]:
  """Lets the nearest items of each tuple keep it: what is occupied, and the others in order."""
  num_taken = len(taken_TxL)
  all_TxL = np.concatenate([taken_TxL, codes_NxL])
  groups = group(all_TxL)
  group_T = np.empty(len(all_TxL), np.int64)
  group_T[groups.order_N] = np.repeat(np.arange(len(groups.size_G)), groups.size_G)
  taken_G = np.bincount(group_T[:num_taken], minlength=len(groups.size_G))
  if taken_G.max(initial=0) > capacity:
    crowded = all_TxL[groups.order_N[groups.start_G[taken_G.argmax()]]]
    raise ValueError(
      f"{taken_G.max()} taken items share the tuple {crowded.tolist()}, which may have {capacity}; "
      "make them unique first"
    )
  group_N = group_T[num_taken:]
  rows = np.flatnonzero(groups.size_G[group_N] > capacity)
  last = codes_NxL.shape[1] - 1
  cost = [cost_V[codes_NxL[row, last]] for row, cost_V in blocks.rows(codes_NxL, rows, last)]
  rows = rows[np.lexsort((rows, np.array(cost), group_N[rows]))]
  rank = np.arange(len(rows)) - np.searchsorted(group_N[rows], group_N[rows])
  movers_M = rows[rank >= (capacity - taken_G)[group_N[rows]]]
  occupied = _Occupied(
    all_TxL[groups.order_N[groups.start_G]],
    np.minimum(groups.size_G, capacity),
    blocks.codebook_size,
    capacity,
  )
  return occupied, movers_M


def _level_report(level: int, own_M: np.ndarray, chosen_M: np.ndarray) -> dict[str, Any]:
  """What moving cost on the level where the codes first changed."""
  known_M = np.isfinite(own_M) & np.isfinite(chosen_M)
  own_K = own_M[known_M].astype(np.float64)
  extra_K = chosen_M[known_M].astype(np.float64) - own_K
  measured = len(extra_K) > 0
  own_mean = float(own_K.mean()) if measured else None
  extra_mean = float(extra_K.mean()) if measured else None
  return {
    "level": level + 1,
    "moved": len(own_M),
    "own_cost_mean": own_mean,
    "extra_cost_mean": extra_mean,
    "extra_cost_max": float(extra_K.max()) if measured else None,
    "extra_relative": extra_mean / own_mean if extra_mean is not None and own_mean else None,
  }
