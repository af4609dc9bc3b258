import numpy as np
import pytest

from sidrec.features.combine import apply_combine, combine, fit_combine
from sidrec.training.checkpoint import load_params, save_params


def mean_square_norm(vectors_NxF):
  return np.square(vectors_NxF).sum(axis=1).mean()


def test_a_blocks_mean_squared_norm_is_its_squared_weight():
  rng = np.random.default_rng(0)
  blocks = {"a": 100 + 5 * rng.normal(size=(50, 3)), "b": 0.01 * rng.normal(size=(50, 40))}
  vectors_NxF = combine(blocks, {"a": 1.0, "b": 0.5})
  assert vectors_NxF.dtype == np.float32
  assert vectors_NxF.shape == (50, 43)
  np.testing.assert_allclose(vectors_NxF.mean(axis=0), 0, atol=1e-6)
  np.testing.assert_allclose(mean_square_norm(vectors_NxF[:, :3]), 1.0, rtol=1e-5)
  np.testing.assert_allclose(mean_square_norm(vectors_NxF[:, 3:]), 0.25, rtol=1e-5)


def test_scaling_a_block_or_reordering_the_mappings_changes_nothing():
  rng = np.random.default_rng(1)
  a, b = rng.normal(size=(9, 2)), rng.normal(size=(9, 3))
  expected = combine({"a": a, "b": b}, {"a": 1.0, "b": 2.0})
  actual = combine({"b": 7 * b + 3, "a": a}, {"b": 2.0, "a": 1.0})
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_constant_columns_and_blocks_without_weight_go():
  a = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
  blocks = {"a": a, "b": np.eye(3), "constant": np.ones((3, 2)), "empty": np.zeros((3, 0))}
  weights = {"a": 1.0, "b": 0.0, "constant": 1.0, "empty": 1.0}
  expected = np.array([[-1.0], [0.0], [1.0]]) * np.sqrt(1.5)
  np.testing.assert_allclose(combine(blocks, weights), expected, rtol=1e-6)


@pytest.mark.parametrize(
  ("blocks", "weights", "message"),
  [
    ({"a": np.eye(3)}, {"b": 1.0}, "exactly one weight"),
    ({"a": np.eye(3)}, {"a": 1.0, "b": 1.0}, "exactly one weight"),
    ({"a": np.eye(3), "b": np.eye(2)}, {"a": 1.0, "b": 1.0}, "'b': 2"),
    ({"a": np.eye(3)}, {"a": -1.0}, "0 or more"),
    ({"a": np.eye(3)}, {"a": float("nan")}, "0 or more"),
    ({"a": np.full((2, 2), np.nan)}, {"a": 1.0}, "'a' has values that are not finite"),
    ({"a": np.ones((3, 2))}, {"a": 1.0}, "tells two items apart"),
    ({"a": np.eye(3)}, {"a": 0.0}, "tells two items apart"),
    ({}, {}, "tells two items apart"),
    ({"a": np.ones(3)}, {"a": 1.0}, r"'a' has shape \(3,\)"),
  ],
)
def test_bad_blocks_are_named(blocks, weights, message):
  with pytest.raises(ValueError, match=message):
    combine(blocks, weights)


def test_negative_whitening_is_refused():
  with pytest.raises(ValueError, match="whiten"):
    combine({"a": np.eye(3)}, {"a": 1.0}, whiten=-1)


def random_blocks(num_items, seed=0):
  rng = np.random.default_rng(seed)
  mixed = rng.normal(size=(num_items, 5)) @ rng.normal(size=(5, 5))
  return {"a": mixed.astype(np.float32), "b": 3 + rng.normal(size=(num_items, 4))}


@pytest.mark.parametrize("whiten", [0, 3])
def test_an_item_gets_the_same_vector_alone_or_among_others(whiten):
  blocks = random_blocks(60)
  params = fit_combine(blocks, {"a": 1.0, "b": 0.5}, whiten)
  together = apply_combine(params, blocks)
  alone = [apply_combine(params, {k: v[i : i + 1] for k, v in blocks.items()}) for i in range(60)]
  np.testing.assert_allclose(np.concatenate(alone), together, atol=1e-6)
  np.testing.assert_array_equal(together, combine(blocks, {"a": 1.0, "b": 0.5}, whiten))


def test_new_items_do_not_change_what_was_learnt():
  blocks = random_blocks(60)
  params = fit_combine(blocks, {"a": 1.0, "b": 0.5})
  new = {"a": blocks["a"][:2] + 100, "b": blocks["b"][:2]}
  moved = apply_combine(params, new) - apply_combine(params, blocks)[:2]
  # Everything is linear: 100 more in each column of block a, nothing more in b.
  expected_F = 100 * params["blocks"]["a"]["scale_F"]
  np.testing.assert_allclose(moved[:, :5], [expected_F, expected_F], rtol=1e-5)
  np.testing.assert_array_equal(moved[:, 5:], 0)


@pytest.mark.parametrize("whiten", [0, 4])
def test_a_missing_block_counts_as_the_mean(whiten):
  blocks = random_blocks(50)
  params = fit_combine(blocks, {"a": 1.0, "b": 0.5}, whiten)
  missing = apply_combine(params, {"a": blocks["a"]})
  means = np.repeat(blocks["b"].mean(axis=0)[None], 50, axis=0)
  np.testing.assert_allclose(missing, apply_combine(params, {**blocks, "b": means}), atol=1e-5)
  if not whiten:
    np.testing.assert_array_equal(missing[:, 5:], 0)


def test_whitened_components_are_uncorrelated_with_unit_variance():
  blocks = random_blocks(200)
  vectors_NxF = combine(blocks, {"a": 1.0, "b": 0.5}, whiten=6)
  assert vectors_NxF.dtype == np.float32
  np.testing.assert_allclose(vectors_NxF.mean(axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(vectors_NxF.T @ vectors_NxF / 200, np.eye(6), atol=1e-4)
  # They are the principal components: those of largest variance, in order.
  joined_NxC = combine(blocks, {"a": 1.0, "b": 0.5})
  u_NxC, _, _ = np.linalg.svd(joined_NxC - joined_NxC.mean(axis=0), full_matrices=False)
  overlap_FxF = np.abs(u_NxC[:, :6].T @ vectors_NxF) / np.sqrt(200)
  np.testing.assert_allclose(overlap_FxF, np.eye(6), atol=1e-3)


def test_whitening_a_matrix_of_low_rank_gives_fewer_dimensions_and_no_noise():
  rng = np.random.default_rng(3)
  low_rank = (rng.normal(size=(80, 2)) @ rng.normal(size=(2, 7))).astype(np.float32)
  vectors_NxF = combine({"a": low_rank}, {"a": 1.0}, whiten=5)
  assert vectors_NxF.shape == (80, 2)
  np.testing.assert_allclose(vectors_NxF.var(axis=0), 1, rtol=1e-4)


def test_the_largest_entry_of_each_component_is_positive():
  whitening_XxF = fit_combine(random_blocks(60), {"a": 1.0, "b": 1.0}, 6)["whitening_XxF"]
  np.testing.assert_array_equal(np.abs(whitening_XxF).max(axis=0), whitening_XxF.max(axis=0))


@pytest.mark.parametrize("whiten", [0, 3])
def test_work_is_done_in_parts_without_a_trace(whiten, monkeypatch):
  blocks = random_blocks(50)
  expected = combine(blocks, {"a": 1.0, "b": 0.5}, whiten)
  monkeypatch.setattr("sidrec.features.combine._ROWS_AT_ONCE", 7)
  np.testing.assert_allclose(combine(blocks, {"a": 1.0, "b": 0.5}, whiten), expected, atol=1e-5)


def test_params_survive_a_checkpoint_bit_for_bit(tmp_path):
  blocks = random_blocks(30)
  params = fit_combine(blocks, {"a": 1.0, "b": 0.0}, whiten=3)
  save_params(tmp_path / "combine", params)
  loaded = load_params(tmp_path / "combine")
  np.testing.assert_array_equal(apply_combine(loaded, blocks), apply_combine(params, blocks))


@pytest.mark.parametrize(
  ("blocks", "message"),
  [
    ({}, "no feature blocks"),
    ({"c": np.ones((2, 3))}, "'c' was not fitted"),
    ({"a": np.ones((2, 3))}, "'a' is 3 wide, but was fitted on width 5"),
    ({"a": np.ones((2, 5)), "b": np.ones((1, 4))}, "'b': 1"),
    ({"a": np.full((2, 5), np.inf)}, "not finite"),
  ],
)
def test_bad_blocks_of_new_items_are_named(blocks, message):
  params = fit_combine(random_blocks(20), {"a": 1.0, "b": 1.0})
  with pytest.raises(ValueError, match=message):
    apply_combine(params, blocks)
