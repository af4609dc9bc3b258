"""Similarity to the latest items, against the formula written out."""

import numpy as np
from tiny import make_histories

from sidrec.cold_start.similarity import (
  AMONG,
  DECAY,
  LATEST,
  SEARCH_WEIGHT,
  TEMPERATURE,
  by_similarity,
  log_similarity,
)
from sidrec.search.results import Recommendations

rng = np.random.default_rng(0)
VECTORS = rng.normal(size=(40, 5)).astype(np.float32)
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
HISTORIES = make_histories([[3, 1, 4], list(range(20)), []])


def by_hand(history, item):
  latest = history[-LATEST:]
  weight = [DECAY**age for age in reversed(range(len(latest)))]
  near = [np.exp((UNIT[item] @ UNIT[old] - 1) / TEMPERATURE) for old in latest]
  return np.log(np.dot(weight, near) / np.sum(weight))


def test_it_is_the_formula():
  users = np.array([1, 0])
  items = np.array([[30, 5, 39], [2, 4, 35]])
  got = log_similarity(HISTORIES, users, items, UNIT)
  expected = [
    [by_hand(HISTORIES.of(user).tolist(), item) for item in row]
    for user, row in zip(users, items, strict=True)
  ]
  np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_the_newest_item_of_a_history_is_the_most_similar():
  got = log_similarity(HISTORIES, np.array([0]), np.array([[3, 1, 4]]), UNIT)
  assert got.argmax() == 2
  assert (got <= 1e-5).all()


def test_an_empty_history_prefers_no_item():
  assert (log_similarity(HISTORIES, np.array([2]), np.array([[0, 1, -1]]), UNIT) == 0).all()
  assert log_similarity(HISTORIES, np.zeros(0, int), np.zeros((0, 3), int), UNIT).shape == (0, 3)


def results(items, scores):
  scores = np.array(scores, np.float32)
  return Recommendations(np.array(items), scores, np.isfinite(scores))


def test_new_items_are_compared_with_the_best_known_ones():
  known = results([list(range(AMONG + 5))], [-np.arange(AMONG + 5.0)])
  new = results([[30, 35, 31, -1]], [[-1.0, -2.0, -3.0, -np.inf]])
  result = by_similarity(known, new, HISTORIES, np.array([1]), UNIT)
  history = HISTORIES.of(1).tolist()
  against = np.logaddexp.reduce([by_hand(history, item) for item in range(AMONG)])
  expected = {
    item: SEARCH_WEIGHT * score + by_hand(history, item) - against
    for item, score in ((30, -1.0), (35, -2.0), (31, -3.0))
  }
  best_first = sorted(expected, key=expected.get, reverse=True)
  assert result.item_BxK[0].tolist() == [*best_first, -1]
  np.testing.assert_allclose(
    result.score_BxK[0, :3], [expected[item] for item in best_first], rtol=1e-3, atol=1e-3
  )
  assert result.valid_BxK.tolist() == [[True, True, True, False]]


def test_without_any_known_item_the_similarity_alone_counts():
  known, new = results([[-1, -1]], [[-np.inf] * 2]), results([[30, 35]], [[0.0, 0.0]])
  result = by_similarity(known, new, HISTORIES, np.array([0]), UNIT)
  similarity = [by_hand([3, 1, 4], item) for item in result.item_BxK[0]]
  np.testing.assert_allclose(result.score_BxK[0], similarity, rtol=1e-3, atol=1e-3)
