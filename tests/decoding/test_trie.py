"""The trie against plain Python sets of prefixes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.decoding import trie as trie_lib


@st.composite
def code_tables(draw):
  levels = draw(st.integers(1, 4))
  tokens = st.tuples(*[st.integers(0, draw(st.integers(0, 5))) for _ in range(levels)])
  codes = draw(st.lists(tokens, min_size=1, max_size=30, unique=True))
  return np.array(codes, np.int32).reshape(-1, levels)


@settings(max_examples=40, deadline=None)
@given(code_tables())
def test_paths_children_and_rows_agree_with_prefix_sets(codes):
  trie = trie_lib.build_trie(codes)
  path = np.asarray(trie_lib.paths(trie))
  row_start = np.asarray(trie.row_E)
  sorted_codes = sorted(map(tuple, codes.tolist()))
  assert [tuple(codes[i]) for i in np.asarray(trie.item_N)] == sorted_codes
  np.testing.assert_array_equal(np.asarray(trie.row_of_N)[trie.item_N], np.arange(len(codes)))
  for item, code in enumerate(map(tuple, codes.tolist())):
    for depth in range(codes.shape[1]):
      prefix = code[:depth]
      below = [c for c in sorted_codes if c[:depth] == prefix]
      node = path[item, depth]
      assert sorted_codes[row_start[node] : row_start[node + 1]] == below
      token, child, real = map(
        np.asarray, trie_lib.children(trie, np.int32(node), trie.fan_outs[depth])
      )
      assert token[real].tolist() == sorted({c[depth] for c in below})
      assert path[item, depth + 1] in child[real]
  assert (path[:, 0] == trie_lib.ROOT).all()
  np.testing.assert_array_equal(path[:, -1] - trie.depth_offsets[-1], trie.row_of_N)


def test_fan_outs_are_tight():
  trie = trie_lib.build_trie(np.array([[0, 0], [0, 1], [0, 2], [5, 0]]))
  assert trie.fan_outs == (2, 3)


def test_duplicates_are_refused_by_name():
  with pytest.raises(ValueError, match=r"items 1 and 3 share the semantic ID \[2, 7\]"):
    trie_lib.build_trie(np.array([[1, 1], [2, 7], [3, 3], [2, 7]]))


@pytest.mark.parametrize("codes", [np.zeros((0, 3), int), np.zeros((3, 0), int)])
def test_empty_catalogue_is_refused(codes):
  with pytest.raises(ValueError, match="at least one item"):
    trie_lib.build_trie(codes)


def test_negative_token_is_refused():
  with pytest.raises(ValueError, match="token -1 is negative"):
    trie_lib.build_trie(np.array([[0, -1]]))


def test_a_trie_of_some_items_leads_to_them_alone():
  codes = np.random.default_rng(0).permutation(np.stack(np.divmod(np.arange(16), 4), axis=1))
  among = np.arange(16) % 3 == 0
  trie = trie_lib.build_trie(codes, among)
  alone = trie_lib.build_trie(codes[among])
  for name in ("token_E", "child_E", "row_E"):
    np.testing.assert_array_equal(getattr(trie, name), getattr(alone, name))
  rows = np.flatnonzero(among)
  np.testing.assert_array_equal(trie.item_N, rows[np.asarray(alone.item_N)])
  np.testing.assert_array_equal(np.asarray(trie.row_of_N)[rows], alone.row_of_N)
  assert (np.asarray(trie.row_of_N)[~among] >= len(rows)).all()
  np.testing.assert_array_equal(np.asarray(trie.codes_NxL), codes)
  assert trie.num_items == 16  # the others stand in histories
  with pytest.raises(ValueError, match="a trie of no items"):
    trie_lib.build_trie(codes, np.zeros(16, bool))
