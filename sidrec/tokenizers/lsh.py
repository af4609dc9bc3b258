"""Locality-sensitive hashing: the sides of random hyperplanes that an item lies on.

Two vectors at angle θ (seen from the mean) differ in a bit with probability θ / π
(Charikar, STOC 2002), so items with long common runs of codes point the same way.
Nothing is learnt but the mean. X stands for the bits of a level, V = 2^X.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.core.codes import check_sizes
from sidrec.tokenizers.base import Params, Tokenizer, checked, map_blocks


def lsh(num_levels: int, codebook_size: int, *, centre: bool = True) -> Tokenizer:
  """Random-hyperplane hashing as a tokenizer.

  Parameters are {'mean_F', 'planes_LxXxF'}: normals of length 1 of hyperplanes
  through the mean. A code's first, most significant bit is the side of the level's
  first hyperplane; it is 0 for an item on it. There is no `decode`. The cost of a code
  is the sum of squared distances to the hyperplanes that lie between it and the
  item, so the cheapest other code turns the bit that is least certain; it does not
  depend on other levels.

  Args:
    num_levels: L.
    codebook_size: V, a power of two.
    centre: whether hyperplanes go through the mean vector; else through the origin ('mean_F' is 0).

  Returns:
    A tokenizer whose functions raise ValueError as `checked` says.

  Raises:
    ValueError: if V is no power of two, or a size makes no sense.
  """
  check_sizes(num_levels, codebook_size)
  num_bits = codebook_size.bit_length() - 1
  if codebook_size != 1 << num_bits:
    raise ValueError(
      f"codebook_size is {codebook_size}; hashing needs a power of two, such as "
      f"{1 << num_bits} or {2 << num_bits}"
    )

  def fit(key: jax.Array, vectors_NxF: np.ndarray) -> Params:
    width = vectors_NxF.shape[1]
    mean_F = vectors_NxF.mean(axis=0, dtype=np.float64) if centre else np.zeros(width)
    planes_LxXxF = jax.random.normal(key, (num_levels, num_bits, width))
    planes_LxXxF /= jnp.linalg.norm(planes_LxXxF, axis=-1, keepdims=True)
    return {"mean_F": jnp.asarray(mean_F, jnp.float32), "planes_LxXxF": planes_LxXxF}

  tokenizer = Tokenizer("lsh", num_levels, codebook_size, fit, _encode, costs=_costs)
  return checked(tokenizer, width=lambda params: len(params["mean_F"]))


def _encode(params: Params, vectors_NxF: np.ndarray) -> np.ndarray:
  return map_blocks(functools.partial(_encode_block, params), vectors_NxF)


def _costs(
  params: Params, vectors_NxF: np.ndarray, codes_NxL: np.ndarray, level: int
) -> np.ndarray:
  del codes_NxL
  planes_XxF = params["planes_LxXxF"][level]
  return map_blocks(functools.partial(_block_costs, params["mean_F"], planes_XxF), vectors_NxF)


@jax.jit
def _encode_block(params: Params, vectors_BxF: jax.Array) -> jax.Array:
  planes_LxXxF = params["planes_LxXxF"]
  num_levels, num_bits, width = planes_LxXxF.shape
  margins = _margins(params["mean_F"], planes_LxXxF.reshape(-1, width), vectors_BxF)
  bits_BxLxX = (margins > 0).reshape(-1, num_levels, num_bits)
  return (bits_BxLxX << _shifts(num_bits)[None, None, :]).sum(-1, dtype=jnp.int32)


@jax.jit
def _block_costs(mean_F: jax.Array, planes_XxF: jax.Array, vectors_BxF: jax.Array) -> jax.Array:
  num_bits = len(planes_XxF)
  bits_VxX = (jnp.arange(1 << num_bits)[:, None] >> _shifts(num_bits)[None, :]) & 1
  margins_BxX = _margins(mean_F, planes_XxF, vectors_BxF)
  squares_BxX, set_BxX = jnp.square(margins_BxX), margins_BxX > 0
  dot = functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)
  # The bits that only the item has set, and those that only the code has.
  return dot(squares_BxX * set_BxX, 1.0 - bits_VxX.T) + dot(
    squares_BxX * ~set_BxX, 1.0 * bits_VxX.T
  )


def _margins(mean_F: jax.Array, planes_XxF: jax.Array, vectors_BxF: jax.Array) -> jax.Array:
  """Signed distances of items to hyperplanes: float32 [B, X]."""
  centred_BxF = vectors_BxF - mean_F[None, :]
  return jnp.dot(centred_BxF, planes_XxF.T, precision=jax.lax.Precision.HIGHEST)


def _shifts(num_bits: int) -> jax.Array:
  """The place of each bit in a code, the first one on the left."""
  return jnp.arange(num_bits - 1, -1, -1, dtype=jnp.int32)
