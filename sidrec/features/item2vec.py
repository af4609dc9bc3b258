"""Item2vec: skip-gram with negative sampling over histories instead of sentences.

Barkan & Koenigstein (2016), after word2vec (Mikolov et al. 2013). Here B counts the pairs of a
step, D is the width of the vectors and X counts the negatives that the pairs of a step share.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sidrec.data.dataset import Histories
from sidrec.features.pairs import near_pairs
from sidrec.features.settings import Item2vecConfig
from sidrec.features.unit_rows import unit_rows


class _Corpus(NamedTuple):
  """The histories on the device."""

  item_T: jax.Array  # int32
  user_T: jax.Array  # int32
  negatives_N: jax.Array  # float32, cumulative distribution of negatives over items
  keep_N: jax.Array  # float32, probability that an interaction with the item is not thinned out


def item2vec_vectors(
  key: jax.Array, histories: Histories, num_items: int, config: Item2vecConfig
) -> np.ndarray:
  """Vectors of L2 norm 1; items that occur near each other have similar ones.

  A step draws interactions and, for each, another one at most `window` away in the same
  history: (i, j). It minimises the mean over pairs of

    -log σ(u_i · v_j) - negatives · mean_x log σ(-u_i · v_x)

  over negatives x other than j, drawn from popularity^`exponent`, and returns u. The pairs of a
  step share their negatives: the expected loss stays the same, and takes two matrix products.
  With `subsample` t, an interaction of an item whose share f of all interactions is above t
  counts only with probability √(t / f).

  The same key gives the same vectors on the same kind of device.

  Args:
    key: decides the start and what is drawn.
    histories: packed histories; pass the training view, since this learns from all it is given.
    num_items: N.
    config: the settings.

  Returns:
    vectors_NxD float32. An item that never occurs near another is a row of zeros.

  Raises:
    ValueError: for an interaction outside the catalogue.
    FloatingPointError: if training diverged.
  """
  related_N = np.zeros(num_items, bool)
  for _, *pair in near_pairs(histories, num_items, config.window):
    related_N[np.concatenate(pair)] = True
  if not related_N.any():
    return np.zeros((num_items, config.dim), np.float32)
  count_N = np.bincount(histories.item_T, minlength=num_items)
  cumulative_N = np.cumsum(np.where(count_N > 0, count_N.astype(np.float64), 0) ** config.exponent)
  keep_N = np.ones(num_items)
  if config.subsample:
    share_N = np.maximum(count_N, 1) / count_N.sum()
    keep_N = np.minimum(np.sqrt(config.subsample / share_N), 1.0)
  corpus = _Corpus(
    item_T=jnp.asarray(histories.item_T, jnp.int32),
    user_T=jnp.asarray(np.repeat(np.arange(histories.num_users), histories.lengths_U), jnp.int32),
    negatives_N=jnp.asarray(cumulative_N / cumulative_N[-1], jnp.float32),
    keep_N=jnp.asarray(keep_N, jnp.float32),
  )
  vectors_NxD = np.asarray(_train(key, corpus, config))
  if not np.isfinite(vectors_NxD).all():
    raise FloatingPointError(
      f"item2vec diverged at learning rate {config.learning_rate}; choose a lower one"
    )
  return np.where(related_N[:, None], unit_rows(vectors_NxD), np.float32(0))


@functools.partial(jax.jit, static_argnames="config")
def _train(key: jax.Array, corpus: _Corpus, config: Item2vecConfig) -> jax.Array:
  """The item vectors u after all steps: [N, D]."""
  num_items = len(corpus.keep_N)
  optimizer = optax.adam(optax.linear_schedule(config.learning_rate, 0.0, config.steps))
  init_key, key = jax.random.split(key)
  shape = (num_items, config.dim)
  params = {
    "item_NxD": jax.random.uniform(init_key, shape, minval=-0.5, maxval=0.5) / config.dim,
    "context_NxD": jnp.zeros(shape),
  }

  def step(carry: tuple[dict, optax.OptState], index: jax.Array):
    params, state = carry
    grads = jax.grad(_loss)(params, jax.random.fold_in(key, index), corpus, config)
    updates, state = optimizer.update(grads, state, params)
    return (optax.apply_updates(params, updates), state), None

  carry = (params, optimizer.init(params))
  (params, _), _ = jax.lax.scan(step, carry, jnp.arange(config.steps))
  return params["item_NxD"]


def _loss(params: dict, key: jax.Array, corpus: _Corpus, config: Item2vecConfig) -> jax.Array:
  """The mean loss of pairs drawn by the key."""
  pair_key, keep_key, negative_key = jax.random.split(key, 3)
  item_B, context_B, counts_B = _draw_pairs(pair_key, corpus, config)
  kept_Bx2 = jax.random.uniform(keep_key, (config.batch_size, 2)) < jnp.stack(
    [corpus.keep_N[item_B], corpus.keep_N[context_B]], axis=1
  )
  counts_B &= kept_Bx2.all(axis=1)
  uniform_X = jax.random.uniform(negative_key, (config.shared_negatives,))
  negative_X = jnp.searchsorted(corpus.negatives_N, uniform_X, side="right")

  item_BxD = params["item_NxD"][item_B]
  context_BxD = params["context_NxD"][context_B]
  negative_XxD = params["context_NxD"][negative_X]
  loss_B = _softplus(-(item_BxD * context_BxD).sum(axis=1))
  differs_BxX = negative_X[None, :] != context_B[:, None]
  negative_BxX = jnp.where(differs_BxX, _softplus(item_BxD @ negative_XxD.T), 0.0)
  loss_B += config.negatives * negative_BxX.sum(axis=1) / jnp.maximum(differs_BxX.sum(axis=1), 1)
  return jnp.where(counts_B, loss_B, 0.0).sum() / jnp.maximum(counts_B.sum(), 1)


@jax.custom_jvp
def _softplus(x: jax.Array) -> jax.Array:
  """log(1 + exp(x)), which is -log σ(-x)."""
  return jax.nn.softplus(x)


# The loss is differentiated and never looked at: without its logarithm a step takes half the time.
_softplus.defjvps(lambda dx, _, x: jax.nn.sigmoid(x) * dx)


def _draw_pairs(
  key: jax.Array, corpus: _Corpus, config: Item2vecConfig
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Items and their contexts, int32 [B], and which of the pairs count, bool [B]."""
  position_key, offset_key = jax.random.split(key)
  size, total = (config.batch_size,), len(corpus.item_T)
  position_B = jax.random.randint(position_key, size, 0, total)
  # -window … -1 and 1 … window.
  offset_B = jax.random.randint(offset_key, size, -config.window, config.window)
  offset_B = jnp.where(offset_B >= 0, offset_B + 1, offset_B)
  inside_B = (position_B + offset_B >= 0) & (position_B + offset_B < total)
  other_B = jnp.clip(position_B + offset_B, 0, total - 1)
  item_B, context_B = corpus.item_T[position_B], corpus.item_T[other_B]
  same_user_B = corpus.user_T[position_B] == corpus.user_T[other_B]
  return item_B, context_B, inside_B & same_user_B & (item_B != context_B)
