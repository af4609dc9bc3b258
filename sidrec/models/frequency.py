"""BSARec's frequency filter, as a second path next to attention.

Shin, Choi, Wi and Park, 'An Attentive Inductive Bias for Sequential Recommendation beyond the
Self-Attention', AAAI 2024, arXiv:2312.10325. States are split by a Fourier transform over
positions into their lowest frequencies and the rest; the rest is scaled, channel by channel.

Keeping some frequencies is a circular convolution, so here it is one product with a matrix that
depends on distances alone. Histories that share a row are filtered apart, each as if it stood by
itself in S positions of zeros, wherever it begins.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class FilterConfig:
  """The settings of the frequency filter."""

  share: float = 0.0  # α of the filtered states, next to 1 - α of attention; 0 for no filter
  frequencies: int = 3  # that are low: the mean, and so many less one pairs of waves
  ahead: bool = True  # whether positions see later ones of their prefix, as in the paper

  def __post_init__(self):
    if not 0 <= self.share <= 1:
      raise ValueError(f"sasrec.filter.share is {self.share}; give 0 to 1")
    if self.frequencies < 1:
      raise ValueError(f"sasrec.filter.frequencies is {self.frequencies}; give 1 or more")

  @property
  def sees_ahead(self) -> bool:
    """Whether a position's state depends on what follows it, so that a target must not."""
    return self.share > 0 and self.ahead


NO_FILTER, BSAREC_FILTER = FilterConfig(), FilterConfig(share=0.7)


def low_pass_kernel(length: int, frequencies: int) -> np.ndarray:
  """What a low pass over positions takes from each distance: float32 [S], from distance 0.

  An rFFT over S positions of which the first `frequencies` are kept (all if there are no more),
  and its inverse, take k[(q - s) mod S] of position s to position q.
  """
  impulse_S = np.zeros(length)
  impulse_S[0] = 1.0
  spectrum = np.fft.rfft(impulse_S)
  spectrum[frequencies:] = 0.0
  return np.fft.irfft(spectrum, n=length).astype(np.float32)


class FrequencyFilter(nn.Module):
  """low + β² · (x - low), where low is the low pass of x and β a number for each channel."""

  length: int  # S of the transform; rows may be shorter
  frequencies: int

  @nn.compact
  def __call__(
    self, x_BxSxD: jax.Array, x_BxQxD: jax.Array, place_BxQ: jax.Array, seen_BxQxS: jax.Array
  ) -> jax.Array:
    """Filters some positions: [B, Q, D].

    Args:
      x_BxSxD: all states.
      x_BxQxD: those at the positions.
      place_BxQ: int32, which these are; or [1, Q].
      seen_BxQxS: whether q takes from s.
    """
    scale_D = self.param("scale", nn.initializers.normal(1.0), (x_BxSxD.shape[-1],))
    kernel_S = jnp.asarray(low_pass_kernel(self.length, self.frequencies))
    place_1x1xS = jnp.arange(x_BxSxD.shape[1])[None, None]
    distance_BxQxS = (place_BxQ[..., None] - place_1x1xS) % self.length
    weight_BxQxS = jnp.where(seen_BxQxS, kernel_S[distance_BxQxS], 0.0).astype(x_BxSxD.dtype)
    low_BxQxD = weight_BxQxS @ x_BxSxD
    scale_1x1xD = (scale_D**2).astype(x_BxSxD.dtype)[None, None]
    return low_BxQxD + scale_1x1xD * (x_BxQxD - low_BxQxD)
