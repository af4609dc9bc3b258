"""Neighbourhood overlap, against brute force and chance."""

import json

import numpy as np
import pytest

from sidrec.tokenizers.report.knn_overlap import (
  knn_overlap,
  knn_overlap_table,
  nearest_others,
)


def brute_force(vectors, query, count):
  distance = np.linalg.norm(vectors[query, None] - vectors[None], axis=-1)
  distance[np.arange(len(query)), query] = np.inf
  return np.argsort(distance, axis=1)[:, :count]


def test_neighbours_are_what_brute_force_finds():
  rng = np.random.default_rng(0)
  vectors = rng.normal(size=(101, 5)).astype(np.float32) + 100  # far from the origin
  for query in (np.arange(101), np.array([3, 50, 100])):
    found = nearest_others(vectors, query, 10)
    assert np.sort(found).tolist() == np.sort(brute_force(vectors, query, 10)).tolist()


def test_shares_are_those_of_brute_force():
  rng = np.random.default_rng(1)
  vectors = rng.normal(size=(80, 4)).astype(np.float32)
  codes = np.stack([(vectors[:, 0] > 0) * 3, vectors[:, 1] > 0, rng.integers(0, 2, 80)], 1)
  near = brute_force(vectors, np.arange(80), 10)
  measured = knn_overlap(codes, vectors)
  for depth, row in enumerate(measured["depths"], start=1):
    same = [(codes[near[i], :depth] == codes[i, :depth]).all(axis=1) for i in range(80)]
    assert row["share"] == pytest.approx(np.mean(same))
  assert (measured["items"], measured["queries"], measured["neighbours"]) == (80, 80, 10)


def test_by_hand():
  # Two pairs of near points; the first pair shares its code, the second does not.
  vectors = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
  (row,) = knn_overlap(np.array([[5], [5], [6], [5]]), vectors, num_neighbours=1)["depths"]
  assert row["share"] == 0.5
  assert row["share_shuffled"] == 6 / 12  # 3 · 2 of 4 · 3 ordered pairs have equal codes


def test_an_item_is_not_its_own_neighbour_even_among_equal_vectors():
  vectors = np.zeros((6, 2), np.float32)
  assert knn_overlap(np.arange(6)[:, None], vectors, 3)["depths"][0]["share"] == 0


def test_shuffled_codes_share_what_is_said():
  rng = np.random.default_rng(2)
  vectors = rng.normal(size=(60, 3)).astype(np.float32)
  codes = np.stack([(vectors[:, 0] > 0.5), vectors[:, 1] > 0], 1).astype(int)
  measured = knn_overlap(codes, vectors)["depths"]
  shuffled = [knn_overlap(rng.permutation(codes), vectors)["depths"] for _ in range(100)]
  for depth, row in enumerate(measured):
    mean = np.mean([run[depth]["share"] for run in shuffled])
    assert row["share_shuffled"] == pytest.approx(mean, abs=0.01)
    assert row["share"] > 1.2 * row["share_shuffled"]


def test_a_sample_of_queries_estimates_the_whole():
  rng = np.random.default_rng(3)
  vectors = rng.normal(size=(1500, 3)).astype(np.float32)
  codes = (vectors[:, :2] > 0).astype(int)
  whole, part = (
    knn_overlap(codes, vectors),
    knn_overlap(codes, vectors, exact_items=1000, sample=400),
  )
  assert (part["items"], part["queries"]) == (1500, 400)
  assert part["depths"][0]["share"] == pytest.approx(whole["depths"][0]["share"], abs=0.03)
  assert part["depths"][0]["share_shuffled"] == whole["depths"][0]["share_shuffled"]
  assert part == knn_overlap(codes, vectors, exact_items=1000, sample=400)
  assert "400 random ones of 1,500 items" in knn_overlap_table(part)
  assert "all 1,500 items" in knn_overlap_table(whole)


def test_few_items_are_all_neighbours():
  measured = knn_overlap(np.array([[0], [0], [1]]), np.eye(3, dtype=np.float32))
  assert measured["neighbours"] == 2
  assert measured["depths"][0]["share"] == pytest.approx(1 / 3)
  assert json.loads(json.dumps(measured)) == measured
  assert max(map(len, knn_overlap_table(measured).splitlines())) <= 100


@pytest.mark.parametrize(
  ("codes", "rows", "options", "match"),
  [
    (np.zeros((1, 1), int), 1, {}, "1 item has no neighbours"),
    (np.zeros((3, 1), int), 3, {"num_neighbours": 0}, "at least 1 of each"),
  ],
)
def test_refuses_what_cannot_be_measured(codes, rows, options, match):
  with pytest.raises(ValueError, match=match):
    knn_overlap(codes, np.zeros((rows, 2), np.float32), **options)
