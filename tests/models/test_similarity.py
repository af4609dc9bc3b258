"""What a model keeps of items' vectors; searches by it are in search/test_evidence.py."""

import jax
import numpy as np
import pytest
from similarity_by_hand import similarities
from tiny import make_histories

from sidrec.models import similarity

VECTORS = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)


def cosine(a, b):
  return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_a_byte_a_number_keeps_cosines_whatever_the_lengths():
  kept = similarity.tables(make_histories([[0, 1]]), VECTORS * np.arange(1, 31)[:, None])
  assert kept["vector"].dtype == np.int8
  assert np.abs(kept["vector"]).max(axis=1).tolist() == [127] * 30
  rows = kept["vector"].astype(np.float64)
  for a, b in [(0, 1), (5, 20), (29, 3)]:
    assert cosine(rows[a], rows[b]) == pytest.approx(cosine(VECTORS[a], VECTORS[b]), abs=0.01)


def test_what_is_usual_is_the_mean_of_what_came_next_but_for_repeats():
  rows = [[3, 7, 11], list(range(14)), [5], [4, 9, 4], [8, 8, 2]]
  kept = similarity.tables(make_histories(rows), VECTORS)
  expected = np.mean(
    [similarities(VECTORS, row[:-1])[row[-1]] for row in (rows[0], rows[1], rows[4])]
  )
  assert kept["vector_usual"] == pytest.approx(expected, abs=0.15)
  nobody = similarity.tables(make_histories([[1], [2, 2]]), VECTORS)
  assert nobody["vector_usual"] == -1 / similarity.TEMPERATURE


def test_items_without_a_vector_are_near_to_none_and_no_number_is_lost():
  vectors = VECTORS.copy()
  vectors[4] = 0
  kept = similarity.tables(make_histories([[0, 1]]), vectors)
  latest = np.array([[1, 2, -1], [4, -1, -1], [-1, -1, -1]], np.int32)
  found = jax.jit(similarity.log_similarity)(kept, latest, None)
  assert np.isfinite(found).all()
  assert found[0, 4] == pytest.approx(-1 / similarity.TEMPERATURE)
  assert found[0, 1] == found[1, 4] == kept["vector_usual"]
  assert (np.asarray(found[2]) == 0).all()
