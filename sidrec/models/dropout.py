"""Dropout whose mask depends on where an example stands in the batch, not on who computes it.

Under `jax.vmap` over parts of a batch (see `sidrec.training.gradient`), `jax.random` would draw
every part the same mask. Here the parts get the rows of the mask of the whole batch, so that one
device trains like eight.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap


class Dropout(nn.Module):
  """Sets a share `rate` of its input to zero and scales the rest up (Srivastava et al., 2014)."""

  rate: float

  @nn.compact
  def __call__(self, x_Bx: jax.Array, deterministic: bool) -> jax.Array:
    """[B, …] → [B, …]; needs the random stream 'dropout' unless deterministic."""
    if deterministic or self.rate == 0.0:
      return x_Bx
    kept_Bx = keep_mask(self.make_rng("dropout"), 1.0 - self.rate, x_Bx)
    return jax.lax.select(kept_Bx, x_Bx / (1.0 - self.rate), jnp.zeros_like(x_Bx))


def keep_mask(key: jax.Array, keep: float, x_Bx: jax.Array) -> jax.Array:
  """What to keep of x: bool [B, …], `jax.random.bernoulli` of that shape.

  Under `jax.vmap` over parts [P, B / P, …] of x, with one key, it is the mask of all of x.
  """
  inner = x_Bx.shape[1:]

  def draw(key: jax.Array, row_B: jax.Array) -> jax.Array:
    return jax.random.bernoulli(key, keep, (*row_B.shape, *inner))

  drawn = custom_vmap(draw)

  @drawn.def_vmap
  def _draw_parts(parts, is_batched, key, row_PxB):
    del parts
    keys, rows = is_batched
    if keys:
      return jax.vmap(draw, in_axes=(0, 0 if rows else None))(key, row_PxB), True
    mask_PBx = drawn(key, row_PxB.reshape(-1))
    return mask_PBx.reshape(*row_PxB.shape, *inner), True

  # Of the rows only their number counts, but a constant would hide that x is a part.
  row_B = jax.lax.stop_gradient(x_Bx).reshape(x_Bx.shape[0], -1)[:, 0].astype(jnp.int32)
  return drawn(key, row_B)
