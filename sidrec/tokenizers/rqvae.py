"""RQ-VAE: an autoencoder whose bottleneck is a sum of L codewords, one from each codebook.

After TIGER (Rajput et al., NeurIPS 2023) and RQ-VAE (Lee et al., CVPR 2022). The
codebooks follow moving averages of what they quantise, and dead codes are
replaced, as in SoundStream (Zeghidour et al., 2021).

Letters: N items, B items of a batch, F vector width, D latent width, L levels,
V codes per level.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sidrec.tokenizers.base import Array, Params, Tokenizer
from sidrec.tokenizers.collisions import collision_rate
from sidrec.tokenizers.kmeans import BLOCK_SIZE, kmeans, nearest
from sidrec.tokenizers.quality import unexplained_variance
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
  """The shape of an RQ-VAE and the weights of its losses.

  Attributes:
    num_levels: L.
    codebook_size: V.
    hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
    latent_dim: D.
    commitment: weight β of the commitment loss.
    kmeans_iterations: at most that many to start each codebook.
    usage_decay: decay per step of the codebooks' moving averages.
    revive_below: a code is dead once its share of the items falls below this
      part of the uniform share 1 / V; 0 revives none.
  """

  num_levels: int = 3
  codebook_size: int = 256
  hidden: tuple[int, ...] = (256, 128)
  latent_dim: int = 32
  commitment: float = 0.25
  kmeans_iterations: int = 30
  usage_decay: float = 0.97
  revive_below: float = 0.05

  def __post_init__(self):
    """Raises ValueError for a setting that makes no sense."""
    object.__setattr__(self, "hidden", tuple(self.hidden))  # a list would not hash
    for name in ("num_levels", "codebook_size", "latent_dim"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
    if any(width < 1 for width in self.hidden):
      raise ValueError(f"hidden widths must be at least 1, not {self.hidden}")
    if self.commitment < 0:
      raise ValueError(f"commitment must not be negative, but is {self.commitment}")
    for name in ("usage_decay", "revive_below"):
      if not 0 <= getattr(self, name) < 1:
        raise ValueError(f"{name} must lie in [0, 1), not {getattr(self, name)}")


class MLP(nn.Module):
  """Dense layers with GELU between them."""

  widths: tuple[int, ...]

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float [..., any width] → [..., last of `widths`]."""
    for depth, width in enumerate(self.widths):
      if depth:
        x = nn.gelu(x)
      x = nn.Dense(width, name=f"layer_{depth}")(x)
    return x


def rqvae(config: RQVAEConfig, train_fn: Callable[[Task, jax.Array, Array], Params]) -> Tokenizer:
  """The RQ-VAE as a tokenizer.

  Args:
    config: its shape.
    train_fn: (task, key, vectors_NxF) → params; trains the task on batches
      {'vectors_BxF': rows of the vectors}.

  Returns:
    A tokenizer whose functions raise ValueError as `rqvae_task`, `encode` and `decode` do.
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
  )


def rqvae_task(config: RQVAEConfig, vectors_NxF: Array) -> Task:
  """What to train: batches are {'vectors_BxF': float32 [B, F]}.

  Parameters are {'encoder', 'decoder', 'codebooks_LxVxD'}. The loss is

    |x - x̂|² / mean |x - mean x|²  +  β Σ_l mean (z - sg(q_1 + … + q_l))²

  with latents z and codewords q_l, after Lee et al., equations 7 and 8. The first
  term is the fraction of variance unexplained, so that no weight depends on
  the scale of the vectors. Codebooks get no gradient: `aux` holds moving averages
  of each code's share of the items, 'usage_LxV', and of the sum of its
  residuals, 'sums_LxVxD', whose ratio is the codeword.

  Args:
    config: the shape and the weights.
    vectors_NxF: the catalogue, on one scale (standardised or normalised) and finite.

  Returns:
    The task. Its metrics are reconstruction, commitment, perplexity_1 … perplexity_L
    (exp of the entropy of the batch's codes) and unique_share (distinct tuples / B).

  Raises:
    ValueError: if a vector is not finite (names its row), or all rows are equal.
  """
  items_NxF = _checked(vectors_NxF)
  if (items_NxF == items_NxF[:1]).all():
    raise ValueError(
      f"item vectors have no variance: all {len(items_NxF)} rows equal row 0, "
      "so nothing tells the items apart; check the features"
    )
  variance = float(items_NxF.var(axis=0, dtype=np.float64).sum())
  if len(items_NxF) > INIT_ITEMS:
    chosen = np.random.default_rng(0).choice(len(items_NxF), INIT_ITEMS, replace=False)
    items_NxF = items_NxF[chosen]
  init = functools.partial(_init, config, items_NxF)

  def loss(
    params: Params, aux: Any, batch: dict[str, jax.Array], key: jax.Array
  ) -> tuple[jax.Array, tuple[Any, dict]]:
    del key
    vectors_BxF = batch["vectors_BxF"]
    latents_BxD = _latents(config, params["encoder"], vectors_BxF)
    codebooks_LxVxD = jax.lax.stop_gradient(params["codebooks_LxVxD"])
    codes_LxB, residuals_LxBxD = quantise(codebooks_LxVxD, jax.lax.stop_gradient(latents_BxD))
    sums_LxBxD = jnp.cumsum(_codewords(codebooks_LxVxD, codes_LxB), axis=0)

    through_BxD = straight_through(latents_BxD, sums_LxBxD[-1])
    outputs_BxF = _outputs(config, params["decoder"], through_BxD)
    reconstruction = jnp.square(outputs_BxF - vectors_BxF).sum(-1).mean() / variance
    commitment = jnp.square(latents_BxD[None] - sums_LxBxD).mean((1, 2)).sum()

    share_LxV = _shares(codes_LxB, config.codebook_size)
    metrics = {
      "reconstruction": reconstruction,
      "commitment": commitment,
      "unique_share": _unique_share(codes_LxB),
    }
    for level, perplexity in enumerate(_perplexity(share_LxV), start=1):
      metrics[f"perplexity_{level}"] = perplexity
    batch_aux = {
      "usage_LxV": share_LxV,
      "sums_LxVxD": _residual_sums(codes_LxB, residuals_LxBxD, config.codebook_size),
    }
    decay = config.usage_decay
    aux = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, aux, batch_aux)
    return reconstruction + config.commitment * commitment, (aux, metrics)

  def amend(
    params: Params, aux: Any, batch: dict[str, jax.Array], key: jax.Array
  ) -> tuple[Params, Any]:
    usage_LxV, sums_LxVxD = aux["usage_LxV"], aux["sums_LxVxD"]
    # A code that was never revived may have faded to 0 / 0; it stays where it is.
    codebooks_LxVxD = jnp.where(
      (usage_LxV > 1e-20)[..., None],
      sums_LxVxD / jnp.maximum(usage_LxV, 1e-20)[..., None],
      params["codebooks_LxVxD"],
    )
    params = {**params, "codebooks_LxVxD": codebooks_LxVxD}
    dead_LxV = usage_LxV < config.revive_below / config.codebook_size
    revive = lambda params, aux: _revive(config, params, aux, dead_LxV, batch["vectors_BxF"], key)
    return jax.lax.cond(dead_LxV.any(), revive, lambda params, aux: (params, aux), params, aux)

  return Task(init=init, loss=loss, amend=amend)


def quantise(codebooks_LxVxD: jax.Array, latents_BxD: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Residual quantisation: each level takes the codeword nearest to what the levels before left.

  Returns:
    codes int32 [L, B], and what each level was given to quantise, float32 [L, B, D].
  """

  def level(residual_BxD: jax.Array, codebook_VxD: jax.Array):
    codes_B = nearest(residual_BxD, codebook_VxD)
    return residual_BxD - codebook_VxD[codes_B], (codes_B, residual_BxD)

  _, (codes_LxB, residuals_LxBxD) = jax.lax.scan(level, latents_BxD, codebooks_LxVxD)
  return codes_LxB, residuals_LxBxD


def straight_through(latents_BxD: jax.Array, quantised_BxD: jax.Array) -> jax.Array:
  """The value of `quantised`, with the gradient of the identity on `latents`."""
  return latents_BxD + jax.lax.stop_gradient(quantised_BxD - latents_BxD)


def encode(config: RQVAEConfig, params: Params, vectors_NxF: Array) -> jax.Array:
  """The codes of items, seen in training or not, in blocks of items: int32 [N, L].

  Raises:
    ValueError: if a vector is not finite (names its row), or their width is not the trained one.
  """
  width = params["encoder"]["layer_0"]["kernel"].shape[0]
  items_NxF = _checked(vectors_NxF)
  if items_NxF.shape[1] != width:
    raise ValueError(
      f"item vectors are {items_NxF.shape[1]} wide, but the RQ-VAE was trained on width {width}; "
      "encode with the features it was trained on"
    )
  return _encode(config, params, items_NxF)


def decode(config: RQVAEConfig, params: Params, codes_NxL: Array) -> jax.Array:
  """The vectors that codes stand for, in blocks of items: float32 [N, F].

  Raises:
    ValueError: if the codes are not integers in [0, V) of shape [N, L].
  """
  checked_NxL = as_codes(codes_NxL, config.codebook_size)
  if checked_NxL.ndim != 2 or checked_NxL.shape[1] != config.num_levels:
    raise ValueError(f"codes have shape {checked_NxL.shape}; give [items, {config.num_levels}]")
  return _decode(config, params, checked_NxL)


def reconstruct(config: RQVAEConfig, params: Params, vectors_NxF: Array) -> jax.Array:
  """What is left of vectors after `encode` and `decode`, which see: float32 [N, F]."""
  return decode(config, params, encode(config, params, vectors_NxF))


def selection_score(config: RQVAEConfig, params: Params, vectors_NxF: Array) -> dict[str, float]:
  """How good parameters are on the whole catalogue; less is better.

  Returns:
    'reconstruction': fraction of variance unexplained; 'collision_rate': share of
    items that share their tuple; 'score': their sum.

  Raises:
    ValueError: as `encode` does.
  """
  codes_NxL = encode(config, params, vectors_NxF)
  reconstructed_NxF = decode(config, params, codes_NxL)
  reconstruction = unexplained_variance(np.asarray(vectors_NxF), np.asarray(reconstructed_NxF))
  collisions = collision_rate(np.asarray(codes_NxL))
  return {
    "reconstruction": reconstruction,
    "collision_rate": collisions,
    "score": reconstruction + collisions,
  }


def _checked(vectors_NxF: Any) -> np.ndarray:
  """The vectors as float32 [N, F]; ValueError for another shape or a row that is not finite."""
  vectors_NxF = np.asarray(vectors_NxF, np.float32)
  if vectors_NxF.ndim != 2 or not vectors_NxF.shape[1]:
    raise ValueError(f"item vectors have shape {vectors_NxF.shape}; give [items, width]")
  bad_N = ~np.isfinite(vectors_NxF).all(axis=1)
  if bad_N.any():
    raise ValueError(
      f"item vectors hold NaN or infinity in row {int(bad_N.argmax())} "
      f"({int(bad_N.sum())} such rows in all); check the features of that item"
    )
  return vectors_NxF


def _init(config: RQVAEConfig, vectors_NxF: np.ndarray, key: jax.Array) -> tuple[Params, Any]:
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

  def level(residual_NxD: jax.Array, key: jax.Array):
    codebook_VxD, codes_N = kmeans(
      key, residual_NxD, config.codebook_size, config.kmeans_iterations
    )
    return residual_NxD - codebook_VxD[codes_N], (codebook_VxD, codes_N)

  level_keys = jax.random.split(codebook_key, config.num_levels)
  standard_NxD = (latents_NxD - center_D[None]) / scale
  _, (codebooks_LxVxD, codes_LxN) = jax.lax.scan(level, standard_NxD, level_keys)
  usage_LxV = _shares(codes_LxN, config.codebook_size)
  params = {
    "encoder": {**encoder, last: standardise},
    "decoder": {**decoder, last: near_mean},
    "codebooks_LxVxD": codebooks_LxVxD,
  }
  return params, {"usage_LxV": usage_LxV, "sums_LxVxD": codebooks_LxVxD * usage_LxV[..., None]}


def _revive(
  config: RQVAEConfig,
  params: Params,
  aux: Any,
  dead_LxV: jax.Array,
  vectors_BxF: jax.Array,
  key: jax.Array,
) -> tuple[Params, Any]:
  """Moves dead codes to random residuals of the batch, each to another one if B >= V."""
  batch_size, num_codes = len(vectors_BxF), config.codebook_size

  def level(residual_BxD: jax.Array, xs: tuple[jax.Array, jax.Array, jax.Array]):
    codebook_VxD, dead_V, key = xs
    rows_V = jax.random.choice(key, batch_size, (num_codes,), replace=batch_size < num_codes)
    codebook_VxD = jnp.where(dead_V[:, None], residual_BxD[rows_V], codebook_VxD)
    return residual_BxD - codebook_VxD[nearest(residual_BxD, codebook_VxD)], codebook_VxD

  latents_BxD = _latents(config, params["encoder"], vectors_BxF)
  level_keys = jax.random.split(key, config.num_levels)
  xs = (params["codebooks_LxVxD"], dead_LxV, level_keys)
  _, codebooks_LxVxD = jax.lax.scan(level, latents_BxD, xs)
  # Well above the threshold, to have time to attract items; little, to move to them soon.
  usage = 4 * config.revive_below / num_codes
  aux = {
    "usage_LxV": jnp.where(dead_LxV, usage, aux["usage_LxV"]),
    "sums_LxVxD": jnp.where(dead_LxV[..., None], codebooks_LxVxD * usage, aux["sums_LxVxD"]),
  }
  return {**params, "codebooks_LxVxD": codebooks_LxVxD}, aux


def _encoder(config: RQVAEConfig) -> MLP:
  return MLP((*config.hidden, config.latent_dim))


def _decoder(config: RQVAEConfig, width: int) -> MLP:
  return MLP((*reversed(config.hidden), width))


def _latents(config: RQVAEConfig, encoder: Params, vectors_BxF: jax.Array) -> jax.Array:
  return cast(jax.Array, _encoder(config).apply({"params": encoder}, vectors_BxF))


def _outputs(config: RQVAEConfig, decoder: Params, latents_BxD: jax.Array) -> jax.Array:
  width = decoder[f"layer_{len(config.hidden)}"]["bias"].shape[0]
  return cast(jax.Array, _decoder(config, width).apply({"params": decoder}, latents_BxD))


def _codewords(codebooks_LxVxD: jax.Array, codes_LxB: jax.Array) -> jax.Array:
  """The chosen codewords, float32 [L, B, D]."""
  return jax.vmap(lambda codebook_VxD, codes_B: codebook_VxD[codes_B])(codebooks_LxVxD, codes_LxB)


def _shares(codes_LxB: jax.Array, num_codes: int) -> jax.Array:
  """Each code's share of the items, float32 [L, V]."""
  count = lambda codes_B: jnp.bincount(codes_B, length=num_codes)
  return jax.vmap(count)(codes_LxB) / codes_LxB.shape[1]


def _residual_sums(codes_LxB: jax.Array, residuals_LxBxD: jax.Array, num_codes: int) -> jax.Array:
  """The sum of each code's residuals, divided by B to be on the scale of shares."""
  add = lambda residuals_BxD, codes_B: jax.ops.segment_sum(residuals_BxD, codes_B, num_codes)
  return jax.vmap(add)(residuals_LxBxD, codes_LxB) / codes_LxB.shape[1]


def _perplexity(share_LxV: jax.Array) -> jax.Array:
  """exp of the entropy of each level's shares, float32 [L]; V at most."""
  return jnp.exp(-jax.scipy.special.xlogy(share_LxV, share_LxV).sum(-1))


def _unique_share(codes_LxB: jax.Array) -> jax.Array:
  """Distinct tuples per item of the batch."""
  sorted_LxB = jnp.stack(jax.lax.sort(tuple(codes_LxB), num_keys=len(codes_LxB)))
  differs = (sorted_LxB[:, 1:] != sorted_LxB[:, :-1]).any(0).sum()
  return (1 + differs) / codes_LxB.shape[1]


def _in_blocks(f: Callable[[jax.Array], jax.Array], rows_NxX: jax.Array) -> jax.Array:
  """Applies a function of rows to blocks of rows, so that memory does not grow with N."""
  num_rows = len(rows_NxX)
  padded = jnp.pad(rows_NxX, ((0, -num_rows % BLOCK_SIZE), (0, 0)))
  blocks = jax.lax.map(f, padded.reshape(-1, BLOCK_SIZE, rows_NxX.shape[1]))
  return blocks.reshape(len(padded), *blocks.shape[2:])[:num_rows]


@functools.partial(jax.jit, static_argnums=0)
def _encode(config: RQVAEConfig, params: Params, vectors_NxF: np.ndarray) -> jax.Array:
  def block(vectors_BxF: jax.Array) -> jax.Array:
    latents_BxD = _latents(config, params["encoder"], vectors_BxF)
    return quantise(params["codebooks_LxVxD"], latents_BxD)[0].T

  return _in_blocks(block, jnp.asarray(vectors_NxF))


@functools.partial(jax.jit, static_argnums=0)
def _decode(config: RQVAEConfig, params: Params, codes_NxL: np.ndarray) -> jax.Array:
  def block(codes_BxL: jax.Array) -> jax.Array:
    latents_BxD = _codewords(params["codebooks_LxVxD"], codes_BxL.T).sum(0)
    return _outputs(config, params["decoder"], latents_BxD)

  return _in_blocks(block, jnp.asarray(codes_NxL))
