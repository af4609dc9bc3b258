import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_histories

from sidrec.data.dataset import training_view
from sidrec.features import cooccurrence
from sidrec.features.cooccurrence import following_counts, positive_pmi
from sidrec.features.settings import CooccurrenceConfig


def cooccurrence_vectors(histories, num_items, dim):
  return cooccurrence.cooccurrence_vectors(histories, num_items, CooccurrenceConfig(dim=dim))


def planted(num_users, num_clusters, size, seed=0, length=12):
  """Users who stay in one cluster of items; item i belongs to cluster i // size."""
  rng = np.random.default_rng(seed)
  rows = [rng.integers(0, size, length) + size * (user % num_clusters) for user in range(num_users)]
  return make_histories([row.tolist() for row in rows])


rows_of_users = st.lists(st.lists(st.integers(0, 5), max_size=7), min_size=1, max_size=5)


@settings(max_examples=60)
@given(rows_of_users, st.integers(1, 9))
def test_following_counts_against_brute_force(rows, window):
  expected = np.zeros((6, 6))
  for row in rows:
    for at, earlier in enumerate(row):
      for distance, later in enumerate(row[at + 1 : at + 1 + window], start=1):
        if later != earlier:
          expected[earlier, later] += 1 / distance
  counts = following_counts(make_histories(rows), 6, window).toarray()
  np.testing.assert_allclose(counts, expected, rtol=1e-5)


def test_positive_pmi_against_its_formula():
  counts = np.array([[0, 4, 1], [4, 0, 2], [1, 2, 0]], float)
  context = counts.sum(axis=0) ** 0.75 / (counts.sum(axis=0) ** 0.75).sum()
  joint, row = counts / counts.sum(), counts.sum(axis=1, keepdims=True) / counts.sum()
  with np.errstate(divide="ignore"):
    expected = np.maximum(np.log(joint / (row * context)), 0)
  np.testing.assert_allclose(positive_pmi(sp.csr_array(counts)).toarray(), expected)


def test_what_is_held_out_changes_nothing():
  histories = planted(60, 3, 8)
  changed_T = histories.item_T.copy()
  last_two = np.concatenate([histories.offsets_Up1[1:] - 1, histories.offsets_Up1[1:] - 2])
  changed_T[last_two] = (changed_T[last_two] + 8) % 24  # an item of another cluster
  changed = histories._replace(item_T=changed_T)
  np.testing.assert_array_equal(
    cooccurrence_vectors(training_view(histories), 24, 8),
    cooccurrence_vectors(training_view(changed), 24, 8),
  )
  # Without the view the change is seen, so the equality above says something.
  assert np.abs(cooccurrence_vectors(histories, 24, 8) - cooccurrence_vectors(changed, 24, 8)).max()


# 60 items take the dense SVD, 600 the sparse one.
@pytest.mark.parametrize("size", [15, 150])
def test_planted_clusters_are_nearer_within_than_across_and_calls_repeat(size):
  histories = planted(800, 4, size, length=20)
  vectors_NxD = cooccurrence_vectors(histories, 4 * size, dim=8)
  assert vectors_NxD.dtype == np.float32
  assert vectors_NxD.shape == (4 * size, 8)
  np.testing.assert_allclose(np.linalg.norm(vectors_NxD, axis=1), 1, rtol=1e-5)
  cosine_NxN = vectors_NxD @ vectors_NxD.T
  cluster_N = np.arange(4 * size) // size
  within = cluster_N[:, None] == cluster_N
  assert cosine_NxN[within].mean() > 0.5
  assert abs(cosine_NxN[~within].mean()) < 0.1
  np.testing.assert_array_equal(vectors_NxD, cooccurrence_vectors(histories, 4 * size, dim=8))


def test_calls_repeat_where_the_start_vector_is_not_enough():
  """Among users who share no item, ARPACK begins again from a vector that is drawn."""
  walks = make_histories([list(range(8 * user, 8 * user + 8)) for user in range(50)])
  first, second = (cooccurrence_vectors(walks, 400, dim=8) for _ in range(2))
  np.testing.assert_array_equal(first, second)


def test_dense_and_sparse_svd_agree(monkeypatch):
  histories = planted(300, 3, 20, length=15)
  dense = cooccurrence_vectors(histories, 60, dim=5)
  monkeypatch.setattr("sidrec.features.cooccurrence._DENSE_UP_TO", 0)
  np.testing.assert_allclose(cooccurrence_vectors(histories, 60, dim=5), dense, atol=1e-5)


def test_vectors_are_the_left_singular_vectors_times_root_singular_values():
  histories = planted(100, 3, 5)
  following_NxN = following_counts(histories, 15, 5)
  u, s, _ = np.linalg.svd(positive_pmi(following_NxN + following_NxN.T).toarray())
  expected = u[:, :4] * np.sqrt(s[:4])
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  vectors_NxD = cooccurrence_vectors(histories, 15, dim=4)
  np.testing.assert_allclose(vectors_NxD @ vectors_NxD.T, expected @ expected.T, atol=1e-5)


def test_the_direction_of_time_does_not_matter():
  rows = [[0, 1, 2], [0, 3, 1], [2, 4, 3]]
  forward = cooccurrence_vectors(make_histories(rows), 5, dim=3)
  backward = cooccurrence_vectors(make_histories([row[::-1] for row in rows]), 5, dim=3)
  np.testing.assert_allclose(forward, backward, atol=1e-5)


def test_directions_beyond_the_rank_are_zero():
  # Items 1, 2 and 3 occur with item 0 alone, in proportion: a matrix of rank 2.
  vectors_NxD = cooccurrence_vectors(make_histories([[0, 1], [0, 2], [3, 0]]), 4, dim=4)
  assert np.abs(vectors_NxD[:, :2]).max() > 0.5
  assert not vectors_NxD[:, 2:].any()


def test_items_without_neighbours_are_zero_rows():
  # Item 4 never occurs, item 3 occurs alone, item 2 only follows itself.
  vectors_NxD = cooccurrence_vectors(make_histories([[0, 1, 0, 1], [3], [2, 2, 2]]), 5, dim=2)
  assert (np.linalg.norm(vectors_NxD[:2], axis=1) > 0.99).all()
  assert not vectors_NxD[2:].any()


def test_a_catalogue_smaller_than_dim_leaves_zero_columns():
  vectors_NxD = cooccurrence_vectors(make_histories([[0, 1, 2], [2, 1, 0]]), 3, dim=64)
  assert vectors_NxD.shape == (3, 64)
  np.testing.assert_allclose(np.linalg.norm(vectors_NxD, axis=1), 1, rtol=1e-5)
  assert not vectors_NxD[:, 3:].any()


def test_no_interactions_at_all():
  assert not cooccurrence_vectors(make_histories([[], [1]]), 3, dim=4).any()


def test_bad_input_is_named():
  histories = make_histories([[0, 1, 7]])
  with pytest.raises(ValueError, match="outside the catalogue of 7"):
    cooccurrence_vectors(histories, 7, dim=2)
  with pytest.raises(ValueError, match=r"features\.cooccurrence\.window must be 1 or more, not 0"):
    CooccurrenceConfig(window=0)
  with pytest.raises(ValueError, match=r"features\.cooccurrence\.dim must be 1 or more, not 0"):
    CooccurrenceConfig(dim=0)
