"""The trie against plain Python sets of prefixes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.catalogue.trie import trie as trie_lib


@st.composite
def code_tables(draw):
  levels = draw(st.integers(1, 4))
  tokens = st.tuples(*[st.integers(0, draw(st.integers(0, 5))) for _ in range(levels)])
  codes = draw(st.lists(tokens, min_size=1, max_size=30, unique=True))
  return np.array(codes, np.int32).reshape(-1, levels)


@settings(max_examples=60)
@given(code_tables(), st.booleans())
def test_paths_children_and_rows_agree_with_prefix_sets(codes, every_prefix):
  trie = trie_lib.build_trie(codes, every_prefix=every_prefix)
  path = np.asarray(trie_lib.paths(trie))
  sorted_codes = sorted(map(tuple, codes.tolist()))
  assert [tuple(codes[i]) for i in np.asarray(trie.item_N)] == sorted_codes
  np.testing.assert_array_equal(np.asarray(trie.row_of_N)[trie.item_N], np.arange(len(codes)))
  for item, code in enumerate(map(tuple, codes.tolist())):
    for depth in range(codes.shape[1]):
      prefix = code[:depth]
      below = [c for c in sorted_codes if c[:depth] == prefix]
      node = path[item, depth]
      first, stop = trie_lib.rows_below(trie, node)
      assert sorted_codes[int(first) : int(stop)] == below
      token, child, real = map(
        np.asarray, trie_lib.children(trie, np.int32(node), trie.fan_outs[depth], depth)
      )
      assert token[real].tolist() == sorted({c[depth] for c in below})
      assert path[item, depth + 1] in child[real]
  assert (path[:, 0] == trie_lib.ROOT).all()
  np.testing.assert_array_equal(path[:, -1] - trie.depth_offsets[-1], trie.row_of_N)
  np.testing.assert_array_equal(np.asarray(trie.codes_NxL), codes)


@settings(max_examples=40)
@given(code_tables())
def test_every_prefix_has_an_id_of_its_own_or_shares_its_only_rows(codes):
  prefixes = {(*code[:depth], depth) for code in codes.tolist() for depth in range(len(code) + 1)}
  path = trie_lib.row_paths(trie_lib.build_on_host(codes))
  assert len(np.unique(path)) == len(prefixes)
  # Breadth first: ids of a depth follow those of the depth before, in the order of rows.
  assert (np.diff(path, axis=1) > 0).all()
  assert (np.diff(path, axis=0) >= 0).all()
  trie = trie_lib.build_on_host(codes, every_prefix=False)
  path = trie_lib.row_paths(trie)
  for depth in range(1, codes.shape[1] + 1):
    # Ids are equal exactly where prefixes are.
    prefix = codes[np.asarray(trie.item_N)][:, :depth]
    same_id = path[:, depth][:, None] == path[:, depth][None]
    np.testing.assert_array_equal(same_id, (prefix[:, None] == prefix[None]).all(axis=-1))


def test_tails_and_branches_into_rows_have_no_nodes():
  # Below 0: two rows at once. Below 1: a chain of one item. Below 2: 2 0 * branches later.
  codes = np.array([[0, 0, 0], [0, 1, 2], [1, 3, 3], [2, 0, 0], [2, 0, 1], [2, 4, 4]])
  trie = trie_lib.build_trie(codes, every_prefix=False)
  base = trie.first_row_node
  path = trie_lib.row_paths(trie)
  assert (path[:3, 2] == base + np.arange(3)).all()
  assert path[3, 2] == path[4, 2] < base
  assert path[5, 2] < base  # a sibling of a node is a node
  assert path[5, 3] == base + 5
  # Root, 0 1 2, 2 0 and 2 4, and one closing node per depth.
  assert base == 1 + 3 + 2 + 3
  assert trie_lib.build_trie(codes).first_row_node == 1 + 3 + 5 + 3


def test_random_codes_take_few_bytes():
  codes = np.unique(np.random.default_rng(0).integers(0, 64, (20_000, 8)), axis=0)
  trie = trie_lib.build_on_host(codes, every_prefix=False)
  assert trie.codes_NxL.word_NxW.nbytes == 8 * len(codes)
  assert trie.num_bytes < 20.5 * len(codes)
  assert trie_lib.build_on_host(codes).num_bytes > 60 * len(codes)


@pytest.mark.parametrize(
  ("codebook_size", "dtype"),
  [(2**8, np.uint8), (2**8 + 1, np.uint16), (2**16, np.uint16), (2**16 + 1, np.int32)],
)
def test_tokens_of_nodes_take_as_few_bytes_as_their_codebook_allows(codebook_size, dtype):
  first = [0, codebook_size // 2, codebook_size - 1]
  trie = trie_lib.build_trie(np.array([[token, last] for token in first for last in (0, 1)]))
  assert trie.token_E.dtype == dtype
  token, _, real = trie_lib.children(trie, np.int32(trie_lib.ROOT), 3, 0)
  assert np.asarray(token)[np.asarray(real)].tolist() == first


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


def test_token_beyond_the_codebook_is_refused():
  with pytest.raises(ValueError, match="token 7 is not below the codebook's size, 7"):
    trie_lib.build_trie(np.array([[0, 7]]), codebook_size=7)


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
