"""Residual quantization: NumPy as a second opinion, gradients by formula, and codebooks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.tokenizers.rqvae import quantizer
from sidrec.tokenizers.rqvae.quantizer import Averages, quantize, rotation, straight_through


def draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def reference_codes(codebooks, latents, distance="euclidean"):
  """Residual nearest-neighbour search, item by item, in float64."""
  codes = []
  for residual in np.asarray(latents, np.float64):
    codes.append([])
    for codebook in np.asarray(codebooks, np.float64):
      if distance == "cosine":
        code = (codebook @ residual / np.linalg.norm(codebook, axis=1)).argmax()
      else:
        code = np.square(codebook - residual).sum(1).argmin()
      residual = residual - codebook[code]
      codes[-1].append(code)
  return np.array(codes)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_codes_equal_a_numpy_search(distance):
  codebooks, latents = draw(3, 16, 8), 2 * draw(200, 8, seed=1)
  quantized = quantize(jnp.asarray(codebooks), jnp.asarray(latents), distance)
  assert quantized.codes_LxB.dtype == np.int32
  np.testing.assert_array_equal(
    quantized.codes_LxB.T, reference_codes(codebooks, latents, distance)
  )


def test_quantize_returns_what_each_level_was_given_and_took():
  codebooks = jnp.array([[[0.0], [10.0]], [[0.0], [2.0]], [[-1.0], [1.0]]])
  quantized = quantize(codebooks, jnp.array([[11.5], [0.9]]))
  np.testing.assert_array_equal(quantized.codes_LxB, [[1, 0], [1, 0], [0, 1]])
  residuals = quantized.residuals_LxBxD[..., 0]
  np.testing.assert_allclose(residuals, [[11.5, 0.9], [1.5, 0.9], [-0.5, 0.9]], rtol=1e-5)
  np.testing.assert_array_equal(quantized.codewords_LxBxD[..., 0], [[10, 0], [2, 0], [-1, 1]])


def test_each_level_assigns_in_its_own_way():
  codebooks, latents = jnp.asarray(draw(2, 8, 4)), jnp.asarray(draw(20, 4, seed=1))
  farthest = lambda distance_VxB: distance_VxB.argmax(0)
  mixed = quantize(codebooks, latents, assign_L=[quantizer.nearest_codes, farthest])
  plain = quantize(codebooks, latents)
  np.testing.assert_array_equal(mixed.codes_LxB[0], plain.codes_LxB[0])
  left = mixed.residuals_LxBxD[1]
  np.testing.assert_array_equal(left, plain.residuals_LxBxD[1])
  distances = np.square(np.asarray(left)[:, None] - np.asarray(codebooks)[None, 1]).sum(-1)
  np.testing.assert_array_equal(mixed.codes_LxB[1], distances.argmax(1))


def test_distances_by_hand():
  residual, codebook = jnp.array([[3.0, 4.0]]), jnp.array([[3.0, 0.0], [0.0, 0.0], [-6.0, -8.0]])
  np.testing.assert_allclose(
    quantizer.distances(residual, codebook, "euclidean")[:, 0], [16, 25, 225], rtol=1e-5
  )
  np.testing.assert_allclose(  # a zero vector has no direction and is at distance 1
    quantizer.distances(residual, codebook, "cosine")[:, 0], [2 - 2 * 0.6, 1, 4], rtol=1e-5
  )


def test_ties_go_to_the_first_code():
  codebook = jnp.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
  np.testing.assert_array_equal(quantize(codebook, jnp.array([[2.0, 0.1]])).codes_LxB, [[0]])


def test_cosine_assignment_does_not_depend_on_lengths():
  codebook, latents = draw(1, 16, 8), draw(100, 8, seed=1)
  codes = lambda c, z, d: np.asarray(quantize(jnp.asarray(c), jnp.asarray(z), d).codes_LxB)
  lengths = np.exp(draw(16, 1, seed=2))
  scales = np.exp(draw(100, 1, seed=3))
  before = codes(codebook, latents, "cosine")
  np.testing.assert_array_equal(codes(codebook * lengths, latents * scales, "cosine"), before)
  assert (codes(codebook * lengths, latents, "euclidean") != before).any()


def test_straight_through_is_the_identity_for_gradients():
  latents, quantized = jnp.array([[0.3, -2.0]]), jnp.array([[1.0, -1.0]])
  weights = jnp.array([[5.0, 7.0]])
  value, (to_latents, to_quantized) = jax.value_and_grad(
    lambda z, q: (weights * straight_through(z, q) ** 2).sum(), argnums=(0, 1)
  )(latents, quantized)
  assert float(value) == pytest.approx(12.0)
  np.testing.assert_allclose(to_latents, 2 * weights * quantized, rtol=1e-6)  # 2 w q · dz/dz
  np.testing.assert_array_equal(to_quantized, jnp.zeros((1, 2)))


@pytest.mark.parametrize("estimator", quantizer.ESTIMATORS.values())
def test_estimators_have_exactly_the_quantized_value(estimator):
  latents, quantized = jnp.asarray(1e3 * draw(50, 8)), jnp.asarray(draw(50, 8, seed=1))
  np.testing.assert_array_equal(jax.jit(estimator)(latents, quantized), quantized)


def jacobian_of_rotation(latent, quantized):
  of_one = lambda z: rotation(z[None], jnp.asarray(quantized)[None])[0]
  return np.asarray(jax.jacobian(of_one)(jnp.asarray(latent)), np.float64)


@pytest.mark.parametrize("seed", range(5))
def test_the_jacobian_of_rotation_is_a_scaled_rotation(seed):
  z, q = draw(6, seed=seed), 3 * draw(6, seed=seed + 100)
  jacobian = jacobian_of_rotation(z, q)
  scale = np.linalg.norm(q) / np.linalg.norm(z)
  np.testing.assert_allclose(jacobian @ z, q, atol=1e-5)  # it carries the latent to the quantized
  turn = jacobian / scale
  np.testing.assert_allclose(turn.T @ turn, np.eye(6), atol=1e-5)
  assert np.linalg.det(turn) == pytest.approx(1.0, abs=1e-4)  # no reflection
  # What is at right angles to both stays: the rotation is in their plane alone.
  basis, _ = np.linalg.qr(np.stack([z, q], axis=1).astype(np.float64), mode="complete")
  np.testing.assert_allclose(turn @ basis[:, 2:], basis[:, 2:], atol=1e-5)


def test_no_gradient_of_rotation_reaches_the_quantized():
  z, q = jnp.asarray(draw(4, 6)), jnp.asarray(draw(4, 6, seed=1))
  gradient = jax.grad(lambda q: (rotation(z, q) ** 2).sum())(q)
  np.testing.assert_array_equal(gradient, jnp.zeros_like(q))


def test_rotation_of_opposite_and_of_zero_vectors():
  z = np.array([3.0, 4.0, 0.0], np.float32)
  opposite = jacobian_of_rotation(z, -2 * z)
  np.testing.assert_allclose(opposite @ z, -2 * z, atol=1e-5)
  np.testing.assert_allclose(opposite.T @ opposite, 4 * np.eye(3), atol=1e-5)
  np.testing.assert_array_equal(jacobian_of_rotation(np.zeros(3, np.float32), z), np.eye(3))
  np.testing.assert_array_equal(jacobian_of_rotation(z, np.zeros(3, np.float32)), 0)
  np.testing.assert_allclose(jacobian_of_rotation(z, z), np.eye(3), atol=1e-6)


def test_batch_averages_by_hand():
  quantized = quantize(jnp.asarray(draw(2, 4, 3)), jnp.asarray(draw(40, 3, seed=1)))
  averages = quantizer.batch_averages(quantized, 4)
  for level in range(2):
    codes = np.asarray(quantized.codes_LxB[level])
    for code in range(4):
      own = np.asarray(quantized.residuals_LxBxD[level])[codes == code]
      assert float(averages.usage_LxV[level, code]) == pytest.approx(len(own) / 40)
      np.testing.assert_allclose(averages.sums_LxVxD[level, code], own.sum(0) / 40, atol=1e-6)


def test_averaged_codebooks_are_ratios_and_faded_codes_stay():
  averages = Averages(jnp.array([[0.5, 0.0]]), jnp.array([[[1.0, 2.0], [0.0, 0.0]]]))
  codebooks = quantizer.averaged_codebooks(averages, jnp.array([[[9.0, 9.0], [7.0, 8.0]]]))
  np.testing.assert_allclose(codebooks, [[[2.0, 4.0], [7.0, 8.0]]])


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_kmeans_start_quantizes_better_than_random_items(distance):
  rng = np.random.default_rng(0)
  latents = jnp.asarray(draw(30, 8)[rng.integers(30, size=600)] + 0.3 * draw(600, 8, seed=1))

  def error(codebooks):
    quantized = quantize(codebooks, latents, distance)
    return float(jnp.square(quantized.residuals_LxBxD[-1] - quantized.codewords_LxBxD[-1]).mean())

  books, residuals = [], latents
  for level in range(3):
    rows = jax.random.choice(jax.random.key(level), 600, (16,), replace=False)
    books.append(residuals[rows])
    residuals = residuals - books[-1][quantize(books[-1][None], residuals, distance).codes_LxB[0]]
  start = quantizer.kmeans_codebooks(jax.random.key(0), latents, 3, 16, 20, distance)
  assert error(start) < 0.8 * error(jnp.stack(books))


def test_cosine_start_has_the_means_of_clustered_directions():
  # Two directions, each with short and long vectors.
  latents = jnp.array([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [0.0, 4.0]])
  (codebook,) = quantizer.kmeans_codebooks(jax.random.key(0), latents, 1, 2, 10, "cosine")
  np.testing.assert_allclose(sorted(codebook.tolist()), [[0.0, 3.0], [3.0, 0.0]], atol=1e-5)
  # A vector alone in its direction is its own mean.
  (codebook,) = quantizer.kmeans_codebooks(jax.random.key(0), latents[1:], 1, 2, 10, "cosine")
  np.testing.assert_allclose(sorted(codebook.tolist()), [[0.0, 3.0], [5.0, 0.0]], atol=1e-5)


def test_dead_codes_move_to_residuals_of_their_level():
  codebooks, latents = jnp.asarray(draw(3, 16, 8)), jnp.asarray(2 * draw(64, 8, seed=1))
  dead = np.zeros((3, 16), bool)
  dead[0, [2, 7]] = dead[2, 5] = True
  moved = quantizer.revive(codebooks, jnp.asarray(dead), latents, jax.random.key(0))
  np.testing.assert_array_equal(np.asarray(moved)[~dead], np.asarray(codebooks)[~dead])
  residuals = np.asarray(quantize(moved, latents).residuals_LxBxD)
  for level, code in zip(*np.nonzero(dead), strict=True):
    assert np.abs(residuals[level] - np.asarray(moved)[level, code]).max(1).min() < 1e-5
  assert not np.allclose(moved[0, 2], moved[0, 7])


def test_perplexity_and_unique_share_by_hand():
  shares = jnp.array([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]])
  np.testing.assert_allclose(quantizer.perplexities(shares), [4, 1], rtol=1e-5)
  codes = jnp.array([[0, 1, 0, 0, 1], [2, 2, 2, 3, 2]])
  assert float(quantizer.unique_share(codes)) == pytest.approx(3 / 5)
