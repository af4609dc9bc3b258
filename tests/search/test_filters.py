"""Allowed and forbidden items inside the search, against plain loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_model import CODES, LEVELS, TableModel, beam_by_hand, log_p, make_table
from tiny import all_codes

from sidrec.catalogue.trie.resize import with_room, without_items
from sidrec.catalogue.trie.trie import build_trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.search import beam
from sidrec.search.filters import (
  Filters,
  RowBits,
  checked,
  make_filter,
  num_words,
  padded_lists,
  row_bits,
)
from sidrec.search.settings import SearchConfig

ALL = np.random.default_rng(5).permutation(all_codes(LEVELS, CODES))
TABLE, SCALES = make_table(), np.array([[1], [-2]], np.int32)


@functools.cache
def whole_trie(every_prefix):
  return with_room(build_trie(ALL, every_prefix=every_prefix))


@functools.partial(jax.jit, static_argnames="beams")
def search(trie, forbidden, allowed, beams):
  return beam.search(
    TableModel(),
    {"table": TABLE},
    trie,
    SCALES,
    SearchConfig(beams=beams),
    Filters(forbidden, allowed),
  )


subsets = st.lists(st.integers(0, len(ALL) - 1), max_size=16)
catalogues = st.one_of(
  st.sets(st.integers(0, len(ALL) - 1), min_size=1, max_size=6),  # chains, a single item
  st.sets(st.integers(0, len(ALL) - 1), min_size=20),
)


@settings(max_examples=60)
@given(
  catalogues,
  st.none() | st.tuples(subsets, subsets),
  st.none() | st.tuples(subsets, subsets),
  st.sampled_from([1, 5, 64]),
  st.booleans(),
)
def test_search_equals_plain_loops(catalogue, forbidden, allowed, beams, every_prefix):
  """Random catalogues and lists; K below and above the number of items that are left."""
  gone = np.setdiff1d(np.arange(len(ALL)), list(catalogue))
  trie = without_items(whole_trie(every_prefix), gone)
  as_array = lambda lists: None if lists is None else padded_lists(lists)
  result = jax.tree.map(
    np.asarray, search(trie, as_array(forbidden), as_array(allowed), beams=beams)
  )
  rows = np.array(sorted(catalogue))
  for b, scale in enumerate(SCALES[:, 0]):
    may = np.ones(len(rows), bool) if allowed is None else np.isin(rows, allowed[b])
    if forbidden is not None:
      may &= ~np.isin(rows, forbidden[b])
    found = rows[beam_by_hand(TABLE, scale, ALL[rows], may, beams)].tolist() if may.any() else []
    assert result.item_BxK[b].tolist() == found + [-1] * (beams - len(found))
    assert result.valid_BxK[b].sum() == len(found)
    expected = log_p(TABLE, scale, ALL[rows])[np.searchsorted(rows, found)]
    np.testing.assert_allclose(result.score_BxK[b, : len(found)], expected, atol=1e-4)
    assert np.isneginf(result.score_BxK[b, len(found) :]).all()


@functools.partial(jax.jit, static_argnames="beams")
def search_bits(trie, word_BxX, beams):
  config = SearchConfig(beams=beams)
  return beam.search(TableModel(), {"table": TABLE}, trie, SCALES, config, RowBits(word_BxX))


@settings(max_examples=20)
@given(
  catalogues,
  st.lists(st.integers(-1, len(ALL) - 1), max_size=60),
  st.booleans(),
)
def test_bits_are_what_lists_are(catalogue, listed, every_prefix):
  """A request that may get some items alone, and one that may get all others."""
  gone = np.setdiff1d(np.arange(len(ALL)), list(catalogue))
  trie = without_items(whole_trie(every_prefix), gone)
  listed = np.array(listed, np.int32)
  words = row_bits(np.asarray(trie.row_of_N), num_words(trie), [listed, listed], [True, False])
  found = search_bits(trie, words, beams=5)
  lists = np.pad(np.tile(listed, (2, 1)), ((0, 0), (0, 60 - len(listed))), constant_values=NO_ITEM)
  for at, expected in enumerate(
    (search(trie, None, lists, beams=5), search(trie, lists, None, beams=5))
  ):
    for mine, its in zip(found, expected, strict=True):
      assert mine[at].tolist() == its[at].tolist()


def test_a_prefix_without_allowed_items_takes_no_beam():
  """With one beam, a filter that came after the search would leave nothing."""
  order = np.argsort(-log_p(TABLE, 1, ALL))
  best_prefix = ALL[order[0], 0]
  allowed = [row for row in order if ALL[row, 0] != best_prefix][5:6] * 2
  result = search(whole_trie(False), None, padded_lists([allowed[:1]] * 2), beams=1)
  assert result.item_BxK[:, 0].tolist() == allowed


def test_rows_of_listed_items_are_sorted_and_stand_once_each():
  trie = whole_trie(False)
  item_of = np.asarray(trie.item_N)
  forbidden = item_of[np.array([[9, 2, 9, 5], [0, 63, 1, 7]])].astype(np.int32)
  rows, allows = make_filter(trie, forbidden, None)
  assert not allows
  assert rows.tolist() == [[2, 5, 9, 64], [0, 1, 7, 63]]
  allowed = np.where(np.arange(5) < 3, item_of[[[7, 9, 5, 0, 0], [63, 2, 7, 0, 0]]], NO_ITEM)
  rows, allows = make_filter(trie, None, allowed)
  assert allows
  assert rows.tolist() == [[5, 7, 9, 64, 64], [2, 7, 63, 64, 64]]
  # Less the forbidden ones, which fill their lists: also the last row of all.
  rows, _ = make_filter(trie, forbidden, allowed)
  assert rows.tolist() == [[7, 64, 64, 64, 64], [2, 64, 64, 64, 64]]


def test_lists_without_columns():
  none = np.zeros((2, 0), np.int32)
  assert search(whole_trie(False), none, None, beams=5).valid_BxK.all()
  assert not search(whole_trie(False), None, none, beams=5).valid_BxK.any()


@pytest.mark.parametrize("every_prefix", [True, False])
def test_a_codebook_of_one(every_prefix):
  trie = build_trie(np.zeros((1, 3), int), every_prefix=every_prefix)
  result = search(trie, None, None, beams=2)
  assert result.item_BxK.tolist() == [[0, -1]] * 2
  np.testing.assert_array_equal(result.score_BxK[:, 0], 0.0)
  assert not search(trie, padded_lists([[0], [0]]), None, beams=2).valid_BxK.any()


def test_lists_are_padded_to_few_widths():
  lists = padded_lists([[3, 1], []])
  assert lists.shape == (2, 16)
  assert lists[0].tolist() == [3, 1] + [NO_ITEM] * 14
  assert (lists[1] == NO_ITEM).all()
  assert [padded_lists([range(n)]).shape[1] for n in (0, 16, 17, 64, 65)] == [16, 16, 64, 64, 256]
  assert jnp.asarray(lists).dtype == jnp.int32


LISTS = np.full((2, 3), NO_ITEM, np.int32)


@pytest.mark.parametrize("rows", [[3, 1_000_000, 64], [3, -7, NO_ITEM], [3, 2**31 - 1, -(2**31)]])
@pytest.mark.parametrize("traced", [False, True])
def test_rows_outside_the_catalogue_match_nothing(rows, traced):
  lists = np.array([rows] * 2)
  lists = jnp.asarray(lists, jnp.int32) if traced else lists
  only = search(whole_trie(False), None, lists, beams=5)
  assert only.item_BxK.tolist() == [[3, -1, -1, -1, -1]] * 2
  without = search(whole_trie(False), lists, None, beams=64)
  assert [sorted(set(range(64)) - set(row)) for row in without.item_BxK.tolist()] == [[3]] * 2


def test_wide_rows_do_not_wrap():
  lists = checked(Filters(None, np.array([[3, 2**32 + 5]] * 2)), 2).allowed_BxJ
  assert lists.tolist() == [[3, -1]] * 2
  assert padded_lists([[3, 2**40], [2**32]])[:, :2].tolist() == [[3, -1], [-1, -1]]


@pytest.mark.parametrize(
  ("lists", "error", "message"),
  [
    (np.ones((2, 64), bool), TypeError, "filters.allowed_BxJ are bool; give item rows instead of"),
    (LISTS.astype(np.uint32), TypeError, "filters.allowed_BxJ are uint32; give item rows as int32"),
    (LISTS.astype(np.float32), TypeError, "filters.allowed_BxJ are float32"),
    (LISTS[:1], ValueError, r"has shape \(1, 3\); give \[2, items\], a row for each history"),
    (LISTS[0], ValueError, r"has shape \(3,\)"),
    ([[1]], ValueError, r"give \[2, items\], a row for each history"),
    ([1, 2], TypeError, "give a list of item rows for each request"),
    ([[1], ["a"]], TypeError, "give item rows as int32"),
    ([[1], [[2], [3, 4]]], TypeError, "hold lists in lists"),
    ({1, 2}, TypeError, "a list per request"),
    ("ab", TypeError, "a list per request"),
  ],
)
def test_what_is_no_list_of_rows_is_refused(lists, error, message):
  with pytest.raises(error, match=message):
    checked(Filters(None, lists), 2)
  if isinstance(lists, np.ndarray) and lists.ndim == 2:  # also where no values are known
    with pytest.raises(error, match=message):
      search(whole_trie(False), None, lists, beams=2)


def test_filters_of_another_type_are_refused():
  with pytest.raises(TypeError, match=r"filters are a list; give sidrec.Filters"):
    checked([[1]], 1)


def test_lists_of_lists_will_do():
  assert checked(Filters([[3, 1], []]), 2).forbidden_BxJ.shape == (2, 16)
