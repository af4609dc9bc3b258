"""RQ-VAE: an autoencoder whose bottleneck is a sum of L codewords, one from each codebook.

After TIGER (Rajput et al., NeurIPS 2023) and RQ-VAE (Lee et al., CVPR 2022); `quantiser.py`
has what happens in the bottleneck.

Letters: N items, B items of a batch, F vector width, D latent width, L levels,
V codes per level.
"""

import dataclasses
import difflib
import functools
from collections.abc import Callable
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sidrec.tokenizers import quantiser, sinkhorn
from sidrec.tokenizers.base import BLOCK_SIZE, Array, Params, Tokenizer, check_vectors, map_blocks
from sidrec.tokenizers.collisions import collision_rate
from sidrec.tokenizers.quantiser import Assign, Averages, quantise
from sidrec.tokenizers.radix import as_codes
from sidrec.training.state import Task

# The start is fitted to at most that many items: they are constants of the compiled program.
INIT_ITEMS = 16_384

# The decoder's outputs start near the mean vector: its last layer is scaled by this part of the
# vectors' deviation. Large random outputs make the first steps shrink the latents until few codes
# are left.
OUTPUT_SCALE = 0.5


@dataclasses.dataclass(frozen=True)
class RQVAEConfig:
  """The shape of an RQ-VAE and how it learns.

  Attributes:
    num_levels: L.
    codebook_size: V.
    hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
    latent_dim: D.
    commitment: weight β of the commitment loss, a mean over D (where a paper sums over D, its β
      is D times as heavy). More of it tells more items apart and reconstructs less: latents that
      stay near their codewords shrink to what L codewords resolve.
    kmeans_iterations: at most that many to start each codebook.
    usage_decay: decay per step of the moving averages of the codes' use.
    revive_below: a code is dead once its share of the items falls below this
      part of the uniform share 1 / V; 0 revives none.
    codebook_update: 'ema', codewords are moving averages of what they quantise; or 'gradient',
      they descend the codebook loss.
    estimator: the gradient through the quantisation: 'straight_through' or 'rotation'; see
      `quantiser.py`.
    distance: 'euclidean', or 'cosine' to compare by direction; see `quantiser.distances`.
    sinkhorn_levels: 'none', 'last' or 'all': where training assigns the items of a batch evenly,
      see `sinkhorn.py`. `encode` gives the nearest codes at every level, always: a balanced
      assignment depends on which other items are encoded, so that an item would change its ID
      with its company.
    sinkhorn_epsilon: less balances more sharply.
    sinkhorn_iterations: of the balanced assignment; each goes through V·B distances twice.
  """

  num_levels: int = 3
  codebook_size: int = 256
  hidden: tuple[int, ...] = (256, 128)
  latent_dim: int = 32
  commitment: float = 2.0
  kmeans_iterations: int = 30
  usage_decay: float = 0.97
  revive_below: float = 0.05
  codebook_update: str = "ema"
  estimator: str = "straight_through"
  distance: str = "euclidean"
  sinkhorn_levels: str = "none"
  sinkhorn_epsilon: float = 0.003
  sinkhorn_iterations: int = 50

  def __post_init__(self):
    """Raises ValueError for a setting that makes no sense."""
    object.__setattr__(self, "hidden", tuple(self.hidden))  # a list would not hash
    for name in ("num_levels", "codebook_size", "latent_dim", "sinkhorn_iterations"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
    if any(width < 1 for width in self.hidden):
      raise ValueError(f"hidden widths must be at least 1, not {self.hidden}")
    if self.commitment < 0:
      raise ValueError(f"commitment must not be negative, but is {self.commitment}")
    if not self.sinkhorn_epsilon > 0:
      raise ValueError(f"sinkhorn_epsilon must be above 0, not {self.sinkhorn_epsilon}")
    for name in ("usage_decay", "revive_below"):
      if not 0 <= getattr(self, name) < 1:
        raise ValueError(f"{name} must lie in [0, 1), not {getattr(self, name)}")
    for name, choices in (
      ("codebook_update", ("ema", "gradient")),
      ("estimator", tuple(quantiser.ESTIMATORS)),
      ("distance", quantiser.DISTANCES),
      ("sinkhorn_levels", ("none", "last", "all")),
    ):
      if getattr(self, name) not in choices:
        close = difflib.get_close_matches(str(getattr(self, name)), choices, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(
          f"unknown {name} {getattr(self, name)!r}; {hint}choose from {', '.join(choices)}"
        )


class MLP(nn.Module):
  """Dense layers with ReLU between them."""

  widths: tuple[int, ...]

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float [..., any width] → [..., last of `widths`]."""
    for depth, width in enumerate(self.widths):
      if depth:
        x = nn.relu(x)  # GELU's tanh costs as much as the matrix products on CPU
      x = nn.Dense(width, name=f"layer_{depth}")(x)
    return x


def rqvae(config: RQVAEConfig, train_fn: Callable[[Task, jax.Array, Array], Params]) -> Tokenizer:
  """The RQ-VAE as a tokenizer.

  Args:
    config: its shape and how it learns.
    train_fn: (task, key, vectors_NxF) → params; trains the task on batches
      {'vectors_BxF': rows of the vectors}.

  Returns:
    A tokenizer whose functions raise ValueError as `rqvae_task`, `encode`, `decode` and `costs` do.
  """

  def fit(key: jax.Array, vectors_NxF: Array) -> Params:
    return train_fn(rqvae_task(config, vectors_NxF), key, vectors_NxF)

  return Tokenizer(
    name="rqvae",
    num_levels=config.num_levels,
    codebook_size=config.codebook_size,
    fit=fit,
    encode=functools.partial(encode, config),
    decode=functools.partial(decode, config),
    costs=functools.partial(costs, config),
  )


def rqvae_task(config: RQVAEConfig, vectors_NxF: Array) -> Task:
  """What to train: batches are {'vectors_BxF': float32 [B, F]}.

  Parameters are {'encoder', 'decoder', 'codebooks_LxVxD'}. The loss is

    |x - x̂|² / mean |x - mean x|²  +  Σ_l (β mean (r_l - sg(q_l))² + mean (sg(r_l) - q_l)²)

  where level l quantises r_l = z - sg(q_1 + … + q_{l-1}) to the codeword q_l, after Lee et al.,
  equations 7 and 8, and van den Oord et al. (2017), equation 3. The first term is the fraction of
  variance unexplained, so that no weight depends on the scale of the vectors. The last, the
  codebook loss, is there with `codebook_update='gradient'` alone. With 'ema', codebooks get no
  gradient and follow `aux`, which holds moving averages: of each code's share of the items,
  'usage_LxV', and of the sum of its residuals, 'sums_LxVxD'.

  Args:
    config: the shape and how it learns.
    vectors_NxF: the catalogue, on one scale (standardised or normalised) and finite.

  Returns:
    The task. Its metrics are reconstruction, commitment (Σ mean (r_l - q_l)²), perplexity_1 …
    perplexity_L (exp of the entropy of the batch's codes) and unique_share (distinct tuples / B).

  Raises:
    ValueError: if a vector is not finite (names its row), or all rows are equal.
  """
  items_NxF = check_vectors(vectors_NxF)
  blocks = lambda: (items_NxF[i : i + BLOCK_SIZE] for i in range(0, len(items_NxF), BLOCK_SIZE))
  if all((block_BxF == items_NxF[:1]).all() for block_BxF in blocks()):
    raise ValueError(
      f"item vectors have no variance: all {len(items_NxF)} rows equal row 0, "
      "so nothing tells the items apart; check the features"
    )
  variance = _squares(items_NxF) / len(items_NxF)
  if len(items_NxF) > INIT_ITEMS:
    chosen = np.random.default_rng(0).choice(len(items_NxF), INIT_ITEMS, replace=False)
    items_NxF = items_NxF[np.sort(chosen)]
  init = functools.partial(_init, config, items_NxF)
  assign_L = _training_assignments(config)

  def loss(
    params: Params, aux: Averages, batch: dict[str, jax.Array], key: jax.Array
  ) -> tuple[jax.Array, tuple[Averages, dict]]:
    del key
    stop = jax.lax.stop_gradient
    vectors_BxF, codebooks_LxVxD = batch["vectors_BxF"], params["codebooks_LxVxD"]
    latents_BxD = _latents(config, params["encoder"], vectors_BxF)
    quantised = quantise(codebooks_LxVxD, stop(latents_BxD), config.distance, assign_L)
    sums_LxBxD = stop(jnp.cumsum(quantised.codewords_LxBxD, axis=0))

    through_BxD = quantiser.ESTIMATORS[config.estimator](latents_BxD, sums_LxBxD[-1])
    outputs_BxF = _outputs(config, params["decoder"], through_BxD)
    reconstruction = jnp.square(outputs_BxF - vectors_BxF).sum(-1).mean() / variance
    commitment = jnp.square(latents_BxD[None] - sums_LxBxD).mean((1, 2)).sum()
    total = reconstruction + config.commitment * commitment
    if config.codebook_update == "gradient":
      distances_LxBxD = stop(quantised.residuals_LxBxD) - quantised.codewords_LxBxD
      total += jnp.square(distances_LxBxD).mean((1, 2)).sum()

    of_batch = quantiser.batch_averages(stop(quantised), config.codebook_size)
    metrics = {
      "reconstruction": reconstruction,
      "commitment": commitment,
      "unique_share": quantiser.unique_share(quantised.codes_LxB),
    }
    for level, perplexity in enumerate(quantiser.perplexities(of_batch.usage_LxV), start=1):
      metrics[f"perplexity_{level}"] = perplexity
    decay = config.usage_decay
    return total, (jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, aux, of_batch), metrics)

  def amend(
    params: Params, aux: Averages, batch: dict[str, jax.Array], key: jax.Array
  ) -> tuple[Params, Averages]:
    codebooks_LxVxD = params["codebooks_LxVxD"]
    if config.codebook_update == "ema":
      codebooks_LxVxD = quantiser.averaged_codebooks(aux, codebooks_LxVxD)
    dead_LxV = aux.usage_LxV < config.revive_below / config.codebook_size

    def revive() -> tuple[jax.Array, Averages]:
      latents_BxD = _latents(config, params["encoder"], batch["vectors_BxF"])
      revived_LxVxD = quantiser.revive(codebooks_LxVxD, dead_LxV, latents_BxD, key, config.distance)
      # Well above the threshold, to have time to attract items; little, to move to them soon.
      usage = 4 * config.revive_below / config.codebook_size
      usage_LxV = jnp.where(dead_LxV, usage, aux.usage_LxV)
      sums_LxVxD = jnp.where(dead_LxV[..., None], usage * revived_LxVxD, aux.sums_LxVxD)
      return revived_LxVxD, Averages(usage_LxV, sums_LxVxD)

    codebooks_LxVxD, aux = jax.lax.cond(dead_LxV.any(), revive, lambda: (codebooks_LxVxD, aux))
    return {**params, "codebooks_LxVxD": codebooks_LxVxD}, aux

  return Task(init=init, loss=loss, amend=amend)


def encode(config: RQVAEConfig, params: Params, vectors_NxF: Array) -> np.ndarray:
  """The nearest codes of items, seen in training or not: int32 [N, L].

  Raises:
    ValueError: if there are no vectors, one is not finite (names its row), or their width is not
      the trained one.
  """
  items_NxF = check_vectors(vectors_NxF, _width(params))
  return map_blocks(functools.partial(_encode, config, params), items_NxF)


def decode(config: RQVAEConfig, params: Params, codes_NxL: Array) -> np.ndarray:
  """The vectors that codes stand for: float32 [N, F].

  Raises:
    ValueError: if the codes are not integers in [0, V) of shape [N, L].
  """
  checked_NxL = as_codes(codes_NxL, config.codebook_size)
  _check_shape(checked_NxL, config.num_levels)
  return map_blocks(functools.partial(_decode, config, params), checked_NxL)


def costs(
  config: RQVAEConfig, params: Params, vectors_NxF: Array, codes_NxL: Array, level: int
) -> np.ndarray:
  """How far each code of a level is from what is left of an item: float32 [N, V].

  The squared distance by which `encode` chooses, after the codewords of the levels above `level`
  were taken away.

  Args:
    config: the shape.
    params: as trained.
    vectors_NxF: item vectors.
    codes_NxL: their codes, of which only those above `level` are read.
    level: 0 … L - 1.

  Raises:
    ValueError: as `encode` does; or if codes do not match the vectors, or there is no such level.
  """
  if not 0 <= level < config.num_levels:
    raise ValueError(f"level is {level}; give 0 to {config.num_levels - 1}")
  items_NxF = check_vectors(vectors_NxF, _width(params))
  codes_NxL = np.asarray(codes_NxL)
  _check_shape(codes_NxL, config.num_levels)
  if len(codes_NxL) != len(items_NxF):
    raise ValueError(f"{len(items_NxF)} vectors do not match the codes of {len(codes_NxL)} items")
  above_NxL = as_codes(codes_NxL[:, :level], config.codebook_size)
  return map_blocks(functools.partial(_costs, config, params), items_NxF, above_NxL)


def selection_score(config: RQVAEConfig, params: Params, vectors_NxF: Array) -> dict[str, float]:
  """How good parameters are on the whole catalogue; less is better.

  Returns:
    'reconstruction': fraction of variance unexplained; 'collision_rate': share of
    items that share their tuple; 'score': their sum.

  Raises:
    ValueError: as `encode` does.
  """
  items_NxF = check_vectors(vectors_NxF, _width(params))
  codes_NxL, error_N = map_blocks(functools.partial(_encode_and_err, config, params), items_NxF)
  reconstruction = float(error_N.sum(dtype=np.float64) / _squares(items_NxF))
  collisions = collision_rate(codes_NxL)
  return {
    "reconstruction": reconstruction,
    "collision_rate": collisions,
    "score": reconstruction + collisions,
  }


def _training_assignments(config: RQVAEConfig) -> list[Assign]:
  """How each level chooses codes in training."""

  def balanced(distance_VxB: jax.Array) -> jax.Array:
    log_plan_VxB = sinkhorn.transport_plan(
      distance_VxB, config.sinkhorn_epsilon, config.sinkhorn_iterations
    )
    return quantiser.nearest_codes(-log_plan_VxB)

  first_balanced = {"none": config.num_levels, "last": config.num_levels - 1, "all": 0}
  start = first_balanced[config.sinkhorn_levels]
  return [
    balanced if level >= start else quantiser.nearest_codes for level in range(config.num_levels)
  ]


def _init(config: RQVAEConfig, vectors_NxF: np.ndarray, key: jax.Array) -> tuple[Params, Averages]:
  """Parameters fitted to the data: standardised latents, k-means codebooks, a mean output."""
  encoder_key, decoder_key, codebook_key = jax.random.split(key, 3)
  width, last = vectors_NxF.shape[1], f"layer_{len(config.hidden)}"
  encoder: Params = _encoder(config).init(encoder_key, jnp.zeros((1, width)))["params"]
  decoder: Params = _decoder(config, width).init(decoder_key, jnp.zeros((1, config.latent_dim)))[
    "params"
  ]

  latents_NxD = _latents(config, encoder, jnp.asarray(vectors_NxF))
  center_D, scale = latents_NxD.mean(0), latents_NxD.std(0).mean() + 1e-6
  standardise = {"kernel": encoder[last]["kernel"] / scale, "bias": -center_D / scale}
  output_scale = OUTPUT_SCALE * float(vectors_NxF.std(axis=0).mean())
  near_mean = {
    "kernel": decoder[last]["kernel"] * output_scale,
    "bias": jnp.asarray(vectors_NxF.mean(axis=0)),
  }

  standard_NxD = (latents_NxD - center_D[None]) / scale
  codebooks_LxVxD = quantiser.kmeans_codebooks(
    codebook_key,
    standard_NxD,
    config.num_levels,
    config.codebook_size,
    config.kmeans_iterations,
    config.distance,
  )
  quantised = quantise(codebooks_LxVxD, standard_NxD, config.distance)
  usage_LxV = quantiser.batch_averages(quantised, config.codebook_size).usage_LxV
  params = {
    "encoder": {**encoder, last: standardise},
    "decoder": {**decoder, last: near_mean},
    "codebooks_LxVxD": codebooks_LxVxD,
  }
  return params, Averages(usage_LxV, codebooks_LxVxD * usage_LxV[..., None])


def _encoder(config: RQVAEConfig) -> MLP:
  return MLP((*config.hidden, config.latent_dim))


def _decoder(config: RQVAEConfig, width: int) -> MLP:
  return MLP((*reversed(config.hidden), width))


def _latents(config: RQVAEConfig, encoder: Params, vectors_BxF: jax.Array) -> jax.Array:
  return cast(jax.Array, _encoder(config).apply({"params": encoder}, vectors_BxF))


def _outputs(config: RQVAEConfig, decoder: Params, latents_BxD: jax.Array) -> jax.Array:
  width = decoder[f"layer_{len(config.hidden)}"]["bias"].shape[0]
  return cast(jax.Array, _decoder(config, width).apply({"params": decoder}, latents_BxD))


def _width(params: Params) -> int:
  """F of the vectors that the parameters were trained on."""
  return params["encoder"]["layer_0"]["kernel"].shape[0]


def _squares(items_NxF: np.ndarray) -> float:
  """Σ |x - mean x|², in float64 and in blocks."""
  starts = range(0, len(items_NxF), BLOCK_SIZE)
  block = lambda start: items_NxF[start : start + BLOCK_SIZE]
  sums_KxF = np.stack([block(start).sum(axis=0, dtype=np.float64) for start in starts])
  mean_1xF = sums_KxF.sum(axis=0, keepdims=True) / len(items_NxF)
  return float(sum(np.square(block(start) - mean_1xF).sum() for start in starts))


def _check_shape(codes_NxL: np.ndarray, num_levels: int) -> None:
  if codes_NxL.ndim != 2 or not len(codes_NxL) or codes_NxL.shape[1] != num_levels:
    raise ValueError(f"codes have shape {codes_NxL.shape}; give [items, {num_levels}]")


# What follows is for one block of items at a time.


@functools.partial(jax.jit, static_argnums=0)
def _encode(config: RQVAEConfig, params: Params, vectors_BxF: jax.Array) -> jax.Array:
  latents_BxD = _latents(config, params["encoder"], vectors_BxF)
  return quantise(params["codebooks_LxVxD"], latents_BxD, config.distance).codes_LxB.T


@functools.partial(jax.jit, static_argnums=0)
def _decode(config: RQVAEConfig, params: Params, codes_BxL: jax.Array) -> jax.Array:
  levels = zip(params["codebooks_LxVxD"], codes_BxL.T, strict=True)
  latents_BxD = jnp.stack([codebook_VxD[codes_B] for codebook_VxD, codes_B in levels]).sum(0)
  return _outputs(config, params["decoder"], latents_BxD)


@functools.partial(jax.jit, static_argnums=0)
def _encode_and_err(
  config: RQVAEConfig, params: Params, vectors_BxF: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Codes, and the squared error of what they stand for."""
  codes_BxL = _encode(config, params, vectors_BxF)
  error_BxF = _decode(config, params, codes_BxL) - vectors_BxF
  return codes_BxL, jnp.square(error_BxF).sum(-1)


@functools.partial(jax.jit, static_argnums=0)
def _costs(
  config: RQVAEConfig, params: Params, vectors_BxF: jax.Array, above_BxL: jax.Array
) -> jax.Array:
  """Costs at the level whose number is the width of `above`."""
  residual_BxD = _latents(config, params["encoder"], vectors_BxF)
  *above, codebook_VxD = params["codebooks_LxVxD"][: above_BxL.shape[1] + 1]
  for codes_B, earlier_VxD in zip(above_BxL.T, above, strict=True):
    residual_BxD = residual_BxD - earlier_VxD[codes_B]
  return quantiser.distances(residual_BxD, codebook_VxD, config.distance).T
