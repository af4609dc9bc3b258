"""What a search should say of an item: its score by the likelihood that training maximises.

A search goes down the trie with beams and caches; the likelihood reads the whole path of a target
at once. Where both agree, trie, parameters and search belong together.
"""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.trie import Trie, row_paths
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.base import SemanticIDModel
from sidrec.models.repeats import MixedLogLikelihood
from sidrec.search import evidence
from sidrec.search.levels import call
from sidrec.search.settings import SearchConfig


def item_paths(trie: Trie) -> np.ndarray:
  """Each item's node at every depth: int32 [N, L + 1]; zeros for items that are not in the trie."""
  path_RxLp1 = row_paths(trie)
  path_NxLp1 = np.zeros((trie.num_items, trie.num_levels + 1), np.int32)
  path_NxLp1[np.asarray(trie.item_N)[: len(path_RxLp1)]] = path_RxLp1
  return path_NxLp1


def likelihood_scores(
  model: SemanticIDModel,
  search: SearchConfig,
  params: dict,
  trie: Trie,
  path_NxLp1: jax.Array,
  history_BxS: jax.Array | Events,
  item_B: jax.Array,
) -> jax.Array:
  """The score of one item for each history, at temperature 1: float32 [B].

  Of a model with an item head or followers, it differs from the search's by a number that all items
  of a list share.

  Args:
    model: static under jit, as is `search`.
    search: how items are scored.
    params: of the model.
    trie: the catalogue.
    path_NxLp1: of `item_paths`.
    history_BxS: int32 item rows of at least one item each, NO_ITEM after the newest; with the
      user's token in front where the model has such; `Events` for a model that reads more.
    item_B: int32 item rows, of items in the trie.
  """
  row_B = jnp.arange(history_BxS.shape[0])
  row_BxS = history_BxS.item_BxS if isinstance(history_BxS, Events) else history_BxS
  if model.causal:  # the target follows the newest item
    at_B = (row_BxS != NO_ITEM).sum(axis=1) - 1
    target_BxQ = jnp.full_like(row_BxS, NO_ITEM).at[row_B, at_B].set(item_B)
  else:
    at_B, target_BxQ = jnp.zeros_like(item_B), item_B[:, None]
  weight, used = evidence.weights(model.config, search, params), evidence.uses(model.config, search)
  inputs = history_BxS, target_BxQ, trie, path_NxLp1
  if model.config.repeats:
    mixed = model.apply({"params": params}, *inputs, method="mixed_log_likelihood")
    levels, choice, items = cast(MixedLogLikelihood, mixed)
    score_B = (levels.sum(axis=-1) + choice)[row_B, at_B]
  else:
    method = "joint_log_likelihood" if used.item_head else "log_likelihood"
    made = model.apply({"params": params}, *inputs, method=method)
    logp_BxQxL, items = cast(tuple, made if used.item_head else (made, None))
    weight_L = jnp.asarray(search.level_weights or [1.0] * trie.num_levels, jnp.float32)
    score_B = (logp_BxQxL[row_B, at_B] * weight_L[None]).sum(axis=-1)
  if not any(used):
    return score_B
  score_B = weight.ids * score_B
  if used.item_head and items is not None:
    score_B = score_B + weight.item_head * items[row_B, at_B]
  if used.followers or used.similarity:
    encoded = call(model, params, "encode", history_BxS, trie.codes_NxL, None, trie.used)
    counted_Bx1 = evidence.counted(model.config, params, encoded, search, item_B[:, None])
    score_B = score_B + jnp.asarray(counted_Bx1)[:, 0]
  if search.gives_probabilities:  # as `joint.pooled`, up to a number that a list shares
    score_B = score_B * evidence.sharpness(model.config, search, params)
  return score_B
