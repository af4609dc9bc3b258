"""Locality-sensitive hashing: the sides of random hyperplanes that an item lies on.

Two vectors at angle θ (seen from the mean) differ in a bit with probability θ / π
(Charikar, STOC 2002), so items with long common runs of codes point the same way.
Nothing is learnt but the mean.

Letters: N items, B items of a block, F vector width, L levels, V codes per level,
M bits per level, V = 2^M.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.core.codes import check_sizes
from sidrec.tokenizers.base import Array, Params, Tokenizer, check_vectors, map_blocks


def lsh(num_levels: int, codebook_size: int, centre: bool = True) -> Tokenizer:
  """Random-hyperplane hashing as a tokenizer.

  Parameters are {'mean_F', 'planes_LxMxF'}: normals of length 1 of hyperplanes
  through the mean. A code's first, most significant bit is the side of the level's
  first hyperplane; it is 0 for an item on it. There is no `decode`. The cost of a code
  is the sum of squared distances to the hyperplanes that lie between it and the
  item, so the cheapest other code turns the bit that is least certain; it does not
  depend on other levels.

  Args:
    num_levels: L.
    codebook_size: V, a power of two.
    centre: whether the hyperplanes go through the mean of the vectors, not through 0.

  Returns:
    A tokenizer whose functions raise ValueError as `check_vectors` does, and
    for a level that does not exist.

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

  def fit(key: jax.Array, vectors_NxF: Array) -> Params:
    checked_NxF = check_vectors(vectors_NxF)
    width = checked_NxF.shape[1]
    mean_F = checked_NxF.mean(axis=0, dtype=np.float64) if centre else np.zeros(width)
    planes_LxMxF = jax.random.normal(key, (num_levels, num_bits, width))
    planes_LxMxF /= jnp.linalg.norm(planes_LxMxF, axis=-1, keepdims=True)
    return {"mean_F": jnp.asarray(mean_F, jnp.float32), "planes_LxMxF": planes_LxMxF}

  def encode(params: Params, vectors_NxF: Array) -> np.ndarray:
    checked_NxF = check_vectors(vectors_NxF, len(params["mean_F"]))
    return map_blocks(functools.partial(_encode, params), checked_NxF)

  def costs(params: Params, vectors_NxF: Array, codes_NxL: Array, level: int) -> np.ndarray:
    del codes_NxL
    if not 0 <= level < num_levels:
      raise ValueError(f"level {level} is outside 0..{num_levels - 1}")
    checked_NxF = check_vectors(vectors_NxF, len(params["mean_F"]))
    planes_MxF = params["planes_LxMxF"][level]
    return map_blocks(functools.partial(_costs, params["mean_F"], planes_MxF), checked_NxF)

  return Tokenizer("lsh", num_levels, codebook_size, fit, encode, costs=costs)


@jax.jit
def _encode(params: Params, vectors_BxF: jax.Array) -> jax.Array:
  planes_LxMxF = params["planes_LxMxF"]
  num_levels, num_bits, width = planes_LxMxF.shape
  margins = _margins(params["mean_F"], planes_LxMxF.reshape(-1, width), vectors_BxF)
  bits_BxLxM = (margins > 0).reshape(-1, num_levels, num_bits)
  return (bits_BxLxM << _shifts(num_bits)[None, None, :]).sum(-1, dtype=jnp.int32)


@jax.jit
def _costs(mean_F: jax.Array, planes_MxF: jax.Array, vectors_BxF: jax.Array) -> jax.Array:
  num_bits = len(planes_MxF)
  bits_VxM = (jnp.arange(1 << num_bits)[:, None] >> _shifts(num_bits)[None, :]) & 1
  margins_BxM = _margins(mean_F, planes_MxF, vectors_BxF)
  squares_BxM, set_BxM = jnp.square(margins_BxM), margins_BxM > 0
  dot = functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)
  # The bits that only the item has set, and those that only the code has.
  return dot(squares_BxM * set_BxM, 1.0 - bits_VxM.T) + dot(
    squares_BxM * ~set_BxM, 1.0 * bits_VxM.T
  )


def _margins(mean_F: jax.Array, planes_MxF: jax.Array, vectors_BxF: jax.Array) -> jax.Array:
  """Signed distances of items to hyperplanes: float32 [B, M]."""
  centred_BxF = vectors_BxF - mean_F[None, :]
  return jnp.dot(centred_BxF, planes_MxF.T, precision=jax.lax.Precision.HIGHEST)


def _shifts(num_bits: int) -> jax.Array:
  """The place of each bit in a code, the first one on the left."""
  return jnp.arange(num_bits - 1, -1, -1, dtype=jnp.int32)
