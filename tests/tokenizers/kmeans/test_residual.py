"""Residual k-means: levels add up, codes do not depend on blocks, bounded codes, bad input."""

import jax
import numpy as np
import pytest

from sidrec.parallel.mesh import make_mesh
from sidrec.tokenizers.base import BLOCK_SIZE
from sidrec.tokenizers.kmeans import residual as module
from sidrec.tokenizers.kmeans.residual import residual_kmeans
from sidrec.tokenizers.report.quality import unexplained_variance

KEY = jax.random.key(0)


def mixture(num_items=500, num_groups=30, width=6, noise=0.3, seed=0):
  rng = np.random.default_rng(seed)
  centers = rng.normal(size=(num_groups, width))
  vectors = centers[rng.integers(num_groups, size=num_items)]
  return (vectors + noise * rng.normal(size=vectors.shape)).astype(np.float32)


@pytest.fixture(scope="module", params=[0.0, 1.1], ids=["plain", "balanced"])
def fitted(request):
  vectors = mixture()
  tokenizer = residual_kmeans(3, 16, 20, balance_slack=request.param)
  return tokenizer, tokenizer.fit(KEY, vectors), vectors


def test_codes_are_the_nearest_codewords_of_the_residuals():
  vectors = mixture()
  tokenizer = residual_kmeans(3, 16, 20)
  params = tokenizer.fit(KEY, vectors)
  codes = tokenizer.encode(params, vectors)
  residual = vectors.astype(np.float64)
  for level, centroids in enumerate(params["centroids_LxVxF"]):
    distance = np.square(residual[:, None] - centroids[None]).sum(-1)
    np.testing.assert_array_equal(codes[:, level], distance.argmin(1))
    residual = residual - centroids[codes[:, level]]
  np.testing.assert_allclose(vectors - tokenizer.decode(params, codes), residual, atol=1e-5)


def test_the_error_falls_with_levels():
  vectors = mixture()
  errors = []
  for levels in (1, 2, 3):
    tokenizer = residual_kmeans(levels, 16, 20)
    params = tokenizer.fit(KEY, vectors)
    decoded = tokenizer.decode(params, tokenizer.encode(params, vectors))
    errors.append(unexplained_variance(vectors, decoded))
  assert errors[1] < 0.8 * errors[0]
  assert errors[2] < 0.8 * errors[1]


def test_the_key_decides(fitted):
  tokenizer, params, vectors = fitted
  jax.tree.map(np.testing.assert_array_equal, params, tokenizer.fit(KEY, vectors))
  other = tokenizer.fit(jax.random.key(1), vectors)
  assert not np.array_equal(params["centroids_LxVxF"], other["centroids_LxVxF"])


def test_items_get_the_same_codes_alone_and_among_many(fitted):
  tokenizer, params, vectors = fitted
  many = np.concatenate([mixture(BLOCK_SIZE + 77, seed=1), vectors])
  codes = tokenizer.encode(params, many)
  assert codes.dtype == np.int32
  np.testing.assert_array_equal(codes[-500:], tokenizer.encode(params, vectors))
  for row in range(0, len(many), 131):
    np.testing.assert_array_equal(tokenizer.encode(params, many[row : row + 1])[0], codes[row])


def test_a_memory_mapped_catalogue_gives_the_same(fitted, tmp_path):
  tokenizer, params, vectors = fitted
  np.save(tmp_path / "vectors.npy", vectors)
  mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
  jax.tree.map(np.testing.assert_array_equal, params, tokenizer.fit(KEY, mapped))
  np.testing.assert_array_equal(tokenizer.encode(params, mapped), tokenizer.encode(params, vectors))


def test_bounded_codes_are_given_to_no_more_items_than_allowed():
  vectors = mixture(noise=0.05, num_groups=10)
  plain, bounded = residual_kmeans(2, 16, 20), residual_kmeans(2, 16, 20, balance_slack=1.1)
  most = int(np.ceil(500 * 1.1 / 16))
  codes = plain.encode(plain.fit(KEY, vectors), vectors)
  assert np.bincount(codes[:, 0]).max() > most
  params = bounded.fit(KEY, vectors)
  codes = bounded.encode(params, vectors)
  for level in range(2):
    assert np.bincount(codes[:, level]).max() <= most
  strangers = bounded.encode(params, mixture(seed=9) * 5)
  assert ((strangers >= 0) & (strangers < 16)).all()


@pytest.mark.parametrize("slack", [0.0, 1.1])
def test_codebooks_of_a_sample_bound_the_whole_catalogue(monkeypatch, slack):
  vectors = mixture(4000)
  tokenizer = residual_kmeans(2, 16, 20, balance_slack=slack)
  every = tokenizer.fit(KEY, vectors)
  monkeypatch.setattr(module, "FIT_SAMPLE", 40)
  sampled = tokenizer.fit(KEY, vectors)
  assert not np.array_equal(every["centroids_LxVxF"], sampled["centroids_LxVxF"])
  codes = [tokenizer.encode(params, vectors) for params in (every, sampled)]
  errors = [
    unexplained_variance(vectors, tokenizer.decode(p, c))
    for p, c in zip((every, sampled), codes, strict=True)
  ]
  assert errors[1] < 1.3 * errors[0]
  if slack:
    assert max(np.bincount(level).max() for level in codes[1].T) <= np.ceil(4000 * slack / 16)


def test_sampled_rows_are_spread_and_distinct():
  rows = module.sample_rows(1000, 100, KEY)
  np.testing.assert_array_equal(rows // 10, np.arange(100))
  np.testing.assert_array_equal(module.sample_rows(7, 100, KEY), np.arange(7))
  samples = [module.sample_rows(4, 2, jax.random.key(seed)) for seed in range(20)]
  np.testing.assert_array_equal(np.unique(samples), np.arange(4))  # the first and the last, too


def test_costs_are_squared_distances_and_the_own_code_costs_least():
  vectors = mixture()
  tokenizer = residual_kmeans(3, 16, 20)
  params = tokenizer.fit(KEY, vectors)
  codes = np.asarray(tokenizer.encode(params, vectors))
  for level in range(3):
    altered = codes.copy()
    altered[:, level:] = 0  # not looked at
    costs = tokenizer.costs(params, vectors, altered, level)
    assert costs.shape == (500, 16)
    np.testing.assert_array_equal(costs[np.arange(500), codes[:, level]], costs.min(1))
    above = params["centroids_LxVxF"][np.arange(level), codes[:, :level]].sum(1)
    residual = vectors - above
    wanted = np.square(residual[:, None] - params["centroids_LxVxF"][level][None]).sum(-1)
    np.testing.assert_allclose(costs, wanted, atol=1e-4)


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
  tokenizer = residual_kmeans(2, 8, 10, balance_slack=slack)
  params = tokenizer.fit(KEY, vectors)
  codes = tokenizer.encode(params, vectors)
  np.testing.assert_allclose(tokenizer.decode(params, codes), vectors, atol=1e-5)
  distinct = len(np.unique(vectors, axis=0))
  assert len(np.unique(codes, axis=0)) == distinct


def test_bad_vectors_and_codes_are_refused(fitted):
  tokenizer, params, vectors = fitted
  bad = vectors.copy()
  bad[37, 2] = np.nan
  for use in (lambda: tokenizer.fit(KEY, bad), lambda: tokenizer.encode(params, bad)):
    with pytest.raises(ValueError, match="row 37"):
      use()
  with pytest.raises(ValueError, match="fitted on width 6"):
    tokenizer.encode(params, vectors[:, :5])
  with pytest.raises(ValueError, match=r"give \[items, 3\]"):
    tokenizer.decode(params, np.zeros((4, 2), np.int32))
  with pytest.raises(ValueError, match=r"outside 0\.\.15"):
    tokenizer.decode(params, np.full((4, 3), 16))


@pytest.mark.parametrize(
  ("settings", "match"),
  [
    ((0, 8, 5), "id_length"),
    ((2, 1, 5), "codebook_size"),
    ((2, 8, -1), "iterations"),
    ((2, 8, 5, 0.9), "balance_slack"),
  ],
)
def test_settings_that_make_no_sense_are_refused(settings, match):
  with pytest.raises(ValueError, match=match):
    residual_kmeans(*settings)


@pytest.mark.parametrize("slack", [0.0, 1.1])
def test_items_spread_over_devices_get_the_same_codes(slack):
  vectors = mixture(num_items=501)  # which no number of devices divides
  mesh = make_mesh(jax.devices()[:4])
  codes, centroids = [], []
  for devices in (None, mesh):
    tokenizer = residual_kmeans(2, 16, 20, balance_slack=slack, mesh=devices)
    params = tokenizer.fit(KEY, vectors)
    codes.append(tokenizer.encode(params, vectors))
    centroids.append(params["centroids_LxVxF"])
  np.testing.assert_array_equal(*codes)
  np.testing.assert_allclose(*centroids, atol=1e-5)
