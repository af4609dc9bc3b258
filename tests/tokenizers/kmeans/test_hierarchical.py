"""Hierarchical k-means: prefixes are nested clusters, items find their nodes again, bad input."""

import jax
import numpy as np
import pytest

from sidrec.tokenizers.kmeans import hierarchical as module
from sidrec.tokenizers.kmeans.cluster_tree import TILE_SIZE, levels_of, walk
from sidrec.tokenizers.kmeans.hierarchical import grow, hierarchical_kmeans

KEY = jax.random.key(0)
SETTINGS = {"num_levels": 3, "codebook_size": 8, "iterations": 15}


def mixture(num_items=600, num_groups=40, width=5, noise=0.3, seed=0):
  rng = np.random.default_rng(seed)
  centers = rng.normal(size=(num_groups, width))
  vectors = centers[rng.integers(num_groups, size=num_items)]
  return (vectors + noise * rng.normal(size=vectors.shape)).astype(np.float32)


@pytest.fixture(scope="module", params=[0.0, 1.2], ids=["plain", "balanced"])
def fitted(request):
  vectors = mixture()
  params, codes = grow(KEY, vectors, **SETTINGS, balance_slack=request.param)
  return hierarchical_kmeans(**SETTINGS, balance_slack=request.param), params, vectors, codes


def test_training_items_get_the_codes_of_the_fit(fitted):
  tokenizer, params, vectors, codes = fitted
  np.testing.assert_array_equal(tokenizer.encode(params, vectors), codes)
  jax.tree.map(np.testing.assert_array_equal, params, tokenizer.fit(KEY, vectors))


def test_prefixes_are_nested_clusters():
  vectors = mixture()
  params, codes = grow(KEY, vectors, **SETTINGS)
  levels = levels_of(params)
  for depth, level in enumerate(levels):
    node_N = walk(levels, codes, depth)
    for node in np.unique(node_N):
      items = np.flatnonzero(node_N == node)
      children = level.centroids_XxF[level.first_E[node] :][: level.size_E[node]]
      distance = np.square(vectors[items][:, None] - children[None]).sum(-1)
      np.testing.assert_array_equal(distance.argmin(1), codes[items, depth])
      # Every child has items, and a small node has one for each distinct vector.
      np.testing.assert_array_equal(np.unique(codes[items, depth]), np.arange(len(children)))
      if len(items) <= 8:
        assert len(children) == len(items)


def test_centroids_of_converged_nodes_are_the_means_of_their_items():
  vectors = mixture()
  params, codes = grow(KEY, vectors, num_levels=2, codebook_size=8, iterations=100)
  level = levels_of(params)[0]
  for code in range(8):
    mean = vectors[codes[:, 0] == code].mean(0)
    np.testing.assert_allclose(level.centroids_XxF[code], mean, atol=1e-4)


def test_the_key_decides(fitted):
  tokenizer, _, vectors, codes = fitted
  other = tokenizer.fit(jax.random.key(1), vectors)
  assert not np.array_equal(tokenizer.encode(other, vectors), codes)


def test_items_get_the_same_codes_alone_and_among_many(fitted):
  tokenizer, params, vectors, codes = fitted
  many = np.concatenate([mixture(3 * TILE_SIZE, seed=1), vectors])
  together = tokenizer.encode(params, many)
  np.testing.assert_array_equal(together[-600:], codes)
  for row in range(0, len(many), 97):
    np.testing.assert_array_equal(tokenizer.encode(params, many[row : row + 1])[0], together[row])


def test_unseen_items_get_codes_of_existing_nodes(fitted):
  tokenizer, params, _, codes = fitted
  strangers = np.concatenate([mixture(300, seed=5) * 4, np.zeros((3, 5), np.float32)])
  found = tokenizer.encode(params, strangers)
  assert {tuple(x) for x in found} <= {tuple(x) for x in codes}


def test_a_memory_mapped_catalogue_gives_the_same(fitted, tmp_path):
  tokenizer, params, vectors, codes = fitted
  np.save(tmp_path / "vectors.npy", vectors)
  mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
  jax.tree.map(np.testing.assert_array_equal, params, tokenizer.fit(KEY, mapped))
  np.testing.assert_array_equal(tokenizer.encode(params, mapped), codes)


def test_small_blocks_change_nothing(monkeypatch):
  vectors = mixture()
  _, codes = grow(KEY, vectors, **SETTINGS)
  monkeypatch.setattr("sidrec.tokenizers.kmeans.cluster_tree.TILE_ROWS", 64)
  monkeypatch.setattr("sidrec.tokenizers.kmeans.cluster_tree.TILE_SIZE", 16)
  monkeypatch.setattr(module, "COPY_ROWS", 7)
  np.testing.assert_array_equal(grow(KEY, vectors, **SETTINGS)[1], codes)


def test_children_are_bounded():
  vectors = mixture(noise=0.05, num_groups=6)
  _, plain = grow(KEY, vectors, **SETTINGS)
  _, bounded = grow(KEY, vectors, **SETTINGS, balance_slack=1.2)
  assert np.bincount(plain[:, 0]).max() > np.ceil(600 * 1.2 / 8)
  groups = [np.zeros(600, np.int64), bounded[:, 0]]
  for depth, node_N in enumerate(groups):
    for node in np.unique(node_N):
      here = bounded[node_N == node, depth]
      assert len(here) <= 8 or np.bincount(here).max() <= np.ceil(len(here) * 1.2 / 8)


def test_nodes_are_learnt_from_samples(monkeypatch):
  vectors = mixture(3000)
  monkeypatch.setattr(module, "NODE_SAMPLE", 32)
  tokenizer = hierarchical_kmeans(2, 8, 15)
  params = tokenizer.fit(KEY, vectors)
  codes = tokenizer.encode(params, vectors)
  assert len(np.unique(codes, axis=0)) == 64
  error = np.square(vectors - tokenizer.decode(params, codes)).sum()
  assert error < 0.35 * np.square(vectors - vectors.mean(0, keepdims=True)).sum()


def test_decode_gives_the_deepest_centroids():
  vectors = mixture(100)
  params, codes = grow(KEY, vectors, 3, 8, 25)
  # 100 items in 8 + 64 clusters: three levels tell all of them apart.
  assert len(np.unique(codes, axis=0)) == 100
  np.testing.assert_array_equal(hierarchical_kmeans(3, 8, 25).decode(params, codes), vectors)


def test_costs_are_squared_distances_to_the_children_of_the_prefix():
  vectors = mixture()
  params, codes = grow(KEY, vectors, **SETTINGS)
  tokenizer = hierarchical_kmeans(**SETTINGS)
  levels = levels_of(params)
  for depth, level in enumerate(levels):
    altered = codes.copy()
    altered[:, depth:] = 0  # not looked at
    costs = tokenizer.costs(params, vectors, altered, depth)
    np.testing.assert_array_equal(costs[np.arange(600), codes[:, depth]], costs.min(1))
    node_N = walk(levels, codes, depth)
    exists = np.arange(8)[None] < level.size_E[node_N][:, None]
    np.testing.assert_array_equal(np.isfinite(costs), exists)
    child = np.where(exists, level.first_E[node_N][:, None] + np.arange(8)[None], 0)
    wanted = np.square(vectors[:, None] - level.centroids_XxF[child]).sum(-1)
    np.testing.assert_allclose(costs[exists], wanted[exists], atol=1e-4)
  assert not exists.all()  # else inf was never asked for


def test_equal_vectors_share_a_leaf_and_nearly_equal_ones_do_not():
  base = mixture(6)
  near = np.nextafter(base, np.float32(9))
  vectors = np.concatenate([base, near, base])
  params, codes = grow(KEY, vectors, num_levels=1, codebook_size=18, iterations=25)
  np.testing.assert_array_equal(codes[:6], codes[12:])
  assert len(np.unique(codes)) == 12
  assert len(params["level_0"]["centroids_XxF"]) == 12


@pytest.mark.parametrize("slack", [0.0, 1.2])
@pytest.mark.parametrize(
  "vectors",
  [
    np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32),  # N < V
    np.zeros((20, 3), np.float32),
    np.ones((1, 3), np.float32),
    np.repeat(np.random.default_rng(1).normal(size=(4, 3)), 8, axis=0).astype(np.float32),
  ],
  ids=["few", "zeros", "one", "repeated"],
)
def test_degenerate_catalogues_are_reproduced(vectors, slack):
  params, codes = grow(KEY, vectors, 2, 8, 25, balance_slack=slack)
  tokenizer = hierarchical_kmeans(2, 8, 25)
  np.testing.assert_allclose(tokenizer.decode(params, codes), vectors, atol=1e-5)
  assert len(np.unique(codes, axis=0)) == len(np.unique(vectors, axis=0))


def test_bad_vectors_codes_and_prefixes_are_refused(fitted):
  tokenizer, params, vectors, _ = fitted
  bad = vectors.copy()
  bad[37, 2] = np.inf
  for use in (lambda: tokenizer.fit(KEY, bad), lambda: tokenizer.encode(params, bad)):
    with pytest.raises(ValueError, match="row 37"):
      use()
  with pytest.raises(ValueError, match="fitted on width 5"):
    tokenizer.encode(params, vectors[:, :4])
  with pytest.raises(ValueError, match=r"give \[items, 3\]"):
    tokenizer.decode(params, np.zeros((4, 2), np.int32))
  few = hierarchical_kmeans(2, 8, 25)
  with pytest.raises(ValueError, match=r"\[5, 0\] in row 1 lead to no cluster"):
    few.decode(few.fit(KEY, vectors[:3]), np.array([[0, 0], [5, 0]]))
