"""Product quantization: against NumPy, the deal of directions, and awkward inputs."""

import tracemalloc

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from sidrec.tokenizers import product_quantization as module
from sidrec.tokenizers.base import BLOCK_SIZE
from sidrec.tokenizers.product_quantization import allocate, product_quantization
from sidrec.tokenizers.registry import make_tokenizer
from sidrec.tokenizers.report.quality import unexplained_variance
from sidrec.tokenizers.settings import ProductQuantizationSettings, TokenizerConfig

QUANTIZER = product_quantization(num_levels=4, codebook_size=16, iterations=10)


def correlated(num_items=900, width=16, rank=4, noise=0.1, seed=0):
  """Vectors that vary mostly in few directions, oblique to the axes."""
  rng = np.random.default_rng(seed)
  vectors = rng.normal(size=(num_items, rank)) @ rng.normal(size=(rank, width))
  return (vectors + noise * rng.normal(size=vectors.shape) + 3.0).astype(np.float32)


def left_over(tokenizer, params, vectors):
  return unexplained_variance(vectors, tokenizer.decode(params, tokenizer.encode(params, vectors)))


@pytest.fixture(scope="module")
def vectors():
  return correlated()


@pytest.fixture(scope="module")
def params(vectors):
  return QUANTIZER.fit(jax.random.key(0), vectors)


@pytest.fixture(scope="module")
def codes(params, vectors):
  return QUANTIZER.encode(params, vectors)


def parts_of(params, vectors):
  """Each level's part of the vectors, in float64: [N, L, D]."""
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  return np.einsum("nf,fld->nld", vectors - params["mean_F"], params["basis_FxLxD"])


def test_codes_equal_a_numpy_search(params, vectors, codes):
  books = np.asarray(params["codebooks_LxVxD"], np.float64)
  distances = np.square(parts_of(params, vectors)[:, :, None] - books[None]).sum(-1)
  assert codes.dtype == np.int32
  np.testing.assert_array_equal(codes, distances.argmin(-1))
  for level in range(4):
    costs = QUANTIZER.costs(params, vectors, codes, level)
    np.testing.assert_allclose(costs, distances[:, level], rtol=1e-3, atol=1e-4)


def test_costs_do_not_look_at_other_levels(params, vectors, codes):
  for level in range(4):
    costs = QUANTIZER.costs(params, vectors, codes, level)
    np.testing.assert_array_equal(costs.argmin(1), codes[:, level])
    np.testing.assert_array_equal(costs, QUANTIZER.costs(params, vectors, 0 * codes, level))
  with pytest.raises(ValueError, match=r"level -1 is outside 0\.\.3"):
    QUANTIZER.costs(params, vectors, codes, -1)


def test_costs_add_up_to_the_squared_error(params, vectors):
  any_codes = np.random.default_rng(2).integers(16, size=(len(vectors), 4)).astype(np.int32)
  error = np.square(QUANTIZER.decode(params, any_codes) - vectors).sum(1)
  summed = sum(
    QUANTIZER.costs(params, vectors, any_codes, level)[np.arange(900), any_codes[:, level]]
    for level in range(4)
  )
  np.testing.assert_allclose(summed, error, rtol=1e-3)


@pytest.mark.parametrize(("width", "levels"), [(16, 4), (7, 3), (5, 5), (6, 1)])
def test_the_basis_is_orthonormal_and_whole(width, levels):
  vectors = correlated(50, width)
  variances, directions = module._principal_directions(vectors, vectors.mean(0))
  basis = module._basis(directions, module.allocate(variances, levels))
  used = basis.reshape(width, -1)
  used = used[:, np.square(used).sum(0) > 0]
  np.testing.assert_allclose(used.T @ used, np.eye(width), atol=1e-5)
  sizes = (np.square(basis).sum(0) > 0).sum(-1)
  assert sizes.max() - sizes.min() <= 1


def test_rotated_parts_are_uncorrelated_and_share_the_variance(params, vectors):
  parts = parts_of(params, vectors)
  covariance = np.cov(parts.reshape(len(vectors), -1), rowvar=False)
  deviations = np.sqrt(np.diag(covariance))
  correlation = covariance / np.outer(deviations, deviations)
  np.testing.assert_allclose(correlation, np.eye(16), atol=1e-2)
  # Four strong directions, four parts: one each.
  variances = np.square(parts).mean(0)
  assert ((variances > 0.5).sum(1) == 1).all()


def test_principal_directions_are_those_of_all_blocks():
  vectors = correlated(BLOCK_SIZE + 500, width=5)
  vectors[BLOCK_SIZE:, 0] *= 20
  variances, directions = module._principal_directions(vectors, vectors.mean(0))
  covariance = directions @ np.diag(variances) @ directions.T
  np.testing.assert_allclose(covariance, np.cov(vectors, rowvar=False, ddof=0), rtol=1e-3)


def test_allocation_balances_products():
  parts = allocate(np.array([64.0, 32.0, 16.0, 8.0, 4.0, 2.0]), 2)
  assert [part.tolist() for part in parts] == [[0, 3, 4], [1, 2, 5]]
  spread = np.exp(np.random.default_rng(0).normal(size=64) * 2)
  logs = [np.log(spread[part]).sum() for part in allocate(spread, 4)]
  blocks = np.sort(np.log(spread)).reshape(4, -1).sum(1)
  assert np.ptp(logs) < 0.05 * np.ptp(blocks)


@hypothesis.settings(max_examples=60)
@hypothesis.given(
  st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=30),
  st.data(),
)
def test_allocation_deals_every_direction_once_whatever_the_scale(variances, data):
  num_parts = data.draw(st.integers(1, len(variances)))
  parts = allocate(np.array(variances), num_parts)
  assert sorted(np.concatenate(parts).tolist()) == list(range(len(variances)))
  sizes = [len(part) for part in parts]
  assert max(sizes) - min(sizes) <= 1
  scaled = allocate(np.array(variances) * 1024.0, num_parts)
  if min(variances) > 1e-3:
    assert [part.tolist() for part in scaled] == [part.tolist() for part in parts]


def test_decoding_is_a_fixed_point(params, codes):
  decoded = QUANTIZER.decode(params, codes)
  np.testing.assert_array_equal(QUANTIZER.encode(params, decoded), codes)
  with pytest.raises(ValueError, match=r"outside 0\.\.15"):
    QUANTIZER.decode(params, codes + 16)
  with pytest.raises(ValueError, match=r"give \[items, 4\]"):
    QUANTIZER.decode(params, codes[:, :2])


def test_the_key_decides(params, vectors):
  again = QUANTIZER.fit(jax.random.key(0), vectors)
  jax.tree.map(np.testing.assert_array_equal, params, again)
  other = QUANTIZER.fit(jax.random.key(1), vectors)
  assert (np.asarray(other["codebooks_LxVxD"]) != np.asarray(params["codebooks_LxVxD"])).any()


def test_an_item_alone_gets_the_code_that_it_gets_among_many(params):
  unseen = correlated(5000, seed=9)
  codes = QUANTIZER.encode(params, unseen)
  assert codes.min() >= 0
  assert codes.max() < 16
  decoded = QUANTIZER.decode(params, codes)
  for row in (0, 17, 4999):
    np.testing.assert_array_equal(QUANTIZER.encode(params, unseen[row : row + 1])[0], codes[row])
    np.testing.assert_array_equal(QUANTIZER.decode(params, codes[row : row + 1])[0], decoded[row])


def test_codebooks_are_fitted_to_a_sample_of_a_large_catalogue(monkeypatch):
  """Little is lost with 64 items per code instead of all 900."""
  vectors = correlated()
  small = product_quantization(4, 4, 10)
  whole = left_over(small, small.fit(jax.random.key(0), vectors), vectors)
  seen = []
  kmeans = module.kmeans
  monkeypatch.setattr(module, "FIT_SAMPLE", 64)
  monkeypatch.setattr(module, "kmeans", lambda *args: seen.append(args[1].shape) or kmeans(*args))
  sampled = left_over(small, small.fit(jax.random.key(0), vectors), vectors)
  assert seen == [(256, 4)] * 4
  assert sampled < 1.2 * whole


def test_a_memory_mapped_catalogue_is_not_copied(tmp_path):
  vectors = correlated(30_000, width=64)
  np.save(tmp_path / "vectors.npy", vectors)
  mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
  small = product_quantization(2, 4, 2)
  tracemalloc.start()
  params = small.fit(jax.random.key(0), mapped)
  codes = small.encode(params, mapped)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < vectors.nbytes / 2
  np.testing.assert_array_equal(codes, small.encode(params, vectors))


@pytest.mark.parametrize(
  "vectors",
  [
    np.zeros((9, 6)),
    np.full((1, 6), 7.0),
    np.tile([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]] * 2 + [[5.0, 1.0, 0.0, 0.0, 0.0, 0.0]], (3, 1)),
    np.outer(np.arange(9), np.arange(6)),
  ],
  ids=["zeros", "one item", "duplicates", "one direction"],
)
def test_few_distinct_items_are_kept_whole(vectors):
  """With no more distinct items than codes nothing is lost, whatever the rank."""
  vectors = vectors.astype(np.float32)
  tokenizer = product_quantization(4, 16, 10)
  params = tokenizer.fit(jax.random.key(0), vectors)
  codes = tokenizer.encode(params, vectors)
  np.testing.assert_allclose(tokenizer.decode(params, codes), vectors, atol=1e-4)
  assert len(np.unique(codes, axis=0)) == len(np.unique(vectors, axis=0))
  assert np.isfinite(tokenizer.costs(params, vectors, codes, 3)).all()


def test_bad_inputs_are_refused(params, vectors):
  spoilt = vectors.copy()
  spoilt[7, 2] = np.inf
  with pytest.raises(ValueError, match="row 7"):
    QUANTIZER.fit(jax.random.key(0), spoilt)
  with pytest.raises(ValueError, match="row 7"):
    QUANTIZER.encode(params, spoilt)
  with pytest.raises(ValueError, match="fitted on width 16"):
    QUANTIZER.encode(params, vectors[:, :4])
  with pytest.raises(ValueError, match="3 wide, too narrow for the parts of 4 levels"):
    QUANTIZER.fit(jax.random.key(0), vectors[:, :3])
  with pytest.raises(ValueError, match="iterations is 0"):
    product_quantization(2, 4, 0)


def test_without_rotation_parts_are_runs_of_columns():
  vectors = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
  settings = ProductQuantizationSettings(rotation=False)
  config = TokenizerConfig(
    "product_quantization", num_levels=2, codebook_size=8, product_quantization=settings
  )
  tokenizer = make_tokenizer(config, None)
  params = tokenizer.fit(jax.random.key(0), vectors)
  codes = np.asarray(tokenizer.encode(params, vectors))
  other = vectors.copy()
  other[:, 3:] += 3
  again = np.asarray(tokenizer.encode(params, other))
  np.testing.assert_array_equal(again[:, 0], codes[:, 0])
  assert (again[:, 1] != codes[:, 1]).any()
  with_rotation = product_quantization(2, 8, 50)
  turned = with_rotation.encode(with_rotation.fit(jax.random.key(0), vectors), vectors)
  assert (np.asarray(turned) != codes).any()
