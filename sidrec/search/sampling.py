"""Which continuations become beams: the best ones, at most some per prefix, or a random draw.

Letters: B batch, K beams, F fan-out, C candidates, J chosen ones.
"""

import jax
import jax.numpy as jnp


def best(value_BxKxF: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """The largest values, and where they stand in [K · F]: [B, J ≤ count] each, largest first."""
  value_BxC = value_BxKxF.reshape(value_BxKxF.shape[0], -1)
  return jax.lax.top_k(value_BxC, min(count, value_BxC.shape[1]))


def best_per_group(
  value_BxKxF: jax.Array, group_BxK: jax.Array, most: int, count: int
) -> tuple[jax.Array, jax.Array]:
  """What `best` returns, but at most `most` of one group; what is left over is -inf.

  Args:
    value_BxKxF: of continuations.
    group_BxK: int, the group that all continuations of a beam belong to.
    most: from one group.
    count: of all.
  """
  fan_out = value_BxKxF.shape[2]
  # No beam can give more than its group may.
  value_BxKxM, slot_BxKxM = jax.lax.top_k(value_BxKxF, min(most, fan_out))
  index_BxKxM = slot_BxKxM + fan_out * jnp.arange(value_BxKxF.shape[1])[None, :, None]
  group_BxKxM = jnp.broadcast_to(group_BxK[..., None], value_BxKxM.shape)
  flat = lambda x: x.reshape(x.shape[0], -1)
  take = lambda x, at: jnp.take_along_axis(x, at, axis=1)
  value_BxC, order_BxC = jax.lax.top_k(flat(value_BxKxM), flat(value_BxKxM).shape[1])
  keep_BxC = _rank_in_group(take(flat(group_BxKxM), order_BxC)) < most
  value_BxJ, at_BxJ = best(jnp.where(keep_BxC, value_BxC, -jnp.inf)[:, None], count)
  return value_BxJ, take(take(flat(index_BxKxM), order_BxC), at_BxJ)


def _rank_in_group(group_BxC: jax.Array) -> jax.Array:
  """How many candidates before each one belong to its group: int32 [B, C]."""
  order_BxC = jnp.argsort(group_BxC, axis=1, stable=True)
  sorted_BxC = jnp.take_along_axis(group_BxC, order_BxC, axis=1)
  place_1xC = jnp.arange(group_BxC.shape[1], dtype=jnp.int32)[None]
  opens_BxC = jnp.pad(sorted_BxC[:, 1:] != sorted_BxC[:, :-1], ((0, 0), (1, 0)))
  start_BxC = jax.lax.cummax(jnp.where(opens_BxC, place_1xC, 0), axis=1)
  return jnp.take_along_axis(place_1xC - start_BxC, jnp.argsort(order_BxC, axis=1), axis=1)


def perturb(key: jax.Array, logp_BxKxF: jax.Array, parent_BxK: jax.Array) -> jax.Array:
  """Gumbel noise on log probabilities, given that each beam's largest sum is the beam's own.

  Keeping the K largest at every level draws K items without replacement (Kool, van Hoof and
  Welling 2019, Stochastic Beams and Where to Find Them, algorithm 1 and appendix B).

  Args:
    key: of the level.
    logp_BxKxF: log p(prefix and continuation); -inf for none.
    parent_BxK: the perturbed log p(prefix) of the beams.

  Returns:
    The perturbed log probabilities, -inf for none.
  """
  real_BxKxF = jnp.isfinite(logp_BxKxF)
  noisy_BxKxF = logp_BxKxF + jax.random.gumbel(key, logp_BxKxF.shape)
  largest_BxKx1 = jnp.max(noisy_BxKxF, axis=-1, keepdims=True)
  below_BxKxF = jnp.where(real_BxKxF, noisy_BxKxF - largest_BxKx1, 0.0)  # ≤ 0
  parent_BxKx1 = jnp.where(jnp.isfinite(parent_BxK), parent_BxK, 0.0)[..., None]
  noisy_BxKxF = jnp.where(real_BxKxF, noisy_BxKxF, 0.0)
  v_BxKxF = parent_BxKx1 - noisy_BxKxF + _log1mexp(below_BxKxF)
  moved = parent_BxKx1 - jnp.maximum(0.0, v_BxKxF) - jnp.log1p(jnp.exp(-jnp.abs(v_BxKxF)))
  return jnp.where(real_BxKxF, moved, -jnp.inf)


def _log1mexp(x: jax.Array) -> jax.Array:
  """log(1 - exp(x)) for x ≤ 0."""
  return jnp.where(x > -0.6931472, jnp.log(-jnp.expm1(x)), jnp.log1p(-jnp.exp(x)))
