"""Behaviour of new items, judged by their neighbours."""

import numpy as np

from sidrec.features import behaviour
from sidrec.features.behaviour import behaviour_of_neighbours

rng = np.random.default_rng(0)
# Two groups of 30 that are described apart, and behave apart.
GROUP = np.repeat([0, 1], 30)
DESCRIBED = np.eye(6)[GROUP] + 0.1 * rng.normal(size=(60, 6))
BEHAVIOUR = np.eye(6)[GROUP + 3] * 2 + 0.1 * rng.normal(size=(60, 6))


def test_a_new_item_behaves_like_those_it_is_described_like(monkeypatch):
  new = np.eye(6)[[1, 0, 1]] * 7
  got = behaviour_of_neighbours(new, DESCRIBED, BEHAVIOUR)
  np.testing.assert_array_equal(got.argmax(axis=1), [4, 3, 4])
  np.testing.assert_allclose(
    np.linalg.norm(got, axis=1), np.linalg.norm(BEHAVIOUR, axis=1).mean(), rtol=1e-5
  )
  monkeypatch.setattr(behaviour, "_ROWS_AT_ONCE", 2)
  np.testing.assert_allclose(behaviour_of_neighbours(new, DESCRIBED, BEHAVIOUR), got, rtol=1e-6)


def test_a_catalogue_without_behaviour_gives_none_and_few_items_suffice():
  new = np.ones((2, 6))
  assert (behaviour_of_neighbours(new, DESCRIBED, np.zeros((60, 6))) == 0).all()
  few = behaviour_of_neighbours(new, DESCRIBED[:1], BEHAVIOUR[:1])
  np.testing.assert_allclose(few, np.repeat(BEHAVIOUR[:1], 2, axis=0), rtol=1e-5)
  assert behaviour_of_neighbours(new[:0], DESCRIBED, BEHAVIOUR).shape == (0, 6)
