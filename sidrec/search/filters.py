"""Which items a request may get, decided inside the search by counting rows.

Here R counts the rows of the trie.

A node covers a range of the trie's rows, and two binary searches in a request's sorted rows count
how many of them lie in it. So a prefix without an allowed item never takes a beam.

Lists are sorted in each search. Where they would hold a large part of a catalogue, a bit for each
row says the same, of any number of items in one shape.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.trie import Trie, rows_below
from sidrec.core.item_rows import as_int32, check_dtype, from_lists, widened
from sidrec.core.vocabulary import NO_ITEM

_NARROWEST = 16


class Filters(NamedTuple):
  """What each request may get; `padded_lists` makes such arrays of lists.

  int32 item rows in any order, repeats allowed, filled up with NO_ITEM (-1). Rows that the
  catalogue does not have match nothing. None is no such list.
  """

  forbidden_BxJ: jax.Array | None = None  # never returned: seen, out of stock
  allowed_BxJ: jax.Array | None = None  # the only items returned: a shop, a category, new ones


NO_FILTERS = Filters()


class RowBits(NamedTuple):
  """What each request may get, as a bit for each row of the trie; `row_bits` makes them."""

  word_BxX: jax.Array  # uint32, X words of 32 rows, the first row in the lowest bit


def checked(filters: Filters, num_requests: int) -> Filters:
  """The filters as arrays, for so many requests; Python lists of item rows will do.

  Raises:
    TypeError: for a mask, or anything else than signed integers.
    ValueError: for lists of another number of requests.
  """
  if not isinstance(filters, Filters):
    raise TypeError(f"filters are a {type(filters).__name__}; give sidrec.Filters(…)")
  return Filters(
    *(_checked(f"filters.{name}", x, num_requests) for name, x in filters._asdict().items())
  )


def _checked(what: str, item_BxJ: Any, num_requests: int) -> Any:
  if item_BxJ is None:
    return None
  if not isinstance(item_BxJ, (np.ndarray, jax.Array)):
    item_BxJ = padded_lists(item_BxJ)
  check_dtype(what, item_BxJ)
  if item_BxJ.ndim != 2 or item_BxJ.shape[0] != num_requests:
    raise ValueError(
      f"{what} has shape {item_BxJ.shape}; give [{num_requests}, items], a row for each history"
    )
  return as_int32(item_BxJ) if isinstance(item_BxJ, np.ndarray) else item_BxJ


class RowFilter(NamedTuple):
  """Holds each request's listed rows."""

  row_BxJ: jax.Array  # int32, sorted, each once, filled up with num_items
  # Whether the listed rows are the allowed ones, or the forbidden ones; may be traced.
  allows: bool | jax.Array


class BitFilter(NamedTuple):
  """Counts each request's allowed rows in any range."""

  word_BxX: jax.Array  # as in `RowBits`
  before_BxX: jax.Array  # int32, allowed rows before each word


def filter_of(trie: Trie, filters: Filters | RowBits) -> RowFilter | BitFilter | None:
  """What a search asks for each node; None where all items are allowed."""
  if isinstance(filters, Filters):
    return make_filter(trie, filters.forbidden_BxJ, filters.allowed_BxJ)
  count_BxX = jax.lax.population_count(filters.word_BxX).astype(jnp.int32)
  return BitFilter(filters.word_BxX, jnp.cumsum(count_BxX, axis=1) - count_BxX)


def make_filter(
  trie: Trie, forbidden_BxJ: jax.Array | None, allowed_BxJ: jax.Array | None
) -> RowFilter | None:
  """The filter for lists of item rows, in any order, with repeats, filled up with NO_ITEM.

  Args:
    trie: the catalogue.
    forbidden_BxJ: items not to return; None for none.
    allowed_BxJ: the only items to return, less the forbidden ones; None for all. A list without
      items allows none.
  """
  if allowed_BxJ is None:
    return None if forbidden_BxJ is None else RowFilter(_sorted_rows(trie, forbidden_BxJ), False)
  row_BxJ = _sorted_rows(trie, allowed_BxJ)
  if forbidden_BxJ is not None:
    banned_BxJ = _sorted_rows(trie, forbidden_BxJ)
    at_BxJ = jnp.minimum(_count_below(banned_BxJ, row_BxJ), banned_BxJ.shape[1] - 1)
    banned = jnp.take_along_axis(banned_BxJ, at_BxJ, axis=1) == row_BxJ
    row_BxJ = jnp.sort(jnp.where(banned, trie.num_items, row_BxJ), axis=1)
  return RowFilter(row_BxJ, True)


def any_allowed(trie: Trie, node_BxKxC: jax.Array, rows: RowFilter | BitFilter) -> jax.Array:
  """Which nodes lead to at least one item that the request may get: bool [B, K, C]."""
  first, stop = rows_below(trie, node_BxKxC)
  if isinstance(rows, BitFilter):
    return jax.vmap(_bits_before)(rows, stop) > jax.vmap(_bits_before)(rows, first)
  listed = _count_below(rows.row_BxJ, stop) - _count_below(rows.row_BxJ, first)
  return jnp.where(rows.allows, listed > 0, listed < stop - first)


def is_allowed(trie: Trie, item_BxK: jax.Array, rows: RowFilter | BitFilter) -> jax.Array:
  """Which of these items each request may get: bool [B, K]; of rows that are no items, anything."""
  row_BxK = trie.row_of_N[jnp.maximum(item_BxK, 0)]
  return any_allowed(trie, trie.first_row_node + row_BxK, rows)


def allowed_items(trie: Trie, rows: RowFilter | BitFilter) -> jax.Array:
  """Which items each request may get, whether the trie has them or not: bool [B, N]."""
  num_rows, num_items = trie.item_N.shape[0], trie.num_items
  if isinstance(rows, BitFilter):
    row_N = jnp.minimum(trie.row_of_N, num_rows)
    shift_1xN = (row_N & 31).astype(jnp.uint32)[None]
    return (rows.word_BxX[:, row_N >> 5] >> shift_1xN) & 1 > 0
  item_BxJ = trie.item_N[jnp.minimum(rows.row_BxJ, num_rows - 1)]
  item_BxJ = jnp.where(rows.row_BxJ < num_rows, item_BxJ, num_items)
  none_BxN = jnp.zeros((len(item_BxJ), num_items), bool)
  at_Bx1 = jnp.arange(len(item_BxJ))[:, None]
  return none_BxN.at[at_Bx1, item_BxJ].set(True, mode="drop") == rows.allows


def num_words(trie: Trie) -> int:
  """X of a trie's row bits; one row more than there are has a bit, which padding of nodes asks."""
  return (trie.item_N.shape[0] + 1) // 32 + 1


def row_bits(
  row_of_N: np.ndarray, words: int, listed: Sequence[np.ndarray], allows: Sequence[bool]
) -> np.ndarray:
  """The bits of some requests, on the host: uint32 [B, X].

  Args:
    row_of_N: `trie.row_of_N`.
    words: X, of `num_words`.
    listed: item rows of each request, in any order; NO_ITEM is none.
    allows: whether they are the only ones that it may get, or those that it may not.
  """
  bit_BxX = np.zeros((len(listed), words * 32), bool)
  for bit_X, item_J, allowed in zip(bit_BxX, listed, allows, strict=True):
    bit_X[:] = not allowed
    row_J = row_of_N[item_J[item_J != NO_ITEM]]
    bit_X[row_J[row_J < len(bit_X)]] = allowed  # items that the trie lacks are behind its rows
  return np.packbits(bit_BxX, axis=1, bitorder="little").view("<u4").astype(np.uint32)


def padded_lists(lists: Sequence[Sequence[int]]) -> np.ndarray:
  """Lists of item rows as one array of few widths, so that few searches are compiled.

  Returns:
    int32 [B, 16 · 4^n], filled up with NO_ITEM. Rows that no int32 holds are NO_ITEM, too.

  Raises:
    TypeError: unless there is a list of integers for each request.
  """
  item_BxJ = as_int32(from_lists("lists of items", lists))
  longest = item_BxJ.shape[1]
  more = list_width(longest, _NARROWEST) - longest
  return np.pad(item_BxJ, ((0, 0), (0, more)), constant_values=NO_ITEM)


def list_width(longest: int, narrowest: int) -> int:
  """The columns of padded lists: the first of narrowest · 4^n that holds the longest."""
  width = narrowest
  while width < longest:
    width *= 4
  return width


def _sorted_rows(trie: Trie, item_BxJ: jax.Array) -> jax.Array:
  """Rows of the items, sorted, each once; num_items fills up, at least one column."""
  item_BxJ = widened(item_BxJ)
  is_item_BxJ = (item_BxJ >= 0) & (item_BxJ < trie.num_items)
  row_BxJ = jnp.where(
    is_item_BxJ, trie.row_of_N[jnp.where(is_item_BxJ, item_BxJ, 0)], trie.num_items
  )
  row_BxJ = jnp.pad(row_BxJ, ((0, 0), (0, not row_BxJ.shape[1])), constant_values=trie.num_items)
  row_BxJ = jnp.sort(row_BxJ, axis=1)
  repeat_BxJ = jnp.concatenate(
    [jnp.zeros_like(row_BxJ[:, :1], bool), row_BxJ[:, 1:] == row_BxJ[:, :-1]], axis=1
  )
  return jnp.sort(jnp.where(repeat_BxJ, trie.num_items, row_BxJ), axis=1)


def _count_below(sorted_BxJ: jax.Array, row: jax.Array) -> jax.Array:
  return jax.vmap(jnp.searchsorted)(sorted_BxJ, row)


def _bits_before(rows: BitFilter, row: jax.Array) -> jax.Array:
  """The allowed rows below each row, of one request."""
  at = row >> 5
  below = (jnp.uint32(1) << (row & 31).astype(jnp.uint32)) - jnp.uint32(1)
  inside = jax.lax.population_count(rows.word_BxX[at] & below).astype(jnp.int32)
  return rows.before_BxX[at] + inside
