"""Which continuations become beams: the best ones, at most some per prefix, or a random draw.

Here X counts candidates or those that are chosen.
"""

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import Trie
from sidrec.search.settings import SearchConfig


def best(value_BxKxC: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """The largest values, and where they stand in [K · C]: [B, X ≤ count] each, largest first."""
  value_BxX = value_BxKxC.reshape(value_BxKxC.shape[0], -1)
  value_BxX, at_BxX = jax.lax.top_k(value_BxX, min(count, value_BxX.shape[1]))
  return value_BxX, at_BxX


def best_and_next(value_BxKxC: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What `best` returns, and the largest of the other values: [B], -inf where there is none.

  It is inf where a value is NaN, of which nothing is known.
  """
  value_BxX, at_BxX = best(value_BxKxC, count + 1)
  next_B = value_BxX[:, count] if value_BxX.shape[1] > count else jnp.full(len(value_BxX), -jnp.inf)
  next_B = jnp.where(jnp.isnan(value_BxKxC).any(axis=(1, 2)), jnp.inf, next_B)
  return value_BxX[:, :count], at_BxX[:, :count], next_B


def best_per_group(
  value_BxKxC: jax.Array, group_BxK: jax.Array, most: int, count: int
) -> tuple[jax.Array, jax.Array]:
  """What `best` returns, but at most `most` of one group; what is left over is -inf.

  Args:
    value_BxKxC: of continuations.
    group_BxK: int, the group that all continuations of a beam belong to.
    most: from one group.
    count: of all.
  """
  fan_out = value_BxKxC.shape[2]
  # No beam can give more than its group may.
  value_BxKxG, slot_BxKxG = jax.lax.top_k(value_BxKxC, min(most, fan_out))
  index_BxKxG = slot_BxKxG + fan_out * jnp.arange(value_BxKxC.shape[1])[None, :, None]
  group_BxKxG = jnp.broadcast_to(group_BxK[..., None], value_BxKxG.shape)
  value_BxX, order_BxX = jax.lax.top_k(_flat(value_BxKxG), _flat(value_BxKxG).shape[1])
  keep_BxX = _rank_in_group(_take(_flat(group_BxKxG), order_BxX)) < most
  value_BxX, at_BxX = best(jnp.where(keep_BxX, value_BxX, -jnp.inf)[:, None], count)
  return value_BxX, _take(_take(_flat(index_BxKxG), order_BxX), at_BxX)


def best_items(
  trie: Trie, item_BxX: jax.Array, value_BxX: jax.Array, config: SearchConfig
) -> tuple[jax.Array, jax.Array]:
  """The items of the largest values, as many as there are beams, at most some of one prefix.

  Args:
    trie: knows the codes of all items.
    item_BxX: int32 item rows; any where the value is -inf.
    value_BxX: float32.
    config: how many, and the limit.

  Returns:
    The values, -inf for none, and where they stand in X: [B, K ≤ beams] each, largest first.
  """
  if not config.most_per_prefix:
    return best(value_BxX[..., None], config.beams)
  item_BxX = jnp.where(jnp.isfinite(value_BxX), item_BxX, 0)
  group_BxX = _prefixes(trie, item_BxX, config.prefix_levels)
  return best_per_group(value_BxX[..., None], group_BxX, config.most_per_prefix, config.beams)


def _prefixes(trie: Trie, item_BxX: jax.Array, levels: int) -> jax.Array:
  """A number for the first tokens of each item, equal for equal tokens: int32 [B, X]."""
  token_BxXxL = trie.codes_NxL[item_BxX][..., :levels]
  same_BxXxX = (token_BxXxL[:, :, None] == token_BxXxL[:, None, :]).all(axis=-1)
  return jnp.argmax(same_BxXxX, axis=-1).astype(jnp.int32)


def _flat(x_BxKxG: jax.Array) -> jax.Array:
  return x_BxKxG.reshape(x_BxKxG.shape[0], -1)


def _take(x_BxX: jax.Array, at_BxX: jax.Array) -> jax.Array:
  return jnp.take_along_axis(x_BxX, at_BxX, axis=1)


def _rank_in_group(group_BxX: jax.Array) -> jax.Array:
  """How many candidates before each one belong to its group: int32 [B, X]."""
  order_BxX = jnp.argsort(group_BxX, axis=1, stable=True)
  sorted_BxX = jnp.take_along_axis(group_BxX, order_BxX, axis=1)
  place_1xX = jnp.arange(group_BxX.shape[1], dtype=jnp.int32)[None]
  opens_BxX = jnp.pad(sorted_BxX[:, 1:] != sorted_BxX[:, :-1], ((0, 0), (1, 0)))
  start_BxX = jax.lax.cummax(jnp.where(opens_BxX, place_1xX, 0), axis=1)
  return jnp.take_along_axis(place_1xX - start_BxX, jnp.argsort(order_BxX, axis=1), axis=1)


def perturb(key: jax.Array, logp_BxKxC: jax.Array, parent_BxK: jax.Array) -> jax.Array:
  """Gumbel noise on log probabilities, given that each beam's largest sum is the beam's own.

  Keeping the K largest at every level draws K items without replacement (Kool, van Hoof and
  Welling 2019, Stochastic Beams and Where to Find Them, algorithm 1 and appendix B).

  Args:
    key: of the level.
    logp_BxKxC: log p(prefix and continuation); -inf for none.
    parent_BxK: the perturbed log p(prefix) of the beams.

  Returns:
    The perturbed log probabilities, -inf for none.
  """
  real_BxKxC = jnp.isfinite(logp_BxKxC)
  noisy_BxKxC = logp_BxKxC + jax.random.gumbel(key, logp_BxKxC.shape)
  largest_BxKx1 = jnp.max(noisy_BxKxC, axis=-1, keepdims=True)
  below_BxKxC = jnp.where(real_BxKxC, noisy_BxKxC - largest_BxKx1, 0.0)  # ≤ 0
  parent_BxKx1 = jnp.where(jnp.isfinite(parent_BxK), parent_BxK, 0.0)[..., None]
  noisy_BxKxC = jnp.where(real_BxKxC, noisy_BxKxC, 0.0)
  v_BxKxC = parent_BxKx1 - noisy_BxKxC + _log1mexp(below_BxKxC)
  moved = parent_BxKx1 - jnp.maximum(0.0, v_BxKxC) - jnp.log1p(jnp.exp(-jnp.abs(v_BxKxC)))
  return jnp.where(real_BxKxC, moved, -jnp.inf)


def _log1mexp(x: jax.Array) -> jax.Array:
  """log(1 - exp(x)) for x ≤ 0."""
  return jnp.where(x > -0.6931472, jnp.log(-jnp.expm1(x)), jnp.log1p(-jnp.exp(x)))
