"""log p(item | state) by a softmax over the catalogue, or over the target and sampled items.

Here X counts the items that a softmax runs over, and R positions of a block.
"""

from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.item_vectors import ItemVectors
from sidrec.models.layers import MASKED
from sidrec.models.table_params import rows_at
from sidrec.training.table_rows import TableRows

# Scores that the training loss holds at once, 64 MiB of float32: above this, positions go block
# by block and each block's scores are computed again in the backward pass.
_MAX_SCORES = 1 << 24


def item_log_likelihood(
  states_BxSxD: jax.Array,
  target_BxS: jax.Array,
  items: ItemVectors,
  bias_N: jax.Array | TableRows | None,
  negative_X: jax.Array | None = None,
) -> jax.Array:
  """log p(target | state): float32 [B, S], 0 where there is no target.

  Args:
    states_BxSxD: in the dtype that scores are multiplied in; they add up in float32.
    target_BxS: int32 item rows, NO_ITEM where there is none.
    items: their vectors.
    bias_N: each item's own score, or None.
    negative_X: different item rows, to run the softmax over these and the target alone;
      None for the whole catalogue.
  """

  def logp(state_BxSxD, target_BxS):
    state_RxD, target_R = state_BxSxD.reshape(-1, state_BxSxD.shape[-1]), target_BxS.reshape(-1)
    real_R, item_R = target_R != NO_ITEM, jnp.maximum(target_R, 0)
    # The target's score by itself: taking it from all scores would cost another pass over them.
    target_RxD = items.of(item_R).astype(state_RxD.dtype)
    score_R = (state_RxD.astype(jnp.float32) * target_RxD.astype(jnp.float32)).sum(axis=-1)
    if bias_N is not None:
      score_R = score_R + bias_N[item_R]
    if negative_X is None:
      total_R = jax.nn.logsumexp(item_scores(state_RxD, items, bias_N), axis=-1)
    else:
      score_RxX = item_scores(state_RxD, items, bias_N, negative_X)
      score_RxX = jnp.where(negative_X[None] == item_R[:, None], MASKED, score_RxX)
      total_R = jnp.logaddexp(score_R, jax.nn.logsumexp(score_RxX, axis=-1))
    return jnp.where(real_R, score_R - total_R, 0.0).reshape(target_BxS.shape)

  batch, length = target_BxS.shape
  count = _num_blocks(batch, length, items.num_items if negative_X is None else len(negative_X))
  if count == 1:
    return logp(states_BxSxD, target_BxS)

  # Blocks of positions, not of rows, so that each block is spread over all devices.
  def split(x: jax.Array) -> jax.Array:
    return jnp.moveaxis(x.reshape(x.shape[0], count, -1, *x.shape[2:]), 1, 0)

  block = jax.checkpoint(logp)
  _, logp_GxBxS = jax.lax.scan(
    lambda carry, part: (carry, block(*part)), None, (split(states_BxSxD), split(target_BxS))
  )
  return jnp.moveaxis(logp_GxBxS, 0, 1).reshape(target_BxS.shape)


def item_scores(
  state_RxD: jax.Array,
  items: ItemVectors,
  bias_N: jax.Array | TableRows | None,
  item_X: jax.Array | None = None,
) -> jax.Array:
  """Scores of all items, or of the rows `item_X`: float32 [R, X]."""
  table_XxD = items.of(item_X)
  score_RxX = jnp.dot(
    state_RxD, table_XxD.T.astype(state_RxD.dtype), preferred_element_type=jnp.float32
  )
  if bias_N is not None:
    score_RxX = score_RxX + rows_at(bias_N, item_X)[None]
  return score_RxX


def draw_distinct(key: jax.Array, num_items: int, count: int) -> jax.Array:
  """Draws min(count, N) different items, each item equally often.

  The catalogue, seen as a ring that starts anywhere, is cut into `count` stretches of
  (almost) equal length, and one item comes from each: as cheap as drawing with repeats.

  Returns:
    int32 [min(count, N)].
  """
  count = min(count, num_items)
  # Made of Python's numbers, for count · N may not fit int32.
  start_Xp1 = np.arange(count + 1, dtype=np.int64) * num_items // count
  size_X = jnp.asarray(np.diff(start_Xp1), jnp.int32)
  ring_key, within_key = jax.random.split(key)
  turn = jax.random.randint(ring_key, (), 0, num_items)
  within_X = jax.random.randint(within_key, (count,), 0, size_X)
  # turn + place may not fit int32 where N is above a billion; no such table fits a device.
  return (turn + jnp.asarray(start_Xp1[:-1], jnp.int32) + within_X) % num_items


class _Negatives(nn.Module):
  """What the random stream of this name gives a model first."""

  def __call__(self) -> jax.Array:
    return self.make_rng("negatives")


def negatives_of(key: jax.Array, num_items: int, count: int) -> jax.Array:
  """What a model with this key in its random stream 'negatives' draws by `draw_distinct`."""
  drawn_with = cast(jax.Array, _Negatives().apply({}, rngs={"negatives": key}))
  return draw_distinct(drawn_with, num_items, count)


def _num_blocks(batch: int, length: int, num_candidates: int) -> int:
  """The fewest equal blocks of positions whose scores stay within the limit, if any do."""
  for count in range(1, length):
    if length % count == 0 and batch * (length // count) * num_candidates <= _MAX_SCORES:
      return count
  return length
