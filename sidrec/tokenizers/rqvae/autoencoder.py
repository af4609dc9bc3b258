"""The encoder and the decoder of an RQ-VAE: dense layers, started where training goes well.

D is the width of the latents; Y counts the outputs of a layer, X its inputs.
"""

from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sidrec.tokenizers.base import Params

# The decoder's outputs start near the mean vector: its last layer is scaled by this part of the
# vectors' deviation. Large random outputs make the first steps shrink the latents until few codes
# are left.
OUTPUT_SCALE = 0.5


# Rows over which a gradient sums at once. On a CPU, the order in which a product with more of them
# is summed depends on the number of threads, and so would the semantic IDs.
ROWS_AT_ONCE = 64


class MLP(nn.Module):
  """Dense layers with ReLU between them."""

  widths: tuple[int, ...]

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """float [..., any width] → [..., last of `widths`]."""
    for depth, width in enumerate(self.widths):
      if depth:
        x = nn.relu(x)  # GELU's tanh costs as much as the matrix products on CPU
      x = nn.Dense(width, name=f"layer_{depth}", dot_general=_dot_general)(x)
    return x


def _dot_general(x: jax.Array, kernel_XxY: jax.Array, *_: object, **__: object) -> jax.Array:
  """What `nn.Dense` needs of `lax.dot_general`."""
  return _product(x.reshape(-1, x.shape[-1]), kernel_XxY).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _product(x_BxX: jax.Array, kernel_XxY: jax.Array) -> jax.Array:
  """A matrix product whose gradient is the same for any number of threads."""
  return x_BxX @ kernel_XxY


def _product_fwd(x_BxX: jax.Array, kernel_XxY: jax.Array) -> tuple[jax.Array, tuple]:
  return x_BxX @ kernel_XxY, (x_BxX, kernel_XxY)


def _product_bwd(kept: tuple, grads_BxY: jax.Array) -> tuple[jax.Array, jax.Array]:
  x_BxX, kernel_XxY = kept

  def in_parts(rows_B: jax.Array) -> jax.Array:
    missing = -len(rows_B) % ROWS_AT_ONCE
    return jnp.pad(rows_B, ((0, missing), (0, 0))).reshape(-1, ROWS_AT_ONCE, rows_B.shape[1])

  def add(sum_XxY: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    x_RxX, grads_RxY = part
    return sum_XxY + x_RxX.T @ grads_RxY, None

  parts = (in_parts(x_BxX), in_parts(grads_BxY))
  sum_XxY, _ = jax.lax.scan(add, jnp.zeros_like(kernel_XxY), parts)
  return grads_BxY @ kernel_XxY.T, sum_XxY


_product.defvjp(_product_fwd, _product_bwd)


def start(
  hidden: tuple[int, ...],
  latent_dim: int,
  vectors_NxF: np.ndarray,
  encoder_key: jax.Array,
  decoder_key: jax.Array,
) -> tuple[Params, Params, jax.Array]:
  """Encoder and decoder fitted to the data: standardised latents, outputs near the mean vector.

  Args:
    hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
    latent_dim: D.
    vectors_NxF: some of the items that will be encoded.
    encoder_key: of the encoder's random part.
    decoder_key: of the decoder's.

  Returns:
    The encoder, the decoder, and the latents of the items, float32 [N, D].
  """
  width, last = vectors_NxF.shape[1], f"layer_{len(hidden)}"
  encoder: Params = MLP((*hidden, latent_dim)).init(encoder_key, jnp.zeros((1, width)))["params"]
  decoder: Params = MLP((*reversed(hidden), width)).init(decoder_key, jnp.zeros((1, latent_dim)))[
    "params"
  ]
  latents_NxD = apply(encoder, jnp.asarray(vectors_NxF))
  center_D, scale = latents_NxD.mean(0), latents_NxD.std(0).mean() + 1e-6
  output_scale = OUTPUT_SCALE * float(vectors_NxF.std(axis=0).mean())
  standardise = {"kernel": encoder[last]["kernel"] / scale, "bias": -center_D / scale}
  near_mean = {
    "kernel": decoder[last]["kernel"] * output_scale,
    "bias": jnp.asarray(vectors_NxF.mean(axis=0)),
  }
  standard_NxD = (latents_NxD - center_D[None]) / scale
  return {**encoder, last: standardise}, {**decoder, last: near_mean}, standard_NxD


def apply(layers: Params, x: jax.Array) -> jax.Array:
  """What an encoder makes of vectors, or a decoder of latents: float [B, …] → [B, …]."""
  widths = tuple(layers[f"layer_{depth}"]["bias"].shape[0] for depth in range(len(layers)))
  return cast(jax.Array, MLP(widths).apply({"params": layers}, x))
