"""Similarity to the latest items, against the formula written out."""

import numpy as np
import pytest
from similarity_by_hand import similarities
from tiny import make_histories

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import last_items
from sidrec.models.histories import LATEST, latest_items
from sidrec.search.results import Recommendations
from sidrec.search.similarity import (
  AMONG,
  SEARCH_WEIGHT,
  UnitVectors,
  by_similarity,
  log_similarity,
  similarity_of,
)

rng = np.random.default_rng(0)
DRAWN = rng.normal(size=(40, 5)).astype(np.float32)
UNIT = DRAWN / np.linalg.norm(DRAWN, axis=1, keepdims=True)
VECTORS = UnitVectors(UNIT[:25], UNIT[25:])
HISTORIES = [[3, 1, 4], list(range(20)), []]
LATEST_ITEMS = last_items(make_histories(HISTORIES), LATEST)


def by_hand(history, item):
  return similarities(DRAWN, history)[item]


def test_it_is_the_formula():
  users, items = [1, 0], np.array([[30, 5, 39], [2, 4, 35]])
  got = log_similarity(LATEST_ITEMS[users], items, VECTORS)
  expected = [
    [by_hand(HISTORIES[user], item) for item in row] for user, row in zip(users, items, strict=True)
  ]
  np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_where_the_tables_part_changes_nothing():
  items = np.array([[30, 5, 24, 25, 39]] * 3)
  for parted in (UnitVectors(UNIT[:39], UNIT[39:]), UnitVectors(UNIT, UNIT[:0])):
    np.testing.assert_array_equal(
      log_similarity(LATEST_ITEMS, items, parted), log_similarity(LATEST_ITEMS, items, VECTORS)
    )


@pytest.mark.parametrize("width", [3, 10, 25])
def test_the_latest_items_of_padded_histories(width):
  rows = [HISTORIES[0][-width:], [*range(width)], [], [7]]
  padded = np.array([row + [NO_ITEM] * (width - len(row)) for row in rows], np.int32)
  expected = last_items(make_histories(rows), LATEST)
  np.testing.assert_array_equal(latest_items(padded), expected)


def test_the_newest_item_of_a_history_is_the_most_similar():
  got = np.asarray(log_similarity(LATEST_ITEMS[:1], np.array([[3, 1, 4]]), VECTORS))
  assert got.argmax() == 2
  assert (got <= 1e-5).all()


def test_an_empty_history_prefers_no_item():
  assert (np.asarray(log_similarity(LATEST_ITEMS[2:], np.array([[0, 1, -1]]), VECTORS)) == 0).all()


def results(items, scores):
  scores = np.array(scores, np.float32)
  return Recommendations(np.array(items), scores, np.isfinite(scores))


def test_new_items_are_compared_with_the_best_known_ones_and_with_each_other():
  # Item 24 is behind the first AMONG known ones.
  known = results([[*range(AMONG), 24]], [-np.arange(AMONG + 1.0)])
  new = results([[30, 35, 31, -1]], [[-1.0, -2.0, -3.0, -np.inf]])
  result = by_similarity(known, new, LATEST_ITEMS[1:2], VECTORS)
  of_new = {
    item: SEARCH_WEIGHT * score + by_hand(HISTORIES[1], item)
    for item, score in ((30, -1.0), (35, -2.0), (31, -3.0))
  }
  of_known = [by_hand(HISTORIES[1], item) for item in range(AMONG)]
  total = np.logaddexp.reduce([*of_new.values(), *of_known])
  best_first = sorted(of_new, key=of_new.get, reverse=True)
  assert result.item_BxK[0].tolist() == [*best_first, -1]
  expected = [of_new[item] - total for item in best_first]
  np.testing.assert_allclose(result.score_BxK[0, :3], expected, rtol=1e-3, atol=1e-3)
  assert result.valid_BxK.tolist() == [[True, True, True, False]]


def test_with_an_item_head_the_mean_of_both_counts():
  head = lambda item_BxX: 0.1 * item_BxX
  known, new = results([[2, 24, -1]], [[-1.0, -2.0, -np.inf]]), results([[30, 35]], [[-1.0, -2.0]])
  result = by_similarity(known, new, LATEST_ITEMS[1:2], VECTORS, head)
  of_new = {
    item: (SEARCH_WEIGHT * score + by_hand(HISTORIES[1], item) + 0.1 * item) / 2
    for item, score in ((30, -1.0), (35, -2.0))
  }
  of_known = [(by_hand(HISTORIES[1], item) + 0.1 * item) / 2 for item in (2, 24)]
  total = np.logaddexp.reduce([*of_new.values(), *of_known])
  best_first = sorted(of_new, key=of_new.get, reverse=True)
  assert result.item_BxK[0].tolist() == best_first
  expected = [of_new[item] - total for item in best_first]
  np.testing.assert_allclose(result.score_BxK[0], expected, rtol=1e-3, atol=1e-3)


def test_without_any_known_item_new_ones_share_all():
  known, new = results([[-1, -1]], [[-np.inf] * 2]), results([[30, 35]], [[0.0, 0.0]])
  result = by_similarity(known, new, LATEST_ITEMS[:1], VECTORS)
  of_new = np.array([by_hand([3, 1, 4], item) for item in np.asarray(result.item_BxK[0])])
  expected = of_new - np.logaddexp.reduce(of_new)
  np.testing.assert_allclose(result.score_BxK[0], expected, rtol=1e-3, atol=1e-3)


def test_the_similarity_of_new_rows():
  np.testing.assert_allclose(
    similarity_of(LATEST_ITEMS, VECTORS.of(LATEST_ITEMS), VECTORS.new_MxF),
    log_similarity(LATEST_ITEMS, np.tile(np.arange(25, len(UNIT)), (3, 1)), VECTORS),
    atol=1e-4,
  )
