"""Making codes unique without another digit: colliding items move to the nearest free codes.

A mover takes the nearest free code of the last level; where its prefix is full, it
goes to the nearest code of the level above whose subtree has room, and from there
down again; and so on up to the first level. LC-Rec (Zheng et al. 2024,
https://arxiv.org/abs/2311.09049) spreads colliding items over the codes of the last
level too; the search on the levels above makes it exact: no item is left behind.

Plain NumPy but for `costs`; deterministic. Codes are trusted. R are the items that move, G distinct
tuples.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sidrec.catalogue.collisions import extend_extra_digits
from sidrec.core.codes import check_codes, digits_needed, group

if TYPE_CHECKING:
  from sidrec.tokenizers.base import Fitted

# (vectors_BxF, codes_BxL, level) → cost_BxV: a Tokenizer's `costs` with its parameters bound.
Costs = Callable[[np.ndarray, np.ndarray, int], Any]

BLOCK_SIZE = 4096  # items whose costs are in memory at once


class Reassigned(NamedTuple):
  """Unique codes, and what it took to get them."""

  codes_NxL: np.ndarray  # int32
  moved_R: np.ndarray  # int64, ascending rows of the items whose codes changed
  report: dict[str, Any]  # plain numbers and lists that JSON takes
  without_codeword: list[int]  # rows of the items whose new code stands for nothing


def reassign(
  codes_NxL: np.ndarray,
  vectors_NxF: np.ndarray,
  costs: Costs | None,
  codebook_size: int,
  taken_XxL: np.ndarray | None = None,
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
    codes_NxL: integers in [0, V).
    vectors_NxF: floats, what was encoded; may be memory-mapped.
    costs: of each code of a level for items whose codes above are given; `inf` is the last choice.
    codebook_size: V.
    taken_XxL: integers in [0, V), codes of other items, which keep them. None for none.
    capacity: how many items may have one tuple.

  Returns:
    The codes, no tuple of which is held (with `taken_XxL`) by more than `capacity` items;
    the rows that moved; and a report: 'moved', 'share_moved', 'without_codeword' (moved
    to a code of infinite cost), and 'levels', a list of {'level' (from 1), 'moved'
    (first changed there), 'own_cost_mean', 'extra_cost_mean', 'extra_cost_max',
    'extra_relative' (extra over own, of the means)} on that level; None where
    there is nothing to measure.

  Raises:
    ValueError: without costs, or if the items do not fit, or costs are NaN or of another shape.
  """
  if costs is None:
    raise ValueError(
      "this tokenizer has no costs to find the nearest free codes by; resolve its collisions by "
      "extra_digit"
    )
  codes_NxL = codes_NxL.astype(np.int32)  # a copy, changed in place below
  num_items, num_levels = codes_NxL.shape
  taken_XxL = codes_NxL[:0] if taken_XxL is None else taken_XxL
  _check_room(len(taken_XxL) + num_items, num_levels, codebook_size, capacity)
  prices = _Prices(vectors_NxF, costs, codebook_size)
  occupied, movers_R = _settle(codes_NxL, taken_XxL, prices, capacity)
  levels, without_codeword, waiting = [], [], movers_R.tolist()
  for top in reversed(range(num_levels)):
    moved = _move(codes_NxL, waiting, top, occupied, prices)
    levels.insert(0, _level_report(top, np.array(moved.own), np.array(moved.chosen)))
    without_codeword += moved.without_codeword
    waiting = moved.left
  report = {
    "moved": len(movers_R),
    "share_moved": len(movers_R) / max(num_items, 1),
    "without_codeword": len(without_codeword),
    "levels": levels,
  }
  return Reassigned(codes_NxL, np.sort(movers_R), report, sorted(without_codeword))


def _check_room(num_items: int, num_levels: int, codebook_size: int, capacity: int) -> None:
  if num_items > capacity * codebook_size**num_levels:
    needed = digits_needed(-(-num_items // capacity), codebook_size)
    raise ValueError(
      f"{num_items} items do not fit in {num_levels} levels of {codebook_size} codes with "
      f"{capacity} item(s) each; {needed} levels would do"
    )


def place_items(fitted: "Fitted", vectors_MxF: np.ndarray, taken_NxX: np.ndarray) -> np.ndarray:
  """Encodes items that a catalogue lacks, and gives them free IDs in it.

  Tokens beyond the tokenizer's L levels are extra digits: a new item gets the lowest
  free number of its tuple. Where its tuple is full, with extra digits or without,
  it moves to the nearest tuple with room, as `reassign` does.

  Args:
    fitted: the tokenizer that made the catalogue's IDs.
    vectors_MxF: float32.
    taken_NxX: integers, the catalogue's IDs; X >= L.

  Returns:
    IDs int32 [M, X], different from each other and from all of `taken_NxX`.

  Raises:
    ValueError: if the catalogue is full, or a tuple is and the tokenizer has no costs.
  """
  tokenizer, params = fitted
  num_levels, codebook_size = tokenizer.num_levels, tokenizer.codebook_size
  num_digits = taken_NxX.shape[1] - num_levels

  def costs(vectors_BxF: np.ndarray, codes_BxL: np.ndarray, level: int) -> Any:
    if tokenizer.costs is None:
      raise ValueError(
        f"the tuple {codes_BxL[0].tolist()} of a new item is full, and the tokenizer "
        f"{tokenizer.name!r} has no costs to find the nearest free one by; make new IDs of the "
        "whole catalogue, with one more extra digit"
      )
    return tokenizer.costs(params, vectors_BxF, codes_BxL, level)

  codes_MxL = reassign(
    check_codes(tokenizer.encode(params, vectors_MxF), codebook_size, num_levels),
    vectors_MxF,
    costs,
    codebook_size,
    taken_NxX[:, :num_levels],
    codebook_size**num_digits,
  ).codes_NxL
  return extend_extra_digits(codes_MxL, codebook_size, taken_NxX) if num_digits else codes_MxL


class _Prices(NamedTuple):
  """Costs of chosen items, computed a block at a time."""

  vectors_NxF: np.ndarray
  costs: Costs
  codebook_size: int

  def rows(
    self, codes_NxL: np.ndarray, rows_R: ArrayLike, level: int
  ) -> Iterator[tuple[int, np.ndarray]]:
    """Each row with its cost_V, in the order given."""
    rows_R = np.asarray(rows_R, np.int64)
    for start in range(0, len(rows_R), BLOCK_SIZE):
      rows_B = rows_R[start : start + BLOCK_SIZE]
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


class _Moved(NamedTuple):
  """What moving at one level did."""

  own: list[np.floating]  # costs there of the codes that the placed items had
  chosen: list[np.floating]  # of the codes that they took
  without_codeword: list[int]  # rows of those that took a code of infinite cost, there or below
  left: list[int]  # rows of the items that found no room


def _move(
  codes_NxL: np.ndarray, waiting: list[int], top: int, occupied: _Occupied, prices: _Prices
) -> _Moved:
  """Gives items new codes from the level `top` on, where their prefix above it has room."""
  own, chosen, placed, left = [], [], [], []
  for row, cost_V in prices.rows(codes_NxL, waiting, top):
    code = occupied.take(codes_NxL[row], top, cost_V)
    if code is None:
      left.append(row)
      continue
    own.append(cost_V[codes_NxL[row, top]])
    chosen.append(cost_V[code])
    codes_NxL[row, top] = code
    placed.append(row)
  finite = np.isfinite(chosen)
  # A place below was reserved for each, so that each level has a code with room.
  for level in range(top + 1, codes_NxL.shape[1]):
    below = []
    for row, cost_V in prices.rows(codes_NxL, placed, level):
      code = occupied.take_below(codes_NxL[row], level, cost_V)
      below.append(cost_V[code])
      codes_NxL[row, level] = code
    finite &= np.isfinite(below)
  unexplained = [row for row, known in zip(placed, finite, strict=True) if not known]
  return _Moved(own, chosen, unexplained, left)


def _settle(
  codes_NxL: np.ndarray, taken_XxL: np.ndarray, prices: _Prices, capacity: int
) -> tuple[_Occupied, np.ndarray]:
  """Lets the nearest items of each tuple keep it: what is occupied, and the others in order."""
  num_taken = len(taken_XxL)
  everything = np.concatenate([taken_XxL, codes_NxL])
  groups = group(everything)
  group_of = groups.group_N
  taken_G = np.bincount(group_of[:num_taken], minlength=len(groups.size_G))
  first = groups.order_N[groups.start_G]
  if taken_G.max(initial=0) > capacity:
    crowded = everything[first[taken_G.argmax()]]
    raise ValueError(
      f"{taken_G.max()} taken items share the tuple {crowded.tolist()}, which may have {capacity}; "
      "make them unique first"
    )
  group_N = group_of[num_taken:]
  rows = np.flatnonzero(groups.size_G[group_N] > capacity)
  last = codes_NxL.shape[1] - 1
  cost = [cost_V[codes_NxL[row, last]] for row, cost_V in prices.rows(codes_NxL, rows, last)]
  rows = rows[np.lexsort((rows, np.array(cost), group_N[rows]))]
  rank = np.arange(len(rows)) - np.searchsorted(group_N[rows], group_N[rows])
  movers_R = rows[rank >= (capacity - taken_G)[group_N[rows]]]
  held_G = np.minimum(groups.size_G, capacity)
  return _Occupied(everything[first], held_G, prices.codebook_size, capacity), movers_R


def _level_report(level: int, own_R: np.ndarray, chosen_R: np.ndarray) -> dict[str, Any]:
  """What moving cost on the level where the codes first changed."""
  known_R = np.isfinite(own_R) & np.isfinite(chosen_R)
  own = own_R[known_R].astype(np.float64)
  extra = chosen_R[known_R].astype(np.float64) - own
  own_mean = float(own.mean()) if len(own) else None
  extra_mean = float(extra.mean()) if len(own) else None
  return {
    "level": level + 1,
    "moved": len(own_R),
    "own_cost_mean": own_mean,
    "extra_cost_mean": extra_mean,
    "extra_cost_max": float(extra.max()) if len(own) else None,
    "extra_relative": extra_mean / own_mean if extra_mean is not None and own_mean else None,
  }
