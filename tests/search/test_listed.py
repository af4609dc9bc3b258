"""Children that lead to listed items, against the count of listed rows below each of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import all_codes

from sidrec.catalogue.trie.resize import with_room, without_items
from sidrec.catalogue.trie.trie import ROOT, build_trie, children
from sidrec.search.filters import RowFilter, any_allowed, make_filter
from sidrec.search.listed import allowed_children, listed_nodes

LEVELS, CODES = 3, 4
ALL = np.random.default_rng(5).permutation(all_codes(LEVELS, CODES))


@functools.cache
def whole_trie(every_prefix):
  return with_room(build_trie(ALL, every_prefix=every_prefix))


@functools.partial(jax.jit, static_argnums=3)
def compared(trie, rows, node_BxK, level):
  """What `allowed_children` says, what counting says, and which children are real."""
  listed = listed_nodes(trie, rows, trie.num_levels)
  found = children(trie, node_BxK, trie.fan_outs[level], level)
  said = allowed_children(trie, listed, node_BxK, found, level)
  return said, any_allowed(trie, found.node, rows), found


@settings(max_examples=60)
@given(
  st.sets(st.integers(0, len(ALL) - 1), min_size=1, max_size=len(ALL)),
  st.lists(st.lists(st.integers(-1, len(ALL) + 2), max_size=40), min_size=2, max_size=2),
  st.booleans(),
  st.booleans(),
)
def test_a_child_is_allowed_as_its_rows_are(items, lists, every_prefix, allows):
  trie = without_items(whole_trie(every_prefix), sorted({*range(len(ALL))} - items))
  listed_BxJ = np.full((2, 40), -1, np.int32)
  for row, items in enumerate(lists):
    listed_BxJ[row, : len(items)] = items
  rows = make_filter(trie, None, listed_BxJ) if allows else make_filter(trie, listed_BxJ, None)
  node_BxK = jnp.full((2, 1), ROOT)
  for level in range(trie.num_levels):
    said, counted, found = compared(trie, rows, node_BxK, level)
    traced = RowFilter(rows.row_BxJ, jnp.asarray(rows.allows))
    again, _, _ = compared(trie, traced, node_BxK, level)
    real = found.real & ((node_BxK != ROOT) | (level == 0))[..., None]
    np.testing.assert_array_equal(said[real], counted[real])
    np.testing.assert_array_equal(again[real], counted[real])
    # All nodes of the next depth, each twice, and a dead beam among them.
    node_K = np.unique(np.where(real, found.node, ROOT))
    node_K = np.pad(node_K, (1, len(ALL) - len(node_K)), constant_values=ROOT)
    node_BxK = jnp.asarray([node_K, node_K[::-1]]).repeat(2, axis=1)


def test_items_that_the_trie_lost_decide_nothing():
  trie = without_items(whole_trie(True), [0, 1])
  rows = make_filter(trie, jnp.asarray([[0, 1, 2]]), None)
  alone = make_filter(trie, jnp.asarray([[2, -1, -1]]), None)
  first = listed_nodes(trie, rows, 3).node_BxLxJ[0, -1]
  assert sorted(first[first >= 0]) == sorted(
    set(np.ravel(listed_nodes(trie, alone, 3).node_BxLxJ[0, -1])) - {-1}
  )


@pytest.mark.parametrize("allows", [False, True])
def test_levels_may_be_traced(allows):
  trie = build_trie(ALL)
  lists = jnp.asarray(np.random.default_rng(0).integers(0, len(ALL), (3, 20)))
  rows = make_filter(trie, None, lists) if allows else make_filter(trie, lists, None)
  node_BxK = jnp.broadcast_to(children(trie, jnp.int32(ROOT), 4, 0).node[None], (3, 4))

  @jax.jit
  def said(level):
    listed = listed_nodes(trie, rows, trie.num_levels)
    found = children(trie, node_BxK, 4, level)
    return allowed_children(trie, listed, node_BxK, found, level)

  np.testing.assert_array_equal(said(1), compared(trie, rows, node_BxK, 1)[1])
