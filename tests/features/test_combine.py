import numpy as np
import pytest

from sidrec.data.dataset import Dataset, Histories, Items
from sidrec.features import combine as combine_module
from sidrec.features.combine import combine, feature_vectors


def make_dataset(seed=0, num_users=40, num_items=20, length=8):
  rng = np.random.default_rng(seed)
  total = num_users * length
  histories = Histories(
    offsets_U1=np.arange(num_users + 1, dtype=np.int64) * length,
    item_T=rng.integers(0, num_items, total).astype(np.int32),
    time_T=np.arange(total, dtype=np.int64),
    rating_T=np.full(total, np.nan, np.float32),
    user_ids_U=np.arange(num_users),
  )
  items = Items(
    ids_N=np.arange(num_items),
    titles_N=np.array([f"title {i % 7}" for i in range(num_items)]),
    categories_C=np.array(["odd", "even"]),
    category_offsets_N1=np.arange(num_items + 1),
    category_E=np.arange(num_items, dtype=np.int32) % 2,
    numeric={},
    text_N=np.array([""] * num_items),
  )
  return Dataset("tiny", histories, items, ())


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
  ],
)
def test_bad_blocks_are_named(blocks, weights, message):
  with pytest.raises(ValueError, match=message):
    combine(blocks, weights)


def test_feature_vectors_weigh_the_named_blocks():
  dataset = make_dataset()
  both = feature_vectors(dataset, {"content": 2.0, "cooccurrence": 1.0}, cooccurrence_dim=4)
  content = feature_vectors(dataset, {"content": 2.0, "cooccurrence": 0.0})
  assert len(both) == 20
  assert np.isfinite(both).all()
  width = content.shape[1]
  assert both.shape[1] == width + 4
  np.testing.assert_array_equal(both[:, :width], content)
  np.testing.assert_allclose(mean_square_norm(both), 4 + 1, rtol=1e-4)


def test_blocks_without_weight_are_not_computed(monkeypatch):
  def refuse(*_):
    raise AssertionError("computed")

  monkeypatch.setattr(combine_module, "cooccurrence_vectors", refuse)
  feature_vectors(make_dataset(), {"content": 1.0, "cooccurrence": 0.0})
  with pytest.raises(AssertionError):
    feature_vectors(make_dataset(), {"cooccurrence": 1.0})


def test_feature_vectors_see_training_interactions_only():
  dataset = make_dataset()
  offsets_U1, item_T = dataset.histories.offsets_U1, dataset.histories.item_T
  weights = {"cooccurrence": 1.0}
  expected = feature_vectors(dataset, weights, cooccurrence_dim=4)
  for back, changes in [(1, False), (2, False), (3, True)]:
    changed_T = item_T.copy()
    changed_T[offsets_U1[1:] - back] = (changed_T[offsets_U1[1:] - back] + 1) % 20
    changed = dataset._replace(histories=dataset.histories._replace(item_T=changed_T))
    actual = feature_vectors(changed, weights, cooccurrence_dim=4)
    assert (not np.array_equal(actual, expected)) == changes


def test_unknown_blocks_are_named():
  with pytest.raises(ValueError, match=r"unknown feature blocks \['colour'\]"):
    feature_vectors(make_dataset(), {"colour": 1.0, "content": 1.0})
