"""What a model keeps of items' vectors; searches by it are in search/test_evidence.py."""

import jax
import numpy as np
import pytest
from similarity_by_hand import similarities
from tiny import make_histories

from sidrec.models import similarity
from sidrec.models.settings import RecommenderConfig

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


def test_codes_keep_cosines_better_the_more_of_them_there_are():
  rng = np.random.default_rng(1)
  near = rng.normal(size=(20, 16)).astype(np.float32)[np.arange(600) % 20]
  vectors = near + 0.3 * rng.normal(size=near.shape).astype(np.float32)
  latest = np.array([[5, 40, 333]], np.int32)
  expected = similarities(vectors, latest[0])
  errors = {}
  for num_bytes in (2, 8):
    kept = similarity.tables(make_histories([[0, 1, 2]]), 5 * vectors, num_bytes)
    assert (kept["vector"].shape, kept["vector"].dtype) == ((600, num_bytes), np.uint8)
    found = np.asarray(jax.jit(similarity.log_similarity)(kept, latest, None))[0]
    assert found[5] == kept["vector_usual"]
    errors[num_bytes] = np.abs(np.delete(found - expected, latest[0])).mean()
    some = np.array([[7, 599, 0, 40]], np.int32)
    of_some = jax.jit(similarity.log_similarity)(kept, latest, some)
    np.testing.assert_allclose(np.asarray(of_some)[0], found[some[0]], rtol=1e-5)
  assert errors[8] < 0.5 < errors[2]


def test_codes_of_fewer_items_than_codewords_are_the_items():
  kept = similarity.tables(make_histories([[0, 1]]), VECTORS, 4)
  latest = np.array([[1, 2]], np.int32)
  found = np.asarray(jax.jit(similarity.log_similarity)(kept, latest, None))[0]
  rest = np.delete(np.arange(30), latest[0])
  np.testing.assert_allclose(found[rest], similarities(VECTORS, latest[0])[rest], rtol=1e-3)


def test_more_bytes_than_numbers_are_refused():
  with pytest.raises(ValueError, match="similarity_bytes is 9, and item vectors have 8 numbers"):
    similarity.tables(make_histories([[0, 1]]), VECTORS, 9)


@pytest.mark.parametrize(
  ("settings", "words"),
  [
    ({"similarity_bytes": 8}, "model.similarity_bytes needs model.similarity"),
    ({"similarity": True, "similarity_bytes": -1}, "similarity_bytes is -1; give 0 or more"),
  ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
  with pytest.raises(ValueError, match=words):
    RecommenderConfig(**settings)


def test_what_is_usual_is_the_mean_of_what_came_next_but_for_repeats():
  rows = [[3, 7, 11], list(range(14)), [5], [4, 9, 4], [8, 8, 2]]
  kept = similarity.tables(make_histories(rows), VECTORS)
  expected = np.mean(
    [similarities(VECTORS, row[:-1])[row[-1]] for row in (rows[0], rows[1], rows[4])]
  )
  assert kept["vector_usual"] == pytest.approx(expected, abs=0.15)
  nobody = similarity.tables(make_histories([[1], [2, 2]]), VECTORS)
  assert nobody["vector_usual"] == -1 / similarity.TEMPERATURE


@pytest.mark.parametrize("num_bytes", [0, 4])
def test_items_without_a_vector_are_near_to_none_and_no_number_is_lost(num_bytes):
  vectors = VECTORS.copy()
  vectors[4] = 0
  kept = similarity.tables(make_histories([[0, 1]]), vectors, num_bytes)
  latest = np.array([[1, 2, -1], [4, -1, -1], [-1, -1, -1]], np.int32)
  found = jax.jit(similarity.log_similarity)(kept, latest, None)
  assert np.isfinite(found).all()
  assert found[0, 4] == pytest.approx(-1 / similarity.TEMPERATURE)
  assert found[0, 1] == found[1, 4] == kept["vector_usual"]
  assert (np.asarray(found[2]) == 0).all()
