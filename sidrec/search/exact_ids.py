"""Exact ranking of a recommender of semantic IDs: what a beam search has to find.

Every item is scored by the likelihood that training maximises, all its levels at once, so that
nothing of the search is used to judge it.
"""

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import Trie
from sidrec.data.events import Events
from sidrec.models.base import SemanticIDModel
from sidrec.models.settings import RecommenderConfig
from sidrec.parallel import mesh as mesh_lib
from sidrec.search import evidence
from sidrec.search.batched import RecommendUsers, check_nothing_shared, in_batches_of
from sidrec.search.checks import check_fit
from sidrec.search.exact import best_of_all, without_items
from sidrec.search.joint import pooled
from sidrec.search.likelihood import item_paths
from sidrec.search.results import Recommendations
from sidrec.search.settings import SearchConfig


def why_not_exact(model: RecommenderConfig, search: SearchConfig) -> str:
  """Why items cannot be scored one by one as this search scores them; empty if they can."""
  if model.setting not in ("dense", "tiger"):
    return f"the model {model.setting!r} is a plugin's, whose decoder is not known"
  if model.repeats:
    return "the model has repeats"
  if search.temperature != 1:
    return "search.temperature is not 1"
  if search.most_per_prefix:
    return "search.most_per_prefix limits the lists"
  return ""


def all_scores(
  model: SemanticIDModel,
  search: SearchConfig,
  params: dict,
  trie: Trie,
  path_NxLp1: jax.Array,
  history_BxS: jax.Array | Events,
) -> jax.Array:
  """The score of every item for each history: float32 [B, N], -inf for rows that are no items.

  Args:
    model: static under jit, as is `search`.
    search: how items are scored.
    params: of the model.
    trie: the catalogue.
    path_NxLp1: of `likelihood.item_paths`.
    history_BxS: int32 item rows or events, as `encode` takes them.
  """
  bound = model.bind({"params": params})
  states, _ = bound.encode_states(history_BxS, trie.codes_NxL)
  encoded = bound.encode(history_BxS, trie.codes_NxL)
  batch, num_items = encoded.start_BxD.shape[0], path_NxLp1.shape[0]
  item_BxN = jnp.broadcast_to(jnp.arange(num_items), (batch, num_items))
  width, length = encoded.start_BxD.shape[-1], encoded.mask_BxS.shape[-1]
  start_BxNxD = jnp.broadcast_to(encoded.start_BxD[:, None], (batch, num_items, width))
  mask_BxNxS = jnp.broadcast_to(encoded.mask_BxS[:, None], (batch, num_items, length))
  codes_BxNxL, path_BxNxLp1 = trie.codes_NxL[item_BxN], path_NxLp1[item_BxN]
  hidden_BxNxLxD = bound.decode(states, start_BxNxD, codes_BxNxL, mask_BxNxS, False)
  logp_BxNxL = bound.level_tables().log_likelihoods(hidden_BxNxLxD, codes_BxNxL, path_BxNxLp1, trie)
  weight_L = jnp.asarray(search.level_weights or [1.0] * trie.num_levels, jnp.float32)
  score_BxN = (logp_BxNxL * weight_L[None, None]).sum(axis=-1)
  is_there_N = jnp.arange(num_items) < trie.used
  score_BxN = jnp.where(is_there_N[None], score_BxN, -jnp.inf)
  if evidence.is_used(model.config, search):
    sum_BxN = evidence.sums(model, params, trie, encoded, search, None, score_BxN)
    if search.gives_probabilities:
      return pooled(score_BxN, sum_BxN, evidence.sharpness(model.config, search, params))
    return sum_BxN
  return score_BxN


def make_exact_recommend_users(
  model: SemanticIDModel,
  trie: Trie,
  config: SearchConfig,
  num_results: int,
  mesh: jax.sharding.Mesh,
) -> RecommendUsers:
  """Compiles the exact ranking, one user a device at a time, because every item is a target.

  Args:
    model: the recommender.
    trie: the catalogue.
    config: how items are scored; there are no beams.
    num_results: K.
    mesh: the devices.

  Returns:
    What `make_recommend_users` returns. Lists that users share, and draws, are refused.

  Raises:
    ValueError: for a model or a search whose scores are not those of single items.
  """
  if why := why_not_exact(model.config, config):
    raise ValueError(f"there is no exact ranking to compare with, because {why}")
  path_NxLp1 = jnp.asarray(item_paths(trie))

  def best(params, trie, path_NxLp1, history_BxS, seen_BxJ) -> Recommendations:
    score_BxN = all_scores(model, config, params, trie, path_NxLp1, history_BxS)
    return best_of_all(without_items(score_BxN, seen_BxJ), num_results)

  compiled = jax.jit(best, out_shardings=mesh_lib.replicated(mesh))

  def rank(params, history_BxS, seen_BxJ, shared):
    check_nothing_shared(shared, "the exact ranking")
    check_fit(model, params, trie)
    return compiled(params, trie, path_NxLp1, history_BxS, seen_BxJ)

  return in_batches_of(model, trie, mesh.devices.size, mesh, rank)
