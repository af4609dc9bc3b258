"""Followers are the strongest by their formula, however the histories come."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_histories

from sidrec.core.vocabulary import NO_ITEM
from sidrec.features.cooccurrence import following_counts
from sidrec.features.nearest_followers import nearest_followers


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 6), max_size=9), min_size=1, max_size=6), st.integers(1, 8))
def test_nearest_followers_are_the_strongest(rows, count):
  histories = make_histories(rows)
  follower_NxR, similarity_NxR = nearest_followers([histories], 7, count, window=3)
  counts = np.maximum(np.bincount(histories.item_T, minlength=7), 1.0)
  following = following_counts(histories, 7, 3).toarray()
  similarity = following / (counts[:, None] ** 0.5 * counts[None] ** 0.25)
  for item in range(7):
    order = np.argsort(-similarity[item], kind="stable")
    expected = [row for row in order if following[item, row]][:count]
    found = follower_NxR[item]
    assert (found[len(expected) :] == NO_ITEM).all()
    assert not similarity_NxR[item, len(expected) :].any()
    np.testing.assert_allclose(
      similarity_NxR[item, : len(expected)], similarity[item, expected], rtol=1e-5
    )
    assert sorted(found[: len(expected)]) == sorted({*found[: len(expected)].tolist()})
    np.testing.assert_allclose(
      similarity[item, found[: len(expected)]], similarity[item, expected], rtol=1e-5
    )
  assert (follower_NxR.dtype, similarity_NxR.dtype) == (np.int32, np.float32)


def test_of_equally_strong_followers_the_first_rows_are_kept():
  histories = make_histories([[0, 3], [0, 2], [0, 1]])
  follower_NxR, _ = nearest_followers([histories], 4, 2)
  assert follower_NxR[0].tolist() == [1, 2]


@pytest.mark.parametrize("pairs_at_once", [1, 7, 40, 10_000])
def test_neither_parts_nor_ranges_change_a_bit(pairs_at_once):
  rng = np.random.default_rng(0)
  # Item 0 has more pairs than a range may hold; items 9 and 10 have none.
  rows = [np.where(rng.random(n) < 0.4, 0, rng.integers(0, 9, n)) for n in range(1, 30)]
  whole = nearest_followers([make_histories(rows)], 11, 5)
  parts = [make_histories(rows[at : at + 4]) for at in range(0, len(rows), 4)]
  counted = nearest_followers(parts, 11, 5, pairs_at_once=pairs_at_once)
  for one, other in zip(whole, counted, strict=True):
    np.testing.assert_array_equal(one, other)
  assert (whole[0][:9] != NO_ITEM).all()
  assert (whole[0][9:] == NO_ITEM).all()


def test_an_item_outside_the_catalogue_is_refused():
  with pytest.raises(ValueError, match="outside the catalogue of 3 items"):
    nearest_followers([make_histories([[0, 3]])], 3, 2)
