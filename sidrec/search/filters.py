"""Which items a request may get, decided inside the search by counting rows.

Here R counts the rows of the trie.

A node covers a range of the trie's rows, and two binary searches in a request's sorted rows count
how many of them lie in it. So a prefix without an allowed item never takes a beam.
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


def any_allowed(trie: Trie, node_BxKxC: jax.Array, rows: RowFilter) -> jax.Array:
  """Which nodes lead to at least one item that the request may get: bool [B, K, C]."""
  first, stop = rows_below(trie, node_BxKxC)
  listed = _count_below(rows.row_BxJ, stop) - _count_below(rows.row_BxJ, first)
  return jnp.where(rows.allows, listed > 0, listed < stop - first)


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
