"""Where things stand: places within a segment, and T5's bias for the distance of two positions.

Here X counts buckets of distances.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

NUM_BUCKETS = 32
MAX_DISTANCE = 128


def positions(segment_BxS: jax.Array) -> jax.Array:
  """Each position's place within its segment, from 0: int32 [B, S]."""
  place_1xS = jnp.arange(segment_BxS.shape[1], dtype=jnp.int32)[None]
  starts_BxS = jnp.diff(segment_BxS, axis=1, prepend=segment_BxS[:, :1]) != 0
  start_BxS = jax.lax.cummax(jnp.where(starts_BxS, place_1xS, 0), axis=1)
  return place_1xS - start_BxS


def buckets(length: int, bidirectional: bool) -> np.ndarray:
  """The bucket of every pair of positions (Raffel et al., JMLR 2020): int32 [S, S].

  With n buckets a direction, distances below n / 2 each have their own; d ≥ n / 2 falls into
  n / 2 + ⌊n / 2 · log(2d / n) / log(2 MAX_DISTANCE / n)⌋, at most n - 1.

  Args:
    length: S.
    bidirectional: whether later positions are seen: they then have the upper half of the
      buckets. Otherwise they share bucket 0 with distance 0, for a mask to hide.

  Returns:
    Row: the position that looks; column: the position that it looks at.
  """
  ahead_SxS = np.arange(length)[None] - np.arange(length)[:, None]
  count = NUM_BUCKETS // 2 if bidirectional else NUM_BUCKETS
  first_SxS = count * (ahead_SxS > 0) if bidirectional else np.zeros_like(ahead_SxS)
  distance_SxS = np.abs(ahead_SxS) if bidirectional else np.maximum(-ahead_SxS, 0)
  exact = count // 2
  doublings_SxS = np.log2(np.maximum(distance_SxS, exact) / exact)
  far_SxS = exact + (doublings_SxS / np.log2(MAX_DISTANCE / exact) * (count - exact)).astype(int)
  near_SxS = np.where(distance_SxS < exact, distance_SxS, np.minimum(far_SxS, count - 1))
  return (first_SxS + near_SxS).astype(np.int32)


class RelativeBias(nn.Module):
  """T5's relative position bias: a number per head and bucket, shared by a stack's layers."""

  heads: int
  bidirectional: bool

  @nn.compact
  def __call__(self, length: int) -> jax.Array:
    """The bias of every pair of positions, to be added to attention logits: float32 [H, S, S]."""
    start = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
    bias_HxX = self.param("bias", start, (self.heads, NUM_BUCKETS))
    return bias_HxX[:, buckets(length, self.bidirectional)]


def behind(bias: jax.Array | None, in_front: int) -> jax.Array | None:
  """A bias [..., S, S] with zeros for so many states in front; None stays None."""
  if bias is None or not in_front:
    return bias
  return jnp.pad(bias, [(0, 0)] * (bias.ndim - 2) + [(in_front, 0)] * 2)
