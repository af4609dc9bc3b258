"""RQ-VAE: an autoencoder whose bottleneck is a sum of L codewords, one from each codebook.

After TIGER (Rajput et al., NeurIPS 2023) and RQ-VAE (Lee et al., CVPR 2022). What happens in the
bottleneck is in `quantizer.py`, what is trained in `task.py`. D is the width of the latents.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from sidrec.core.codes import collision_rate
from sidrec.tokenizers.base import Params, Tokenizer, checked, map_blocks
from sidrec.tokenizers.rqvae import autoencoder, quantizer
from sidrec.tokenizers.rqvae.quantizer import quantize
from sidrec.tokenizers.rqvae.task import rqvae_task, squares
from sidrec.tokenizers.settings import RQVAEConfig
from sidrec.training.task import Task


def rqvae(
  config: RQVAEConfig,
  train_fn: Callable[[Task, jax.Array, np.ndarray], Params],
  mesh: Mesh | None = None,
) -> Tokenizer:
  """The RQ-VAE as a tokenizer.

  Args:
    config: its shape and how it learns.
    train_fn: (task, key, vectors_NxF) → params; trains the task on batches
      {'vectors_BxF': rows of the vectors}.
    mesh: devices that items are spread over when they are encoded; None for one device.

  Returns:
    A tokenizer whose functions raise ValueError as `checked` says, and in `fit` as `rqvae_task`
    does. `encode` works for items seen in training or not. `costs` are the squared distances by
    which it chooses, after the codewords of the levels above are taken away.
  """

  def fit(key: jax.Array, vectors_NxF: np.ndarray) -> Params:
    return train_fn(rqvae_task(config, vectors_NxF), key, vectors_NxF)

  tokenizer = Tokenizer(
    name="rqvae",
    num_levels=config.num_levels,
    codebook_size=config.codebook_size,
    fit=fit,
    encode=functools.partial(encode, config, mesh=mesh),
    decode=decode,
    costs=functools.partial(costs, config),
  )
  return checked(tokenizer, width=lambda p: p["encoder"]["layer_0"]["kernel"].shape[0])


def encode(
  config: RQVAEConfig, params: Params, vectors_NxF: np.ndarray, mesh: Mesh | None = None
) -> np.ndarray:
  """The nearest codes of items: int32 [N, L]."""
  return map_blocks(functools.partial(_encode, config.distance, params), vectors_NxF, mesh=mesh)


def decode(params: Params, codes_NxL: np.ndarray) -> np.ndarray:
  """The vectors that codes stand for: float32 [N, F]."""
  return map_blocks(functools.partial(_decode, params), codes_NxL)


def costs(
  config: RQVAEConfig, params: Params, vectors_NxF: np.ndarray, codes_NxL: np.ndarray, level: int
) -> np.ndarray:
  """How far each code of a level is from what is left of an item: float32 [N, V]."""
  block = functools.partial(_costs, config.distance, params)
  return map_blocks(block, vectors_NxF, codes_NxL[:, :level])


def selection_score(
  config: RQVAEConfig, params: Params, vectors_NxF: np.ndarray, mesh: Mesh | None = None
) -> dict[str, float]:
  """How good parameters are on the whole catalogue; less is better.

  Returns:
    'reconstruction': fraction of variance unexplained; 'collision_rate': share of
    items that share their tuple; 'score': their sum.
  """
  block = functools.partial(_encode_and_err, config.distance, params)
  codes_NxL, error_N = map_blocks(block, vectors_NxF, mesh=mesh)
  reconstruction = float(error_N.sum(dtype=np.float64) / squares(vectors_NxF))
  collisions = collision_rate(codes_NxL)
  return {
    "reconstruction": reconstruction,
    "collision_rate": collisions,
    "score": reconstruction + collisions,
  }


# What follows is for one block of items at a time.


@functools.partial(jax.jit, static_argnums=0)
def _encode(distance: str, params: Params, vectors_BxF: jax.Array) -> jax.Array:
  latents_BxD = autoencoder.apply(params["encoder"], vectors_BxF)
  return quantize(params["codebooks_LxVxD"], latents_BxD, distance).codes_LxB.T


@jax.jit
def _decode(params: Params, codes_BxL: jax.Array) -> jax.Array:
  levels = zip(params["codebooks_LxVxD"], codes_BxL.T, strict=True)
  latents_BxD = jnp.stack([codebook_VxD[codes_B] for codebook_VxD, codes_B in levels]).sum(0)
  return autoencoder.apply(params["decoder"], latents_BxD)


@functools.partial(jax.jit, static_argnums=0)
def _encode_and_err(
  distance: str, params: Params, vectors_BxF: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Codes, and the squared error of what they stand for."""
  codes_BxL = _encode(distance, params, vectors_BxF)
  error_BxF = _decode(params, codes_BxL) - vectors_BxF
  return codes_BxL, jnp.square(error_BxF).sum(-1)


@functools.partial(jax.jit, static_argnums=0)
def _costs(
  distance: str, params: Params, vectors_BxF: jax.Array, above_BxL: jax.Array
) -> jax.Array:
  """Costs at the level whose number is the width of `above`."""
  residual_BxD = autoencoder.apply(params["encoder"], vectors_BxF)
  *above, codebook_VxD = params["codebooks_LxVxD"][: above_BxL.shape[1] + 1]
  for codes_B, earlier_VxD in zip(above_BxL.T, above, strict=True):
    residual_BxD = residual_BxD - earlier_VxD[codes_B]
  return quantizer.distances(residual_BxD, codebook_VxD, distance).T
