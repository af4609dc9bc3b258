"""Training an RQ-VAE: its losses, its start, and what follows each step without gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.tokenizers.base import Params, row_blocks
from sidrec.tokenizers.rqvae import autoencoder, quantizer, sinkhorn
from sidrec.tokenizers.rqvae.quantizer import Assign, Averages, quantize
from sidrec.tokenizers.settings import RQVAEConfig
from sidrec.training.task import Task

# The start is fitted to at most that many items: they are constants of the compiled program.
INIT_ITEMS = 16_384

Batch = dict[str, jax.Array]


def rqvae_task(config: RQVAEConfig, vectors_NxF: np.ndarray) -> Task:
  """What to train: batches are {'vectors_BxF': float32 [B, F]}.

  Parameters are {'encoder', 'decoder', 'codebooks_LxVxD'}. The loss is

    |x - x̂|² / mean |x - mean x|²  +  Σ_l (β mean (r_l - sg(q_l))² + mean (sg(r_l) - q_l)²)

  where level l quantizes r_l = z - sg(q_1 + … + q_{l-1}) to the codeword q_l, after Lee et al.,
  equations 7 and 8, and van den Oord et al. (2017), equation 3. The first term is the fraction of
  variance unexplained, so that no weight depends on the scale of the vectors. The last, the
  codebook loss, is there with `codebook_update='gradient'` alone. With 'ema', codebooks get no
  gradient and follow `aux`, which holds moving averages: of each code's share of the items,
  'usage_LxV', and of the sum of its residuals, 'sums_LxVxD'.

  Args:
    config: the shape and how it learns.
    vectors_NxF: the catalogue, float32, on one scale (standardised or normalised) and finite.

  Returns:
    The task. Its metrics are reconstruction, commitment (Σ mean (r_l - q_l)²), perplexity_1 …
    perplexity_L (exp of the entropy of the batch's codes) and unique_share (distinct tuples / B).

  Raises:
    ValueError: if all rows are equal.
  """
  num_items = len(vectors_NxF)
  if all((vectors_NxF[rows] == vectors_NxF[:1]).all() for rows in row_blocks(num_items)):
    raise ValueError(
      f"item vectors have no variance: all {num_items} rows equal row 0, "
      "so nothing tells the items apart; check the features"
    )
  variance = squares(vectors_NxF) / num_items
  if num_items > INIT_ITEMS:
    chosen = np.random.default_rng(0).choice(num_items, INIT_ITEMS, replace=False)
    vectors_NxF = vectors_NxF[np.sort(chosen)]
  return Task(
    init=functools.partial(_init, config, vectors_NxF),
    loss=functools.partial(_loss, config, variance, _training_assignments(config)),
    amend=functools.partial(_amend, config),
  )


def _loss(
  config: RQVAEConfig,
  variance: float,
  assign_L: list[Assign],
  params: Params,
  aux: Averages,
  batch: Batch,
  key: jax.Array,
) -> tuple[jax.Array, tuple[Averages, dict]]:
  del key
  stop = jax.lax.stop_gradient
  vectors_BxF, codebooks_LxVxD = batch["vectors_BxF"], params["codebooks_LxVxD"]
  latents_BxD = autoencoder.apply(params["encoder"], vectors_BxF)
  quantized = quantize(codebooks_LxVxD, stop(latents_BxD), config.distance, assign_L)
  sums_LxBxD = stop(jnp.cumsum(quantized.codewords_LxBxD, axis=0))

  through_BxD = quantizer.ESTIMATORS[config.estimator](latents_BxD, sums_LxBxD[-1])
  outputs_BxF = autoencoder.apply(params["decoder"], through_BxD)
  reconstruction = jnp.square(outputs_BxF - vectors_BxF).sum(-1).mean() / variance
  commitment = jnp.square(latents_BxD[None] - sums_LxBxD).mean((1, 2)).sum()
  total = reconstruction + config.commitment * commitment
  if config.codebook_update == "gradient":
    distances_LxBxD = stop(quantized.residuals_LxBxD) - quantized.codewords_LxBxD
    total += jnp.square(distances_LxBxD).mean((1, 2)).sum()

  of_batch = quantizer.batch_averages(stop(quantized), config.codebook_size)
  metrics = {
    "reconstruction": reconstruction,
    "commitment": commitment,
    "unique_share": quantizer.unique_share(quantized.codes_LxB),
  }
  for level, perplexity in enumerate(quantizer.perplexities(of_batch.usage_LxV), start=1):
    metrics[f"perplexity_{level}"] = perplexity
  decay = config.usage_decay
  return total, (jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, aux, of_batch), metrics)


def _amend(
  config: RQVAEConfig, params: Params, aux: Averages, batch: Batch, key: jax.Array
) -> tuple[Params, Averages]:
  codebooks_LxVxD = params["codebooks_LxVxD"]
  if config.codebook_update == "ema":
    codebooks_LxVxD = quantizer.averaged_codebooks(aux, codebooks_LxVxD)
  dead_LxV = aux.usage_LxV < config.revive_below / config.codebook_size

  def revive() -> tuple[jax.Array, Averages]:
    latents_BxD = autoencoder.apply(params["encoder"], batch["vectors_BxF"])
    revived_LxVxD = quantizer.revive(codebooks_LxVxD, dead_LxV, latents_BxD, key, config.distance)
    # Well above the threshold, to have time to attract items; little, to move to them soon.
    usage = 4 * config.revive_below / config.codebook_size
    usage_LxV = jnp.where(dead_LxV, usage, aux.usage_LxV)
    sums_LxVxD = jnp.where(dead_LxV[..., None], usage * revived_LxVxD, aux.sums_LxVxD)
    return revived_LxVxD, Averages(usage_LxV, sums_LxVxD)

  codebooks_LxVxD, aux = jax.lax.cond(dead_LxV.any(), revive, lambda: (codebooks_LxVxD, aux))
  return {**params, "codebooks_LxVxD": codebooks_LxVxD}, aux


def squares(items_NxF: np.ndarray) -> float:
  """Σ |x - mean x|², in float64 and in blocks."""
  blocks = row_blocks(len(items_NxF))
  sums_XxF = np.stack([items_NxF[rows].sum(axis=0, dtype=np.float64) for rows in blocks])
  mean_1xF = sums_XxF.sum(axis=0, keepdims=True) / len(items_NxF)
  return float(sum(np.square(items_NxF[rows] - mean_1xF).sum() for rows in blocks))


def _init(config: RQVAEConfig, vectors_NxF: np.ndarray, key: jax.Array) -> tuple[Params, Averages]:
  """Parameters fitted to the data: see `autoencoder.start`; codebooks by k-means on its latents."""
  encoder_key, decoder_key, codebook_key = jax.random.split(key, 3)
  encoder, decoder, latents_NxD = autoencoder.start(
    config.hidden, config.latent_dim, vectors_NxF, encoder_key, decoder_key
  )
  codebooks_LxVxD = quantizer.kmeans_codebooks(
    codebook_key,
    latents_NxD,
    config.num_levels,
    config.codebook_size,
    config.kmeans_iterations,
    config.distance,
  )
  quantized = quantize(codebooks_LxVxD, latents_NxD, config.distance)
  usage_LxV = quantizer.batch_averages(quantized, config.codebook_size).usage_LxV
  params = {"encoder": encoder, "decoder": decoder, "codebooks_LxVxD": codebooks_LxVxD}
  return params, Averages(usage_LxV, codebooks_LxVxD * usage_LxV[..., None])


def _training_assignments(config: RQVAEConfig) -> list[Assign]:
  """How each level chooses codes in training."""

  def balanced(distance_VxB: jax.Array) -> jax.Array:
    log_plan_VxB = sinkhorn.transport_plan(
      distance_VxB, config.sinkhorn_epsilon, config.sinkhorn_iterations
    )
    return quantizer.nearest_codes(-log_plan_VxB)

  first_balanced = {"none": config.num_levels, "last": config.num_levels - 1, "all": 0}
  start = first_balanced[config.sinkhorn_levels]
  return [
    balanced if level >= start else quantizer.nearest_codes for level in range(config.num_levels)
  ]
