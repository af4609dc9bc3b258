"""log p of given items by their IDs, as a search with enough beams would have it."""

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import ROOT, rows_below
from sidrec.core.vocabulary import NO_ITEM
from sidrec.search.beam_state import BeamState, with_places
from sidrec.search.filters import is_allowed
from sidrec.search.levels import Levels


def log_p(levels: Levels, item_BxF: jax.Array) -> jax.Array:
  """log p of these items after each history: float32 [B, F].

  It is -inf for NO_ITEM, for what the trie lacks or the request may not get, and for items of the
  history where the model has repeats: they have no path.

  Args:
    levels: of the search.
    item_BxF: int32 item rows; an item may be there several times.
  """
  trie = levels.trie
  may_BxF = may_be_found(levels, item_BxF)
  row_BxF = jnp.where(may_BxF, trie.row_of_N[jnp.maximum(item_BxF, 0)], 0)
  batch, count = item_BxF.shape
  state, stop = levels.start(batch), levels.last_level()
  state = state._replace(caches=with_places(state.caches, stop))
  for level in range(stop):
    children, logp_BxKxC, caches = levels.continuations(state, level, trie.fan_outs[level])
    token_BxF = trie.codes_NxL.token(row_BxF, level)
    # At level 0 the root alone is a beam, and all items go on from it.
    chosen_BxFxC = (children.token == token_BxF[..., None]) & children.real
    logp_BxF = jnp.where(chosen_BxFxC, logp_BxKxC, -jnp.inf).max(axis=-1)
    state = BeamState(
      level=state.level + 1,
      node_BxK=jnp.where(chosen_BxFxC, children.node, ROOT).max(axis=-1),
      score_BxK=state.score_BxK + logp_BxF,
      token_BxK=token_BxF,
      caches=jax.tree.map(lambda x: _for_each(x, count), caches),
      prefix_BxK=None,
      noisy_BxK=None,
    )
  return jnp.where(may_BxF, state.score_BxK, -jnp.inf)


def may_be_found(levels: Levels, item_BxF: jax.Array) -> jax.Array:
  """Which of these rows the trie has and the request may get: bool [B, F]."""
  trie = levels.trie
  row_BxF = trie.row_of_N[jnp.maximum(item_BxF, 0)]
  _, stop = rows_below(trie, jnp.int32(ROOT))
  may_BxF = (item_BxF != NO_ITEM) & (row_BxF < stop)
  for rows in (levels.rows, levels.had):
    if rows is not None:
      may_BxF = may_BxF & is_allowed(trie, item_BxF, rows)
  return may_BxF


def _for_each(cache: jax.Array, count: int) -> jax.Array:
  """A cache of so many beams, from one of one or of so many."""
  return jnp.broadcast_to(cache, (cache.shape[0], count, *cache.shape[2:]))
