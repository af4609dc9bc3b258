"""RQ-VAE: an autoencoder whose bottleneck is a sum of L codewords, one from each codebook.

After TIGER (Rajput et al., NeurIPS 2023) and RQ-VAE (Lee et al., CVPR 2022). What happens in the
bottleneck is in `quantizer.py`, what is trained in `task.py`.

Letters: N items, B items of a block, F vector width, D latent width, L levels,
V codes per level.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from sidrec.core.codes import as_codes, collision_rate
from sidrec.tokenizers.base import Array, Params, Tokenizer, check_codes, check_vectors, map_blocks
from sidrec.tokenizers.rqvae import autoencoder, quantizer
from sidrec.tokenizers.rqvae.config import RQVAEConfig
from sidrec.tokenizers.rqvae.quantizer import quantise
from sidrec.tokenizers.rqvae.task import rqvae_task, squares
from sidrec.training.task import Task


def rqvae(
  config: RQVAEConfig,
  train_fn: Callable[[Task, jax.Array, Array], Params],
  mesh: Mesh | None = None,
) -> Tokenizer:
  """The RQ-VAE as a tokenizer.

  Args:
    config: its shape and how it learns.
    train_fn: (task, key, vectors_NxF) → params; trains the task on batches
      {'vectors_BxF': rows of the vectors}.
    mesh: devices that items are spread over when they are encoded; None for one device.

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
    encode=functools.partial(encode, config, mesh=mesh),
    decode=functools.partial(decode, config),
    costs=functools.partial(costs, config),
  )


def encode(
  config: RQVAEConfig, params: Params, vectors_NxF: Array, mesh: Mesh | None = None
) -> np.ndarray:
  """The nearest codes of items, seen in training or not: int32 [N, L].

  Raises:
    ValueError: if there are no vectors, one is not finite (names its row), or their width is not
      the trained one.
  """
  items_NxF = check_vectors(vectors_NxF, _width(params))
  return map_blocks(functools.partial(_encode, config, params), items_NxF, mesh=mesh)


def decode(config: RQVAEConfig, params: Params, codes_NxL: Array) -> np.ndarray:
  """The vectors that codes stand for: float32 [N, F].

  Raises:
    ValueError: if the codes are not integers in [0, V) of shape [N, L].
  """
  checked_NxL = check_codes(codes_NxL, config.num_levels, config.codebook_size)
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
  if codes_NxL.ndim != 2 or codes_NxL.shape[1] != config.num_levels:
    raise ValueError(f"codes have shape {codes_NxL.shape}; give [items, {config.num_levels}]")
  if len(codes_NxL) != len(items_NxF):
    raise ValueError(f"{len(items_NxF)} vectors do not match the codes of {len(codes_NxL)} items")
  above_NxL = as_codes(codes_NxL[:, :level], config.codebook_size)
  return map_blocks(functools.partial(_costs, config, params), items_NxF, above_NxL)


def selection_score(
  config: RQVAEConfig, params: Params, vectors_NxF: Array, mesh: Mesh | None = None
) -> dict[str, float]:
  """How good parameters are on the whole catalogue; less is better.

  Returns:
    'reconstruction': fraction of variance unexplained; 'collision_rate': share of
    items that share their tuple; 'score': their sum.

  Raises:
    ValueError: as `encode` does.
  """
  items_NxF = check_vectors(vectors_NxF, _width(params))
  codes_NxL, error_N = map_blocks(
    functools.partial(_encode_and_err, config, params), items_NxF, mesh=mesh
  )
  reconstruction = float(error_N.sum(dtype=np.float64) / squares(items_NxF))
  collisions = collision_rate(codes_NxL)
  return {
    "reconstruction": reconstruction,
    "collision_rate": collisions,
    "score": reconstruction + collisions,
  }


def _width(params: Params) -> int:
  """F of the vectors that the parameters were trained on."""
  return params["encoder"]["layer_0"]["kernel"].shape[0]


# What follows is for one block of items at a time.


@functools.partial(jax.jit, static_argnums=0)
def _encode(config: RQVAEConfig, params: Params, vectors_BxF: jax.Array) -> jax.Array:
  latents_BxD = autoencoder.apply(params["encoder"], vectors_BxF)
  return quantise(params["codebooks_LxVxD"], latents_BxD, config.distance).codes_LxB.T


@functools.partial(jax.jit, static_argnums=0)
def _decode(config: RQVAEConfig, params: Params, codes_BxL: jax.Array) -> jax.Array:
  levels = zip(params["codebooks_LxVxD"], codes_BxL.T, strict=True)
  latents_BxD = jnp.stack([codebook_VxD[codes_B] for codebook_VxD, codes_B in levels]).sum(0)
  return autoencoder.apply(params["decoder"], latents_BxD)


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
  residual_BxD = autoencoder.apply(params["encoder"], vectors_BxF)
  *above, codebook_VxD = params["codebooks_LxVxD"][: above_BxL.shape[1] + 1]
  for codes_B, earlier_VxD in zip(above_BxL.T, above, strict=True):
    residual_BxD = residual_BxD - earlier_VxD[codes_B]
  return quantizer.distances(residual_BxD, codebook_VxD, config.distance).T
