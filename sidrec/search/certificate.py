"""What a search can have missed at most, so that a list can say that it is exact.

log p of a prefix bounds log p of all items below it, because no later factor is above 1; level
weights that are not negative, and a temperature, change nothing about that. A search drops whole
prefixes. So no item that it did not find has a larger log p than the best continuation that became
no beam at any level. If the k-th result scores at least as much, the first k are the best k.

With an item head or followers, items are ranked by a weighted sum, and an item that was not
found may have the best score of all that were not found. All items are scored for that, which takes
as many products as a table of items has numbers: little next to the decoder's for thousands of
items, and much for millions.

All of this holds for scores as the search computes them; computed in another order, as in batches
of another size, they may differ by a few roundings.

The history's items, where the model has repeats, are all scored, and those that are not among the
results are bounded by the best of them.
"""

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import ROOT, rows_below
from sidrec.search import evidence, joint, repeats, sampling
from sidrec.search.beam_state import BeamState
from sidrec.search.filters import allowed_items
from sidrec.search.levels import Levels


def bound(levels: Levels, state: BeamState, item_BxK: jax.Array, logp_BxK: jax.Array) -> jax.Array:
  """What no allowed item exceeds that is not among those found: float32 [B], in units of scores.

  Args:
    levels: of the search.
    state: the finished beams.
    item_BxK: what was found, by beams and in histories.
    logp_BxK: their log p by IDs; -inf for none.
  """
  missed_B = _best_logp(levels, state)
  model, params, config = levels.model, levels.params, levels.config
  if not evidence.is_used(model.config, config):
    return missed_B
  others_B = _best_of_others(levels, jnp.where(jnp.isfinite(logp_BxK), item_BxK, -1))
  of_ids = evidence.weights(model.config, config, params).ids
  bound_B = of_ids * missed_B + others_B
  if not config.gives_probabilities:
    return bound_B
  sum_BxK = evidence.sums(model, params, levels.trie, levels.encoded, config, item_BxK, logp_BxK)
  sharpness = evidence.sharpness(model.config, config, params)
  return joint.bound_of_others(bound_B, logp_BxK, sum_BxK, sharpness)


def _best_logp(levels: Levels, state: BeamState) -> jax.Array:
  """The best log p by IDs that an item not found may have: [B]."""
  assert state.missed_B is not None
  if levels.again is None:
    return state.missed_B
  old = repeats.of_history(levels.trie, levels.again, levels.rows, levels.key)
  score_BxX = jnp.concatenate([state.score_BxK, old.score_BxX], axis=1)
  _, _, next_B = sampling.best_and_next(score_BxX[..., None], levels.config.beams)
  return jnp.maximum(state.missed_B, next_B)


def _best_of_others(levels: Levels, found_BxK: jax.Array) -> jax.Array:
  """The best sum beside log p by IDs of an allowed item not found: [B], -inf for none."""
  trie = levels.trie
  score_BxN = evidence.sums(
    levels.model, levels.params, trie, levels.encoded, levels.config, None, 0.0
  )
  _, stop = rows_below(trie, jnp.int32(ROOT))
  may_BxN = (trie.row_of_N < stop)[None]
  if levels.rows is not None:
    may_BxN = may_BxN & allowed_items(trie, levels.rows)
  score_BxN = jnp.where(may_BxN, score_BxN, -jnp.inf)
  column_BxK = jnp.where(found_BxK < 0, score_BxN.shape[1], found_BxK)
  row_Bx1 = jnp.arange(len(column_BxK))[:, None]
  return score_BxN.at[row_Bx1, column_BxK].set(-jnp.inf, mode="drop").max(axis=1)
