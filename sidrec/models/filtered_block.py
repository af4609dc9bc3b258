"""A causal block of attention and, where wanted, BSARec's filter, with norms before or after."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.models.dropout import Dropout
from sidrec.models.frequency import FilterConfig, FrequencyFilter
from sidrec.models.layers import Attention, FeedForward, Norm


class FilteredBlock(nn.Module):
  """α · filter(x) + (1 - α) · attention(x), then a feed-forward map, as in BSARec.

  Each of the three adds to its input what it makes, dropped, and is normalised afterwards
  (Vaswani et al., 2017).
  """

  heads: int
  hidden: int
  length: int  # S, of the filter
  dropout: float
  filter: FilterConfig
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self,
    x_BxSxD: jax.Array,
    visible_BxSxS: jax.Array,
    filtered_BxSxS: jax.Array,
    train: bool,
    bias_HxSxS: jax.Array | None = None,
    at_BxQ: jax.Array | None = None,
  ) -> jax.Array:
    """Attention sees the positions s where visible[:, q, s] holds, none later than q.

    The filter takes those where filtered[:, q, s] does; a bias is as `EncoderBlock` takes it. With
    `at_BxQ` only these positions are computed: [B, Q, D].
    """
    width, share = x_BxSxD.shape[-1], self.filter.share
    x_BxQxD, place_BxQ = x_BxSxD, jnp.arange(x_BxSxD.shape[1])[None]
    if at_BxQ is not None:
      x_BxQxD, place_BxQ = taken(x_BxSxD, at_BxQ), at_BxQ
      visible_BxSxS, filtered_BxSxS = taken(visible_BxSxS, at_BxQ), taken(filtered_BxSxS, at_BxQ)
      bias_HxSxS = _bias_of(bias_HxSxS, at_BxQ)
    mixed_BxQxD = jnp.zeros_like(x_BxQxD)
    if share < 1:
      attention = Attention(self.heads, width // self.heads, width, self.dtype, name="attention")
      keys, causal = attention.project(x_BxSxD), at_BxQ is None
      y_BxQxD = attention(x_BxQxD, keys, visible_BxSxS, bias_HxSxS, causal=causal)
      mixed_BxQxD += (1 - share) * self._added("attention", x_BxQxD, y_BxQxD, train)
    if share > 0:
      low_pass = FrequencyFilter(self.length, self.filter.frequencies, name="filter")
      y_BxQxD = low_pass(x_BxSxD, x_BxQxD, place_BxQ, filtered_BxSxS)
      mixed_BxQxD += share * self._added("filter", x_BxQxD, y_BxQxD, train)
    y_BxQxD = FeedForward(width, self.hidden, self.dtype, name="feed")(mixed_BxQxD)
    return self._added("feed", mixed_BxQxD, y_BxQxD, train)

  def _added(self, name: str, x_BxQxD: jax.Array, y_BxQxD: jax.Array, train: bool) -> jax.Array:
    """The norm of x + dropped y."""
    y_BxQxD = Dropout(self.dropout, name=f"{name}_drop")(y_BxQxD, deterministic=not train)
    return Norm(self.dtype, name=f"{name}_norm")(x_BxQxD + y_BxQxD)


def taken(x_BxSx: jax.Array, at_BxQ: jax.Array) -> jax.Array:
  """x[b, at[b, q]]: [B, Q, ...]."""
  return jnp.take_along_axis(x_BxSx, at_BxQ[..., None], axis=1)


def _bias_of(bias: jax.Array | None, at_BxQ: jax.Array) -> jax.Array | None:
  """The rows `at` of an attention bias [B, H, S, S]: [B, H, Q, S]."""
  return None if bias is None else jnp.take_along_axis(bias, at_BxQ[:, None, :, None], axis=2)
