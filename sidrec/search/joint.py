"""One probability of two: that of semantic IDs, and that of the item head.

Each is a distribution over items, and so is their weighted geometric mean, the logarithmic opinion
pool (Genest and Zidek, Statistical Science 1986):

  p(item) ∝ p_ids(item)^(1 / (1 + w)) · p_items(item)^(w / (1 + w))

It ranks items by log p_ids + w · log p_items. Adding all of the catalogue up would cost as much as
the catalogue is large. So the items that the search found share out, by the mean, the probability
that they have together by their IDs. If they are all items, p is the mean itself; in any list the
probabilities add up to 1 at most. Items that a filter takes out of the list are not among them.
"""

import jax
import jax.numpy as jnp


def pooled(logp_BxK: jax.Array, score_BxK: jax.Array, weight: float) -> jax.Array:
  """log p of the items found: float32 [B, K], -inf for none.

  Args:
    logp_BxK: log p by semantic IDs; -inf for none.
    score_BxK: the item head's log p, up to a constant of each history.
    weight: w.
  """
  mean_BxK, shift_Bx1 = _mean_and_shift(logp_BxK, score_BxK, weight)
  return mean_BxK + shift_Bx1


def bound_of_others(
  sum_B: jax.Array, logp_BxK: jax.Array, score_BxK: jax.Array, weight: float
) -> jax.Array:
  """What `pooled` makes of log p + w · score of an item that is not among those found: float32 [B].

  Args:
    sum_B: log p + w · score.
    logp_BxK: of the items found, as are the others; see `pooled`.
    score_BxK: the item head's.
    weight: w.
  """
  _, shift_Bx1 = _mean_and_shift(logp_BxK, score_BxK, weight)
  return sum_B / (1 + weight) + shift_Bx1[:, 0]


def _mean_and_shift(
  logp_BxK: jax.Array, score_BxK: jax.Array, weight: float
) -> tuple[jax.Array, jax.Array]:
  """The mean of both log p of each item, and what makes it the log p of a list."""
  mean_BxK = (logp_BxK + weight * score_BxK) / (1 + weight)
  real_BxK = jnp.isfinite(logp_BxK)
  mean_BxK = jnp.where(real_BxK, mean_BxK, -jnp.inf)
  any_Bx1 = real_BxK.any(axis=1, keepdims=True)
  total_Bx1, mass_Bx1 = (
    jnp.where(any_Bx1, jax.nn.logsumexp(x_BxK, axis=1, keepdims=True), 0.0)
    for x_BxK in (mean_BxK, logp_BxK)
  )
  return mean_BxK, mass_Bx1 - total_Bx1
