"""What transformer blocks are made of: normalisation, linear maps, attention, feed-forward.

RMS normalisation and no biases, as in T5 (Raffel et al., 2020). Keys and values of attention are
explicit. Parameters are float32; computation runs in `dtype`, softmax in float32.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

MASKED = -1e9  # finite, so that a row with nothing to attend to stays free of NaN
CAUSAL_BLOCK = 50  # keys by which a causal mask's blocks of queries grow


class KeyValues(NamedTuple):
  """Keys and values of attention: float [..., H, S, I] each.

  Heads come first because batched matrix products then take half the time on CPU.
  """

  key: jax.Array
  value: jax.Array


class AbsorbedKeyValues(NamedTuple):
  """States and the maps to their keys and values, not applied yet; see `attend_absorbed`."""

  states_BxSxD: jax.Array
  to_key_HxDxI: jax.Array
  to_value_HxDxI: jax.Array


class Norm(nn.Module):
  """RMS normalisation, computed in float32."""

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., D] → [..., D]."""
    return nn.RMSNorm(epsilon=1e-6, dtype=self.dtype)(x)


class Linear(nn.Module):
  """A linear map of the last axis to one or more new axes.

  Leading axes are folded into one, which makes the gradient one plain matrix
  product: on CPU almost twice as fast as contracting them one by one.
  """

  shape: tuple[int, ...]
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., D] → [..., *shape]."""
    flat = x.reshape(-1, x.shape[-1]).astype(self.dtype)
    width = math.prod(self.shape)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], width))
    return (flat @ kernel.astype(self.dtype)).reshape(*x.shape[:-1], *self.shape)


class Attention(nn.Module):
  """Multi-head attention in separate steps, so that caches stay explicit."""

  heads: int
  head_width: int
  width: int
  dtype: jnp.dtype

  def setup(self):  # noqa: D102
    split = (self.heads, self.head_width)
    self.query, self.key_value = Linear(split, self.dtype), Linear((2, *split), self.dtype)
    self.out = Linear((self.width,), self.dtype)

  def project(self, x: jax.Array) -> KeyValues:
    """Keys and values of x [..., S, D]."""
    return jax.tree.map(_swap_heads, self._split(x))

  def _split(self, x: jax.Array) -> KeyValues:
    """The same, heads last: [..., S, H, I]."""
    key_value = self.key_value(x)
    return KeyValues(key_value[..., 0, :, :], key_value[..., 1, :, :])

  def among_levels(self, x_BxQxLxD: jax.Array, bias_HxLxL: jax.Array | None = None) -> jax.Array:
    """Causal self-attention over axis L only: [B, Q, L, D]."""
    query = self.query(x_BxQxLxD) * self.head_width**-0.5
    return self._join(attend_levels(query, self._split(x_BxQxLxD), bias_HxLxL))

  def __call__(
    self,
    x: jax.Array,
    keys: KeyValues,
    mask: jax.Array,
    bias_HxQxS: jax.Array | None = None,
    causal: bool = False,
  ) -> jax.Array:
    """Attends from x [..., Q, D] to keys where mask [..., Q, S] holds; returns [..., Q, D].

    The bias may have the leading axes of x, too.

    With `causal`, Q is a multiple of S, and the mask hides from query q all keys from
    (q + 1)·S/Q on, rounded up. Keys that are hidden from a whole block of queries are then
    skipped, which saves almost half of the work.
    """
    query = _swap_heads(self.query(x) * self.head_width**-0.5)
    hidden = hide(mask)
    if not causal:
      return self._join(_swap_heads(self._attend(query, keys, hidden, bias_HxQxS)))
    num_keys = keys.key.shape[-2]
    repeats = query.shape[-2] // num_keys
    blocks = []
    for first in range(0, num_keys, CAUSAL_BLOCK):
      last = min(first + CAUSAL_BLOCK, num_keys)
      rows = slice(first * repeats, last * repeats)
      seen = jax.tree.map(lambda kv, last=last: kv[..., :last, :], keys)
      bias = None if bias_HxQxS is None else bias_HxQxS[..., rows, :last]
      blocks.append(self._attend(query[..., rows, :], seen, hidden[..., rows, :last], bias))
    return self._join(_swap_heads(jnp.concatenate(blocks, axis=-2)))

  def _attend(self, query, keys, hidden, bias_HxQxS):
    """[..., H, Q, I] of what queries [..., H, Q, I] gather."""
    logits = jnp.einsum("...qi,...si->...qs", query, keys.key).astype(jnp.float32)
    if bias_HxQxS is not None:
      missing = logits.ndim - bias_HxQxS.ndim
      logits = logits + bias_HxQxS.reshape((1,) * missing + bias_HxQxS.shape)
    return softmax_mean(logits + hidden[..., None, :, :], keys.value)

  def absorb(self, states_BxSxD: jax.Array) -> AbsorbedKeyValues:
    """The states and the maps of `project`, laid out for `attend_absorbed`."""
    shape = (states_BxSxD.shape[-1], 2, self.heads, self.head_width)
    maps_Dx2xHxI = self.key_value.get_variable("params", "kernel").reshape(shape)
    to_key_HxDxI = jnp.swapaxes(maps_Dx2xHxI[:, 0], 0, 1).astype(self.dtype)
    to_value_HxDxI = jnp.swapaxes(maps_Dx2xHxI[:, 1], 0, 1).astype(self.dtype)
    return AbsorbedKeyValues(states_BxSxD, to_key_HxDxI, to_value_HxDxI)

  def attend_absorbed(
    self, x_BxQxD: jax.Array, over: AbsorbedKeyValues, mask_BxQxS: jax.Array
  ) -> jax.Array:
    """Attends to `project(states)` without computing it: [B, Q, D], the same up to rounding.

    The maps to keys and values are linear, so the queries absorb one of them and the output
    absorbs the other (DeepSeek-AI 2024, arXiv:2405.04434, section 2.1). With few queries
    this is less work, and keys and values never fill memory.
    """
    B, Q, D = x_BxQxD.shape
    query_BQxHxI = (self.query(x_BxQxD) * self.head_width**-0.5).reshape(B * Q, self.heads, -1)
    # Products that read the maps as they lie: a map is far larger than a few queries.
    query_HxDxBQ = over.to_key_HxDxI @ jnp.moveaxis(query_BQxHxI, 0, 2)
    query_BxQHxD = jnp.moveaxis(query_HxDxBQ, 2, 0).reshape(B, -1, D)
    logits = jnp.einsum("bqd,bsd->bqs", query_BxQHxD, over.states_BxSxD).astype(jnp.float32)
    logits = logits.reshape(B, Q, self.heads, -1) + hide(mask_BxQxS)[:, :, None]
    mean_BxQHxD = softmax_mean(logits.reshape(B, Q * self.heads, -1), over.states_BxSxD)
    mean_HxBQxD = jnp.moveaxis(mean_BxQHxD.reshape(B * Q, self.heads, D), 1, 0)
    value_HxBQxI = mean_HxBQxD @ over.to_value_HxDxI
    return self._join(jnp.moveaxis(value_HxBQxI, 0, 1).reshape(B, Q, self.heads, -1))

  def _join(self, heads: jax.Array) -> jax.Array:
    """[..., H, I] → [..., D]."""
    return self.out(heads.reshape(*heads.shape[:-2], self.heads * self.head_width))


def hide(mask: jax.Array) -> jax.Array:
  """0 where the mask holds and MASKED elsewhere, to be added to logits: float32.

  On CPU, adding takes half the time of selecting.
  """
  return jnp.where(mask, 0.0, jnp.float32(MASKED))


def softmax_mean(logits: jax.Array, value: jax.Array) -> jax.Array:
  """softmax(logits [..., Q, S]) @ value [..., S, I]; logits and softmax are float32.

  The product is divided by the sum of the weights, because it is smaller than the weights (Dao
  et al., 2022, arXiv:2205.14135).
  """
  weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
  product = jnp.einsum("...qs,...si->...qi", weights.astype(value.dtype), value)
  return (product / weights.sum(axis=-1, keepdims=True)).astype(value.dtype)


def _swap_heads(x: jax.Array) -> jax.Array:
  """[..., S, H, I] ↔ [..., H, S, I]."""
  return jnp.swapaxes(x, -2, -3)


def attend_levels(
  query_BxQxLxHxI: jax.Array, keys_BxQxLxH: KeyValues, bias_HxLxL: jax.Array | None = None
) -> jax.Array:
  """Causal attention among the few levels of one semantic ID: float [B, Q, L, H, I].

  Only here keys and values have their heads last: [B, Q, L, H, I]. The loop over pairs of levels
  is unrolled: L is small, and batched matrix products of L rows run several times slower than
  these elementwise sums.
  """
  outputs = []
  for level in range(query_BxQxLxHxI.shape[2]):
    query_BxQxHxI = query_BxQxLxHxI[:, :, level]
    past = range(level + 1)
    logits = [(query_BxQxHxI * keys_BxQxLxH.key[:, :, p]).sum(-1, keepdims=True) for p in past]
    logits_BxQxHxP = jnp.concatenate(logits, axis=-1).astype(jnp.float32)
    if bias_HxLxL is not None:
      logits_BxQxHxP = logits_BxQxHxP + bias_HxLxL[None, None, :, level, : level + 1]
    weights = jax.nn.softmax(logits_BxQxHxP).astype(query_BxQxHxI.dtype)
    outputs.append(sum(weights[..., p : p + 1] * keys_BxQxLxH.value[:, :, p] for p in past))
  return jnp.stack(outputs, axis=2)


class FeedForward(nn.Module):
  """Two linear maps with a ReLU between them, as in T5."""

  width: int
  hidden: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., D] → [..., D]."""
    x = nn.relu(Linear((self.hidden,), self.dtype, name="up")(x))
    return Linear((self.width,), self.dtype, name="down")(x)
