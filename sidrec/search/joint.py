"""One probability of two: that of semantic IDs, and that of the item head.

Each is a distribution over items, and so is their weighted geometric mean, the logarithmic opinion
pool (Genest and Zidek, Statistical Science 1986):

  p(item) ∝ p_ids(item)^(1 / (1 + w)) · p_items(item)^(w / (1 + w))

It ranks items by log p_ids + w · log p_items. Of more distributions, each has its weight, and the
sum of all weights takes the place of 1 + w; weights that were fitted are taken as they are, for
their sum says how sharp p is. Adding all of the catalogue up would cost as much as the catalogue is
large. So the items that the search found share out, by the mean, the probability
that they have together by their IDs. If they are all items, p is the mean itself; in any list the
probabilities add up to 1 at most. Items that a filter takes out of the list are not among them.
"""

import jax
import jax.numpy as jnp


def pooled(logp_BxK: jax.Array, sum_BxK: jax.Array, sharpness: float | jax.Array) -> jax.Array:
  """log p of the items found: float32 [B, K], -inf for none.

  Args:
    logp_BxK: log p by semantic IDs; -inf for none.
    sum_BxK: the weighted sum of that and of all that is joined with it, up to a constant of each
      history.
    sharpness: the factor of the sum.
  """
  mean_BxK, shift_Bx1 = _mean_and_shift(logp_BxK, sum_BxK, sharpness)
  return mean_BxK + shift_Bx1


def bound_of_others(
  bound_B: jax.Array, logp_BxK: jax.Array, sum_BxK: jax.Array, sharpness: float | jax.Array
) -> jax.Array:
  """What `pooled` makes of the weighted sum of an item that is not among those found: float32 [B].

  Args:
    bound_B: that weighted sum.
    logp_BxK: of the items found, as are the others; see `pooled`.
    sum_BxK: their weighted sums.
    sharpness: the factor of the sum.
  """
  _, shift_Bx1 = _mean_and_shift(logp_BxK, sum_BxK, sharpness)
  return sharpness * bound_B + shift_Bx1[:, 0]


def _mean_and_shift(
  logp_BxK: jax.Array, sum_BxK: jax.Array, sharpness: float | jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The mean of all log p of each item, and what makes it the log p of a list."""
  real_BxK = jnp.isfinite(logp_BxK)
  mean_BxK = jnp.where(real_BxK, sharpness * sum_BxK, -jnp.inf)
  any_Bx1 = real_BxK.any(axis=1, keepdims=True)
  total_Bx1, mass_Bx1 = (
    jnp.where(any_Bx1, jax.nn.logsumexp(x_BxK, axis=1, keepdims=True), 0.0)
    for x_BxK in (mean_BxK, logp_BxK)
  )
  return mean_BxK, mass_Bx1 - total_Bx1
