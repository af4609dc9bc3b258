"""Items of the history next to what the beams found, where the model has repeats.

Beams lead to items that the history does not hold, and the history's own items are few: all of them
are scored, and the best of both are the result. No item is in both, so nothing is counted twice.

Here P counts what was met before, as in `models.repeats`, and X the items of both.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import Trie
from sidrec.models.repeats import Shares
from sidrec.models.settings import RecommenderConfig
from sidrec.search import sampling
from sidrec.search.filters import BitFilter, RowFilter, is_allowed
from sidrec.search.settings import SearchConfig

_NEW, _OLD = 1 << 20, 1 << 20 | 1  # draws; levels have the numbers from 0


class Candidates(NamedTuple):
  """Items that may become results."""

  item_BxX: jax.Array  # int32 item rows; any where the score is -inf
  score_BxX: jax.Array  # float32 log p, -inf for none
  noisy_BxX: jax.Array | None  # float32, perturbed, where results are drawn


def check_settings(model: RecommenderConfig, config: SearchConfig) -> None:
  """Raises ValueError for settings of a search that a model with repeats has no answer to."""
  if model.repeats and config.level_weights:
    raise ValueError(
      "search.level_weights weigh the levels of semantic IDs, and with model.repeats items of the "
      "history have no levels to compare with; leave the weights out"
    )


def of_history(
  trie: Trie, again: Shares, rows: RowFilter | BitFilter | None, key: jax.Array | None
) -> Candidates:
  """The items of each history that its request may get.

  Args:
    trie: the catalogue.
    again: their probabilities.
    rows: the filter of the requests.
    key: of a draw; None for the best.
  """
  score_BxP = again.logp_BxP
  if rows is not None:
    score_BxP = jnp.where(is_allowed(trie, again.item_BxP, rows), score_BxP, -jnp.inf)
  if key is None:
    return Candidates(again.item_BxP, score_BxP, None)
  gumbel_BxP = jax.random.gumbel(jax.random.fold_in(key, _OLD), score_BxP.shape)
  return Candidates(again.item_BxP, score_BxP, score_BxP + gumbel_BxP)


def perturb_new(key: jax.Array, logp_Bx1: jax.Array) -> jax.Array:
  """The perturbed log p of something new: the largest that any new item gets in a draw."""
  return logp_Bx1 + jax.random.gumbel(jax.random.fold_in(key, _NEW), logp_Bx1.shape)


def merged(
  trie: Trie, found: Candidates, old: Candidates, config: SearchConfig
) -> tuple[jax.Array, jax.Array]:
  """The K best items of both and their log p: [B, K] each, as `beam.best_items` returns them."""
  item_BxX = jnp.concatenate([found.item_BxX, old.item_BxX], axis=1)
  score_BxX = jnp.concatenate([found.score_BxX, old.score_BxX], axis=1)
  value_BxX = score_BxX
  if found.noisy_BxX is not None and old.noisy_BxX is not None:
    value_BxX = jnp.concatenate([found.noisy_BxX, old.noisy_BxX], axis=1)
  value_BxK, at_BxK = sampling.best_items(trie, item_BxX, value_BxX, config)
  score_BxK = jnp.take_along_axis(score_BxX, at_BxK, axis=1)
  score_BxK = jnp.where(jnp.isfinite(value_BxK), score_BxK, -jnp.inf)
  return jnp.take_along_axis(item_BxX, at_BxK, axis=1), score_BxK
