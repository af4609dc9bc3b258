"""The RQ-VAE in plain NumPy: codes, outputs, losses, moving averages; equal to 1e-5.

Letters: N items, B items of a batch, F vector width, D latent width, L levels, V codes per level.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.tokenizers.rqvae.quantizer import Averages
from sidrec.tokenizers.rqvae.rqvae import decode, encode, selection_score
from sidrec.tokenizers.rqvae.task import rqvae_task
from sidrec.tokenizers.settings import RQVAEConfig

N, B, F, D, L, V = 60, 24, 7, 4, 3, 6
HIDDEN = (9, 5)
assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def make_config(**changes):
  shape = {"num_levels": L, "codebook_size": V, "hidden": HIDDEN, "latent_dim": D}
  return RQVAEConfig(**{**shape, **changes})


def draw():
  """Vectors of items, parameters and averages, by NumPy."""
  rng = np.random.default_rng(11)

  def layers(widths):
    return {
      f"layer_{depth}": {
        "kernel": jnp.asarray(rng.normal(0, 1.5 * wide**-0.5, (wide, out)), jnp.float32),
        "bias": jnp.asarray(rng.normal(0, 0.5, out), jnp.float32),
      }
      for depth, (wide, out) in enumerate(itertools.pairwise(widths))
    }

  vectors_NxF = rng.normal(1.0, 2.0, (N, F)).astype(np.float32)
  params = {
    "encoder": layers([F, *HIDDEN, D]),
    "decoder": layers([D, *reversed(HIDDEN), F]),
    "codebooks_LxVxD": jnp.asarray(rng.normal(0, 1, (L, V, D)), jnp.float32),
  }
  usage_LxV = jnp.asarray(rng.uniform(0.5 / V, 1.5 / V, (L, V)), jnp.float32)
  averages = Averages(usage_LxV, params["codebooks_LxVxD"] * usage_LxV[..., None] * 1.1)
  return vectors_NxF, params, averages


def mlp(layers, x):
  for depth in range(len(layers)):
    if depth:
      x = np.maximum(x, 0.0)
    x = x @ layers[f"layer_{depth}"]["kernel"] + layers[f"layer_{depth}"]["bias"]
  return x


def residual_quantize(codebooks_LxVxD, latent_D, distance):
  """Codes, what each level was given, and what it took away, of one latent."""
  residual_D, codes, residuals, codewords = latent_D, [], [], []
  for codebook_VxD in codebooks_LxVxD:
    if distance == "cosine":
      code = np.argmax(codebook_VxD @ residual_D / np.linalg.norm(codebook_VxD, axis=1))
    else:
      code = np.argmin(((codebook_VxD - residual_D) ** 2).sum(axis=1))
    codes.append(code)
    residuals.append(residual_D)
    codewords.append(codebook_VxD[code])
    residual_D = residual_D - codebook_VxD[code]
  return np.array(codes), np.array(residuals), np.array(codewords)


def reference(params, vectors_NxF, distance):
  """(codes [B, L], residuals [B, L, D], codewords [B, L, D], latents, outputs) of all rows."""
  latents_BxD = mlp(params["encoder"], vectors_NxF)
  made = [residual_quantize(params["codebooks_LxVxD"], z_D, distance) for z_D in latents_BxD]
  codes, residuals, codewords = (np.array(part) for part in zip(*made, strict=True))
  return codes, residuals, codewords, latents_BxD, mlp(params["decoder"], codewords.sum(axis=1))


def as_float64(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_encode_and_decode(distance):
  vectors_NxF, params, _ = draw()
  config = make_config(distance=distance)
  codes_NxL, *_, outputs_NxF = reference(as_float64(params), vectors_NxF, distance)
  found_NxL = encode(config, params, vectors_NxF)
  np.testing.assert_array_equal(found_NxL, codes_NxL)
  assert_close(decode(params, found_NxL), outputs_NxF)
  assert all(len(set(column)) > 2 for column in codes_NxL.T)


def test_the_selection_score_is_the_unexplained_variance_and_the_colliding_items():
  vectors_NxF, params, _ = draw()
  codes_NxL, *_, outputs_NxF = reference(as_float64(params), vectors_NxF, "euclidean")
  lost = ((outputs_NxF - vectors_NxF) ** 2).sum()
  lost /= ((vectors_NxF - vectors_NxF.mean(axis=0, dtype=np.float64)) ** 2).sum()
  tuples = [tuple(code_L) for code_L in codes_NxL]
  colliding = np.mean([tuples.count(code_L) > 1 for code_L in tuples])
  assert 0 < colliding < 1
  found = selection_score(make_config(), params, vectors_NxF)
  assert found["reconstruction"] == pytest.approx(lost, rel=1e-5)
  assert found["collision_rate"] == pytest.approx(colliding)
  assert found["score"] == pytest.approx(lost + colliding, rel=1e-5)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("update", ["ema", "gradient"])
@pytest.mark.parametrize("commitment", [2.0, 0.25])
def test_losses(distance, update, commitment):
  """|x - x̂|² / variance + β Σ |r - sg(q)|² (+ Σ |sg(r) - q|²), means over items and D."""
  vectors_NxF, params, averages = draw()
  config = make_config(distance=distance, codebook_update=update, commitment=commitment)
  batch_BxF = vectors_NxF[:B]
  task = rqvae_task(config, vectors_NxF)
  batch = {"vectors_BxF": jnp.asarray(batch_BxF)}
  loss, (new, metrics) = jax.jit(task.loss)(params, averages, batch, jax.random.key(0))

  codes_BxL, residuals_BxLxD, codewords_BxLxD, _, outputs_BxF = reference(
    as_float64(params), batch_BxF, distance
  )
  mean_F = vectors_NxF.mean(axis=0, dtype=np.float64)
  variance = ((vectors_NxF - mean_F) ** 2).sum(axis=1).mean()
  reconstruction = ((outputs_BxF - batch_BxF) ** 2).sum(axis=1).mean() / variance
  distance_L = ((residuals_BxLxD - codewords_BxLxD) ** 2).mean(axis=(0, 2))
  expected = reconstruction + commitment * distance_L.sum()
  if update == "gradient":
    expected += distance_L.sum()
  assert_close(loss, expected)
  assert_close(metrics["reconstruction"], reconstruction)
  assert_close(metrics["commitment"], distance_L.sum())

  for level in range(L):
    count_V = np.bincount(codes_BxL[:, level], minlength=V)
    share_V = count_V[count_V > 0] / B
    perplexity = np.exp(-(share_V * np.log(share_V)).sum())
    assert_close(metrics[f"perplexity_{level + 1}"], perplexity)
    sums_VxD = np.zeros((V, D))
    np.add.at(sums_VxD, codes_BxL[:, level], residuals_BxLxD[:, level])
    assert_close(new.usage_LxV[level], 0.97 * averages.usage_LxV[level] + 0.03 * count_V / B)
    assert_close(new.sums_LxVxD[level], 0.97 * averages.sums_LxVxD[level] + 0.03 * sums_VxD / B)
  assert_close(metrics["unique_share"], len({tuple(code_L) for code_L in codes_BxL}) / B)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_what_follows_a_step(update):
  """Codewords follow the averages under 'ema'; with 'gradient' they stay."""
  vectors_NxF, params, averages = draw()
  task = rqvae_task(make_config(codebook_update=update), vectors_NxF)
  batch = {"vectors_BxF": jnp.asarray(vectors_NxF[:B])}
  amended, aux = jax.jit(task.amend)(params, averages, batch, jax.random.key(0))
  expected_LxVxD = np.asarray(params["codebooks_LxVxD"])
  if update == "ema":
    expected_LxVxD = np.asarray(averages.sums_LxVxD) / np.asarray(averages.usage_LxV)[..., None]
  assert_close(amended["codebooks_LxVxD"], expected_LxVxD)
  jax.tree.map(np.testing.assert_array_equal, aux, averages)
  jax.tree.map(np.testing.assert_array_equal, amended["encoder"], params["encoder"])


@pytest.mark.parametrize(("share", "dead"), [(0.049, True), (0.051, False)])
def test_a_code_is_dead_below_a_twentieth_of_the_uniform_share(share, dead):
  """It then takes the place of a residual of the batch, with four times that share."""
  vectors_NxF, params, averages = draw()
  usage_LxV = averages.usage_LxV.at[1, 2].set(share / V)
  sums_LxVxD = averages.sums_LxVxD.at[1, 2].set(0.0)
  task = rqvae_task(make_config(), vectors_NxF)
  batch = {"vectors_BxF": jnp.asarray(vectors_NxF[:B])}
  amended, aux = jax.jit(task.amend)(
    params, Averages(usage_LxV, sums_LxVxD), batch, jax.random.key(0)
  )
  codeword_D = np.asarray(amended["codebooks_LxVxD"][1, 2])
  if not dead:
    assert_close(aux.usage_LxV[1, 2], share / V)
    np.testing.assert_array_equal(codeword_D, 0.0)
    return
  assert_close(aux.usage_LxV[1, 2], 4 * 0.05 / V)
  assert_close(aux.sums_LxVxD[1, 2], 4 * 0.05 / V * codeword_D)
  moved = {**as_float64(params), "codebooks_LxVxD": as_float64(amended["codebooks_LxVxD"])}
  residuals_BxD = reference(moved, vectors_NxF[:B], "euclidean")[1][:, 1]
  assert np.abs(residuals_BxD - codeword_D).max(axis=1).min() < 1e-5
