import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.evaluation.metrics import (
  calibration_error,
  coverage,
  per_user_metrics,
  rank_in_list,
  summarise,
)


def test_hand_computed_users():
  # First, third, sixth, eleventh, not in the list, beyond the list.
  rank_U = np.array([0, 2, 5, 10, -1, 20])
  metrics = per_user_metrics(rank_U, num_results=20)
  np.testing.assert_array_equal(metrics["recall@1"], [1, 0, 0, 0, 0, 0])
  np.testing.assert_array_equal(metrics["recall@5"], [1, 1, 0, 0, 0, 0])
  np.testing.assert_array_equal(metrics["recall@10"], [1, 1, 1, 0, 0, 0])
  np.testing.assert_array_equal(metrics["recall@20"], [1, 1, 1, 1, 0, 0])
  np.testing.assert_allclose(metrics["ndcg@5"], [1, 0.5, 0, 0, 0, 0])
  np.testing.assert_allclose(metrics["ndcg@10"], [1, 0.5, 1 / math.log2(7), 0, 0, 0])
  np.testing.assert_allclose(
    metrics["ndcg@20"], [1, 0.5, 1 / math.log2(7), 1 / math.log2(12), 0, 0]
  )
  np.testing.assert_allclose(metrics["mrr"], [1, 1 / 3, 1 / 6, 1 / 11, 0, 0])

  means = summarise(metrics)
  assert set(means) == {
    *("recall@1", "recall@5", "recall@10", "recall@20"),
    *("ndcg@5", "ndcg@10", "ndcg@20", "mrr"),
  }
  assert all(type(value) is float for value in means.values())
  assert means["recall@10"] == pytest.approx(3 / 6)
  assert means["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 6 + 1 / 11) / 6)


def test_a_short_list_leaves_out_what_it_cannot_measure():
  metrics = per_user_metrics(np.array([0, 7, 12]), num_results=10)
  assert set(metrics) == {"recall@1", "recall@5", "recall@10", "ndcg@5", "ndcg@10", "mrr"}
  np.testing.assert_allclose(metrics["mrr"], [1, 1 / 8, 0])


def test_other_cut_offs():
  metrics = per_user_metrics(np.array([2]), 20, recall_at=(2, 3), ndcg_at=(3,))
  assert set(metrics) == {"recall@2", "recall@3", "ndcg@3", "mrr"}
  assert metrics["recall@2"] == [0]
  assert metrics["recall@3"] == [1]


def test_no_users_is_an_error():
  with pytest.raises(ValueError, match="no users"):
    summarise(per_user_metrics(np.array([], int), 20))


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_ranks_and_coverage_against_brute_force(seed):
  rng = np.random.default_rng(seed)
  num_users, num_items, length = rng.integers(1, 5), rng.integers(3, 9), rng.integers(1, 7)
  length = min(length, num_items)
  items_UxK = np.stack([rng.permutation(num_items)[:length] for _ in range(num_users)])
  valid_UxK = rng.random((num_users, length)) < 0.7
  target_U = rng.integers(0, num_items, num_users)

  ranks, covered = [], set()
  for items, valid, target in zip(items_UxK, valid_UxK, target_U, strict=True):
    results = [item for item, is_valid in zip(items, valid, strict=True) if is_valid]
    ranks.append(results.index(target) if target in results else -1)
    covered.update(results[:2])
  np.testing.assert_array_equal(rank_in_list(items_UxK, valid_UxK, target_U), ranks)
  assert coverage(items_UxK, valid_UxK, num_items, k=2) == len(covered) / num_items


def test_invalid_results_never_hit():
  # Search fills the missing places of a short list with row 0.
  items_UxK, valid_UxK = np.array([[3, 0, 0]]), np.array([[True, False, False]])
  np.testing.assert_array_equal(rank_in_list(items_UxK, valid_UxK, np.array([0])), [-1])
  assert coverage(items_UxK, valid_UxK, num_items=4) == 1 / 4


def test_the_calibration_error_of_a_case_by_hand():
  p_U = np.array([0.9, 0.1, 0.2, 0.8])
  hit_U = np.array([True, False, True, True])
  # Bins {.1, .2}: mean p .15, half of them hit; {.8, .9}: mean p .85, all hit.
  assert calibration_error(p_U, hit_U, bins=2) == pytest.approx(0.5 * 0.35 + 0.5 * 0.15)
  assert calibration_error(p_U, hit_U, bins=1) == pytest.approx(0.25)


def test_what_comes_true_as_often_as_predicted_has_no_calibration_error():
  rng = np.random.default_rng(0)
  p_U = rng.random(200_000) ** 3
  hit_U = rng.random(200_000) < p_U
  assert calibration_error(p_U, hit_U) < 0.004
  assert calibration_error(p_U / 2, hit_U) > 0.1
