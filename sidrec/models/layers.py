"""Attention with explicit keys and values, and the two kinds of transformer block.

Letters: B batch, Q queries, S keys, H heads, D model width, I width of a head.
Pre-norm residual blocks with RMS normalisation and no biases (Raffel et al.,
2020). Parameters are float32; computation runs in `dtype`, softmax in float32.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.models.dropout import Dropout

MASKED = -1e9  # finite, so that a row with nothing to attend to stays free of NaN
CAUSAL_BLOCK = 50  # keys by which a causal mask's blocks of queries grow


class KeyValues(NamedTuple):
  """What attention looks at: float [..., H, S, I] each.

  Heads come first, as batched matrix products want it: on CPU they take half the time.
  """

  key: jax.Array
  value: jax.Array


class States(NamedTuple):
  """What attention looks at where keys and values would be more work; see `over_states`."""

  states_BxSxD: jax.Array
  to_key_HxDxI: jax.Array  # what would make keys of them
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
  """Multi-head attention in three separate moves, so that caches stay explicit."""

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
    return jax.tree.map(_heads_first, self._split(x))

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

    With `causal`, the mask shows query q no key from (q + 1)·S/Q on, rounded up; S divides Q. What
    it hides from a whole block of queries is then not computed: almost half of the work.
    """
    query = _heads_first(self.query(x) * self.head_width**-0.5)
    hidden = hide(mask)
    if not causal:
      return self._join(_heads_last(self._attend(query, keys, hidden, bias_HxQxS)))
    num_keys = keys.key.shape[-2]
    repeats = query.shape[-2] // num_keys
    blocks = []
    for first in range(0, num_keys, CAUSAL_BLOCK):
      last = min(first + CAUSAL_BLOCK, num_keys)
      rows = slice(first * repeats, last * repeats)
      seen = jax.tree.map(lambda kv, last=last: kv[..., :last, :], keys)
      bias = None if bias_HxQxS is None else bias_HxQxS[:, rows, :last]
      blocks.append(self._attend(query[..., rows, :], seen, hidden[..., rows, :last], bias))
    return self._join(_heads_last(jnp.concatenate(blocks, axis=-2)))

  def _attend(self, query, keys, hidden, bias_HxQxS):
    """[..., H, Q, I] of what queries [..., H, Q, I] gather."""
    logits = jnp.einsum("...qi,...si->...qs", query, keys.key).astype(jnp.float32)
    if bias_HxQxS is not None:
      logits = logits + bias_HxQxS.reshape((1,) * (logits.ndim - 3) + bias_HxQxS.shape)
    return softmax_mean(logits + hidden[..., None, :, :], keys.value)

  def project_later(self, states_BxSxD: jax.Array) -> States:
    """The states and the maps of `project`, laid out for `over_states`."""
    shape = (states_BxSxD.shape[-1], 2, self.heads, self.head_width)
    maps_Dx2xHxI = self.key_value.get_variable("params", "kernel").reshape(shape)
    lay_out = lambda map_DxHxI: jnp.swapaxes(map_DxHxI, 0, 1).astype(self.dtype)
    return States(states_BxSxD, lay_out(maps_Dx2xHxI[:, 0]), lay_out(maps_Dx2xHxI[:, 1]))

  def over_states(self, x_BxQxD: jax.Array, over: States, mask_BxQxS: jax.Array) -> jax.Array:
    """Attends to `project(states)` without making it: [B, Q, D], the same up to rounding.

    The maps that make keys and values are linear: one is applied to the queries instead, the
    other to what they gather (DeepSeek-AI 2024, arXiv:2405.04434, section 2.1). With few queries
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
  """What to add to logits so that softmax gives nothing to what the mask hides: float32.

  An addition takes half the time of a choice on CPU.
  """
  return jnp.where(mask, 0.0, jnp.float32(MASKED))


def softmax_mean(logits: jax.Array, value: jax.Array) -> jax.Array:
  """softmax(logits [..., Q, S]) @ value [..., S, I]; logits and softmax are float32.

  Divided by its total is the product, which is smaller than the weights (as Dao et al., 2022,
  arXiv:2205.14135, do).
  """
  weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
  product = jnp.einsum("...qs,...si->...qi", weights.astype(value.dtype), value)
  return (product / weights.sum(axis=-1, keepdims=True)).astype(value.dtype)


def _heads_first(x: jax.Array) -> jax.Array:
  """[..., S, H, I] → [..., H, S, I]."""
  return jnp.swapaxes(x, -2, -3)


_heads_last = _heads_first  # its own inverse


def attend_levels(
  query_BxQxLxHxI: jax.Array, keys_BxQxLxH: KeyValues, bias_HxLxL: jax.Array | None = None
) -> jax.Array:
  """Causal attention among the few levels of one semantic ID: float [B, Q, L, H, I].

  Here alone keys and values have their heads last, too: [B, Q, L, H, I].
  Unrolled over pairs of levels: L is a handful, and batched matrix products of
  L rows run several times slower than these elementwise sums.
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


class EncoderBlock(nn.Module):
  """Self-attention and feed-forward."""

  heads: int
  head_width: int
  width: int
  hidden: int
  dropout: float
  dtype: jnp.dtype

  def setup(self):  # noqa: D102
    self.attention_norm, self.feed_norm = Norm(self.dtype), Norm(self.dtype)
    self.attention = Attention(self.heads, self.head_width, self.width, self.dtype)
    self.feed = FeedForward(self.width, self.hidden, self.dtype)
    self.drop = Dropout(self.dropout)

  def __call__(
    self,
    x_BxSxD: jax.Array,
    mask_BxSxS: jax.Array,
    train: bool,
    bias_HxSxS: jax.Array | None = None,
    causal: bool = False,
  ) -> jax.Array:
    """Position q sees the positions s where mask[:, q, s] holds; a bias is added to its logits.

    With `causal`, the mask hides all s > q.
    """
    y_BxSxD = self.attention_norm(x_BxSxD)
    keys = self.attention.project(y_BxSxD)
    y_BxSxD = self.attention(y_BxSxD, keys, mask_BxSxS, bias_HxSxS, causal)
    x_BxSxD = x_BxSxD + self.drop(y_BxSxD, deterministic=not train)
    y_BxSxD = self.feed(self.feed_norm(x_BxSxD))
    return x_BxSxD + self.drop(y_BxSxD, deterministic=not train)


class DecoderBlock(nn.Module):
  """Self-attention over levels, cross-attention to the history, and feed-forward.

  Here Q counts the targets decoded side by side for one history: the positions
  of a window in training, the beams of a search.
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

  def cross_states(self, states_BxSxD: jax.Array) -> States:
    """What `step` takes instead of `cross_keys`."""
    return self.cross_attention.project_later(states_BxSxD)

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
    cross: KeyValues | States,
    mask_BxS: jax.Array,
    bias_HxLxL: jax.Array | None = None,
  ) -> tuple[jax.Array, KeyValues]:
    """One level, with the keys and values of the levels before it in the cache [B, Q, H, P, I].

    A cache of P = `level` places, if that is static, grows by one; a longer one is filled up.
    `cross` is `cross_keys` of the encoder's states, or `cross_states`.
    """
    y_BxQx1xD = self.self_norm(x_BxQxD)[:, :, None]
    new = self.self_attention.project(y_BxQx1xD)
    if isinstance(level, int) and cache_BxQ.key.shape[3] == level:
      add = lambda old, now: jnp.concatenate([old, now], axis=3)
    else:
      add = lambda old, now: jax.lax.dynamic_update_slice_in_dim(old, now, level, axis=3)
    cache_BxQ = jax.tree.map(add, cache_BxQ, new)
    places = cache_BxQ.key.shape[3]
    past_P = jnp.arange(places) <= level
    bias_Hx1xP = None if bias_HxLxL is None else bias_HxLxL[:, level][:, None, :places]
    y_BxQx1xD = self.self_attention(y_BxQx1xD, cache_BxQ, past_P[None, None, None], bias_Hx1xP)
    x_BxQxD = x_BxQxD + y_BxQx1xD[:, :, 0]
    y_BxQxD, mask_Bx1xS = self.cross_norm(x_BxQxD), mask_BxS[:, None]
    if isinstance(cross, KeyValues):
      y_BxQxD = self.cross_attention(y_BxQxD, cross, mask_Bx1xS)
    else:
      y_BxQxD = self.cross_attention.over_states(y_BxQxD, cross, mask_Bx1xS)
    x_BxQxD = x_BxQxD + y_BxQxD
    return x_BxQxD + self.feed(self.feed_norm(x_BxQxD)), cache_BxQ
