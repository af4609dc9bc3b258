"""Which items a request may get, decided inside the search by counting rows.

Letters: B requests, M listed items of each, R rows of the trie.

A node covers a range of the trie's rows, and two binary searches in a request's sorted rows count
how many of them lie in it. So a prefix that leads to no item one may get never takes a beam.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.trie import Trie, rows_below
from sidrec.core.vocabulary import NO_ITEM

_NARROWEST = 16


class RowFilter(NamedTuple):
  """Holds each request's listed rows."""

  row_BxM: jax.Array  # int32, sorted, each once; num_items fills up
  allows: bool  # whether the listed rows are those one may get, or those one may not


def make_filter(
  trie: Trie, forbidden_BxM: jax.Array | None, allowed_BxM: jax.Array | None
) -> RowFilter | None:
  """The filter for lists of item rows, in any order, with repeats, filled up with NO_ITEM.

  Args:
    trie: the catalogue.
    forbidden_BxM: items not to return; None for none.
    allowed_BxM: the only items to return, less the forbidden ones; None for all. A list without
      items allows none.
  """
  if allowed_BxM is None:
    return None if forbidden_BxM is None else RowFilter(_sorted_rows(trie, forbidden_BxM), False)
  row_BxM = _sorted_rows(trie, allowed_BxM)
  if forbidden_BxM is not None:
    banned_BxM = _sorted_rows(trie, forbidden_BxM)
    at_BxM = jnp.minimum(_count_below(banned_BxM, row_BxM), banned_BxM.shape[1] - 1)
    banned = jnp.take_along_axis(banned_BxM, at_BxM, axis=1) == row_BxM
    row_BxM = jnp.sort(jnp.where(banned, trie.num_items, row_BxM), axis=1)
  return RowFilter(row_BxM, True)


def any_allowed(trie: Trie, node_BxKxF: jax.Array, rows: RowFilter) -> jax.Array:
  """Which nodes lead to at least one item that the request may get: bool [B, K, F]."""
  first, stop = rows_below(trie, node_BxKxF)
  listed = _count_below(rows.row_BxM, stop) - _count_below(rows.row_BxM, first)
  return listed > 0 if rows.allows else listed < stop - first


def padded_lists(lists: Sequence[Sequence[int]]) -> np.ndarray:
  """Lists of item rows as one array of few widths, so that few searches are compiled.

  Returns:
    int32 [B, 16 · 4^n], filled up with NO_ITEM.
  """
  width, longest = _NARROWEST, max(map(len, lists), default=0)
  while width < longest:
    width *= 4
  item_BxM = np.full((len(lists), width), NO_ITEM, np.int32)
  for row_M, items in zip(item_BxM, lists, strict=True):
    row_M[: len(items)] = items
  return item_BxM


def _sorted_rows(trie: Trie, item_BxM: jax.Array) -> jax.Array:
  """Rows of the items, sorted, each once; num_items fills up, at least one column."""
  row_BxM = jnp.where(item_BxM >= 0, trie.row_of_N[jnp.maximum(item_BxM, 0)], trie.num_items)
  row_BxM = jnp.pad(row_BxM, ((0, 0), (0, not row_BxM.shape[1])), constant_values=trie.num_items)
  row_BxM = jnp.sort(row_BxM, axis=1)
  repeat_BxM = jnp.concatenate(
    [jnp.zeros_like(row_BxM[:, :1], bool), row_BxM[:, 1:] == row_BxM[:, :-1]], axis=1
  )
  return jnp.sort(jnp.where(repeat_BxM, trie.num_items, row_BxM), axis=1)


def _count_below(sorted_BxM: jax.Array, row: jax.Array) -> jax.Array:
  return jax.vmap(jnp.searchsorted)(sorted_BxM, row)
