"""The decoder's transformer block."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.models.dropout import Dropout
from sidrec.models.layers import AbsorbedKeyValues, Attention, FeedForward, KeyValues, Norm


class DecoderBlock(nn.Module):
  """Self-attention over levels, cross-attention to the history, and feed-forward.

  Q counts the targets that are decoded side by side for one history: the positions of a window
  in training, the beams in a search.
  """

  heads: int
  head_width: int
  width: int
  hidden: int
  dropout: float
  dtype: jnp.dtype

  def setup(self):  # noqa: D102
    self.self_norm, self.cross_norm, self.feed_norm = (Norm(self.dtype) for _ in range(3))
    self.self_attention = Attention(self.heads, self.head_width, self.width, self.dtype)
    self.cross_attention = Attention(self.heads, self.head_width, self.width, self.dtype)
    self.feed = FeedForward(self.width, self.hidden, self.dtype)
    self.drop = Dropout(self.dropout)

  def cross_keys(self, states_BxSxD: jax.Array) -> KeyValues:
    """Cross-attention keys and values, computed once per history."""
    return self.cross_attention.project(states_BxSxD)

  def cross_absorbed(self, states_BxSxD: jax.Array) -> AbsorbedKeyValues:
    """What `step` takes instead of `cross_keys`; see `Attention.attend_absorbed`."""
    return self.cross_attention.absorb(states_BxSxD)

  def __call__(
    self,
    x_BxQxLxD: jax.Array,
    cross: KeyValues,
    mask_BxQxS: jax.Array,
    train: bool,
    bias_HxLxL: jax.Array | None = None,
    causal: bool = False,
  ) -> jax.Array:
    """All levels at once, each seeing itself and the levels before it; the bias is among levels.

    With `causal`, Q = S, and the mask shows target q no state behind position q.
    """
    B, Q, L, D = x_BxQxLxD.shape
    y_BxQxLxD = self.self_attention.among_levels(self.self_norm(x_BxQxLxD), bias_HxLxL)
    x_BxQxLxD = x_BxQxLxD + self.drop(y_BxQxLxD, deterministic=not train)
    y_BxQLxD = self.cross_norm(x_BxQxLxD).reshape(B, Q * L, D)
    mask_BxQLxS = jnp.repeat(mask_BxQxS, L, axis=1)
    y_BxQLxD = self.cross_attention(y_BxQLxD, cross, mask_BxQLxS, causal=causal)
    x_BxQxLxD = x_BxQxLxD + self.drop(y_BxQLxD.reshape(B, Q, L, D), deterministic=not train)
    y_BxQxLxD = self.feed(self.feed_norm(x_BxQxLxD))
    return x_BxQxLxD + self.drop(y_BxQxLxD, deterministic=not train)

  def step(
    self,
    x_BxQxD: jax.Array,
    level: jax.Array | int,
    cache_BxQ: KeyValues,
    cross: KeyValues | AbsorbedKeyValues,
    mask_BxS: jax.Array,
    bias_HxLxL: jax.Array | None = None,
  ) -> tuple[jax.Array, KeyValues]:
    """One level, with the keys and values of the levels before it in the cache [B, Q, H, P, I].

    If `level` is static and the cache has P = `level` places, it grows by one place. Otherwise
    place `level` is written. `cross` is `cross_keys` or `cross_absorbed` of the encoder's states.
    """
    y_BxQx1xD = self.self_norm(x_BxQxD)[:, :, None]
    new = self.self_attention.project(y_BxQx1xD)
    cache_BxQ = _with_level(cache_BxQ, new, level)
    places = cache_BxQ.key.shape[3]
    past_P = jnp.arange(places) <= level
    bias_Hx1xP = None if bias_HxLxL is None else bias_HxLxL[:, level][:, None, :places]
    y_BxQx1xD = self.self_attention(y_BxQx1xD, cache_BxQ, past_P[None, None, None], bias_Hx1xP)
    x_BxQxD = x_BxQxD + y_BxQx1xD[:, :, 0]
    y_BxQxD, mask_Bx1xS = self.cross_norm(x_BxQxD), mask_BxS[:, None]
    if isinstance(cross, KeyValues):
      y_BxQxD = self.cross_attention(y_BxQxD, cross, mask_Bx1xS)
    else:
      y_BxQxD = self.cross_attention.attend_absorbed(y_BxQxD, cross, mask_Bx1xS)
    x_BxQxD = x_BxQxD + y_BxQxD
    return x_BxQxD + self.feed(self.feed_norm(x_BxQxD)), cache_BxQ


def _with_level(cache: KeyValues, new: KeyValues, level: jax.Array | int) -> KeyValues:
  """The cache with the keys and values of one more level; see `DecoderBlock.step`."""
  if isinstance(level, int) and cache.key.shape[3] == level:
    return jax.tree.map(lambda old, now: jnp.concatenate([old, now], axis=3), cache, new)
  return jax.tree.map(
    lambda old, now: jax.lax.dynamic_update_slice_in_dim(old, now, level, axis=3), cache, new
  )
