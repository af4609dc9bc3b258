"""The encoder's transformer block."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.models.dropout import Dropout
from sidrec.models.layers import Attention, FeedForward, Norm


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

    The bias is [H, S, S], or of each history: [B, H, S, S].

    With `causal`, the mask hides all s > q.
    """
    y_BxSxD = self.attention_norm(x_BxSxD)
    keys = self.attention.project(y_BxSxD)
    y_BxSxD = self.attention(y_BxSxD, keys, mask_BxSxS, bias_HxSxS, causal)
    x_BxSxD = x_BxSxD + self.drop(y_BxSxD, deterministic=not train)
    y_BxSxD = self.feed(self.feed_norm(x_BxSxD))
    return x_BxSxD + self.drop(y_BxSxD, deterministic=not train)
