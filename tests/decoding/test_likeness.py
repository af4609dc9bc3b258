"""Likeness to the latest items, against the formula written out."""

import numpy as np
from tiny import make_histories

from sidrec.decoding.likeness import DECAY, LATEST, TEMPERATURE, log_likeness

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
  got = log_likeness(HISTORIES, users, items, VECTORS)
  expected = [
    [by_hand(HISTORIES.of(user).tolist(), item) for item in row]
    for user, row in zip(users, items, strict=True)
  ]
  np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_the_newest_item_is_the_likest_of_a_history():
  got = log_likeness(HISTORIES, np.array([0]), np.array([[3, 1, 4]]), VECTORS)
  assert got.argmax() == 2
  assert (got <= 1e-5).all()


def test_an_empty_history_likes_nothing_more():
  assert (log_likeness(HISTORIES, np.array([2]), np.array([[0, 1, -1]]), VECTORS) == 0).all()
  assert log_likeness(HISTORIES, np.zeros(0, int), np.zeros((0, 3), int), VECTORS).shape == (0, 3)
