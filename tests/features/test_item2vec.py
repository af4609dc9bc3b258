import dataclasses

import jax
import numpy as np
import pytest
from tiny import make_histories

from sidrec.data.dataset import training_view
from sidrec.features.item2vec import _Corpus, _draw_pairs, item2vec_vectors
from sidrec.features.settings import Item2vecConfig

SMALL = Item2vecConfig(
  dim=8, window=3, steps=300, batch_size=256, shared_negatives=32, learning_rate=0.02
)


def planted(num_users, num_clusters, size, seed=0, length=12):
  """Users who stay in one cluster of items; item i belongs to cluster i // size."""
  rng = np.random.default_rng(seed)
  rows = [rng.integers(0, size, length) + size * (user % num_clusters) for user in range(num_users)]
  return make_histories([row.tolist() for row in rows])


def auc_of_nearness(vectors_NxD, cluster_N):
  """The chance that a pair within a cluster is nearer than one across."""
  first, second = np.triu_indices(len(cluster_N), k=1)
  cosine = (vectors_NxD[first] * vectors_NxD[second]).sum(axis=1)
  within = cluster_N[first] == cluster_N[second]
  return (cosine[within][:, None] > cosine[~within][None, :]).mean()


@pytest.mark.parametrize("changes", [{}, {"subsample": 0.02}])
def test_items_that_occur_together_are_nearer_than_others(changes):
  vectors_NxD = item2vec_vectors(
    jax.random.key(0), planted(300, 4, 10), 40, dataclasses.replace(SMALL, **changes)
  )
  assert vectors_NxD.dtype == np.float32
  assert vectors_NxD.shape == (40, 8)
  np.testing.assert_allclose(np.linalg.norm(vectors_NxD, axis=1), 1, rtol=1e-5)
  assert auc_of_nearness(vectors_NxD, np.arange(40) // 10) > 0.98


def test_users_packed_next_to_each_other_do_not_mix():
  # Between users the clusters alternate in pairs: were pairs across users counted, items of
  # clusters 0 and 1 would occur near each other, and so those of 2 and 3.
  rng = np.random.default_rng(0)
  rows = []
  for user in range(1500):
    pair = user % 2
    for cluster in (2 * pair, 2 * pair + 1):
      rows.append((rng.permutation(6)[:2] + 6 * cluster).tolist())
  config = dataclasses.replace(SMALL, window=3, steps=400)
  vectors_NxD = item2vec_vectors(jax.random.key(0), make_histories(rows), 24, config)
  assert auc_of_nearness(vectors_NxD, np.arange(24) // 6) > 0.98


def test_pairs_are_every_two_interactions_in_a_window_of_one_user():
  # Each interaction is with an item of its own, so that a pair of items tells the positions.
  user_T = np.array([0, 0, 0, 0, 1, 2, 2])
  corpus = _Corpus(np.arange(7), user_T, np.ones(7), np.ones(7))
  corpus = jax.tree.map(jax.numpy.asarray, corpus)
  config = dataclasses.replace(SMALL, window=2, batch_size=5000)
  item_B, context_B, counts_B = map(np.asarray, _draw_pairs(jax.random.key(0), corpus, config))
  drawn = set(zip(item_B[counts_B].tolist(), context_B[counts_B].tolist(), strict=True))
  assert drawn == {
    (i, j) for i in range(7) for j in range(7) if user_T[i] == user_T[j] and 0 < abs(i - j) <= 2
  }


def test_the_key_decides():
  histories = planted(60, 3, 5)
  config = dataclasses.replace(SMALL, steps=20)
  first = item2vec_vectors(jax.random.key(1), histories, 15, config)
  np.testing.assert_array_equal(first, item2vec_vectors(jax.random.key(1), histories, 15, config))
  assert np.abs(first - item2vec_vectors(jax.random.key(2), histories, 15, config)).max() > 0.1


def test_what_is_held_out_changes_nothing():
  histories = planted(60, 3, 8)
  changed_T = histories.item_T.copy()
  last_two = np.concatenate([histories.offsets_Up1[1:] - 1, histories.offsets_Up1[1:] - 2])
  changed_T[last_two] = (changed_T[last_two] + 8) % 24  # an item of another cluster
  changed = histories._replace(item_T=changed_T)
  vectors = lambda seen: item2vec_vectors(
    jax.random.key(0), seen, 24, dataclasses.replace(SMALL, steps=20)
  )
  np.testing.assert_array_equal(vectors(training_view(histories)), vectors(training_view(changed)))
  assert np.abs(vectors(histories) - vectors(changed)).max() > 0


def test_items_without_neighbours_are_zero_rows():
  # Item 4 never occurs, item 3 occurs alone, item 2 only next to itself.
  histories = make_histories([[0, 1, 0, 1], [3], [2, 2, 2]])
  vectors_NxD = item2vec_vectors(
    jax.random.key(0), histories, 5, dataclasses.replace(SMALL, steps=20)
  )
  np.testing.assert_allclose(np.linalg.norm(vectors_NxD[:2], axis=1), 1, rtol=1e-5)
  assert not vectors_NxD[2:].any()


@pytest.mark.parametrize("rows", [[[], [1]], [[]]])
def test_nothing_to_learn_from(rows):
  assert not item2vec_vectors(jax.random.key(0), make_histories(rows), 3, SMALL).any()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"dim": 0}, "dim must be 1"),
    ({"window": 0}, "window must be 1"),
    ({"shared_negatives": 0}, "shared_negatives must be 1"),
    ({"exponent": 2.0}, "exponent must lie in"),
    ({"subsample": -1.0}, "subsample must lie in"),
    ({"learning_rate": 0.0}, "learning_rate must be above 0"),
  ],
)
def test_settings_out_of_range_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(SMALL, **changes)


def test_an_item_outside_the_catalogue_is_refused():
  with pytest.raises(ValueError, match="outside the catalogue of 7"):
    item2vec_vectors(jax.random.key(0), make_histories([[0, 1, 7]]), 7, SMALL)


def test_divergence_is_named():
  config = dataclasses.replace(SMALL, learning_rate=1e38, steps=50)
  with pytest.raises(FloatingPointError, match="learning rate"):
    item2vec_vectors(jax.random.key(0), planted(60, 3, 5), 15, config)
