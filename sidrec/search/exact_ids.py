"""Exact ranking of a recommender of semantic IDs: what a beam search has to find.

Every item is scored by the likelihood that training maximises, all its levels at once, so that
nothing of the search is used to judge it. Where the model has repeats, the history's items have
their shares, and the softmaxes of the others leave out what leads to these alone.

Here X counts items that are scored together, and P what was met before, as in `models.repeats`.
"""

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.models.repeats import Had, Shares, shares
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

_AT_ONCE = 1 << 13  # items whose paths are in memory together


def why_not_exact(model: RecommenderConfig, search: SearchConfig) -> str:
  """Why items cannot be scored one by one as this search scores them; empty if they can."""
  if model.setting not in ("dense", "tiger"):
    return f"the model {model.setting!r} is a plugin's, whose decoder is not known"
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
  again = None if encoded.again is None else shares(encoded.again, trie)
  weight_L = jnp.asarray(search.level_weights or [1.0] * trie.num_levels, jnp.float32)
  num_items = path_NxLp1.shape[0]
  at_once = min(num_items, _AT_ONCE)

  def of_levels(first: jax.Array) -> jax.Array:
    item_X = jnp.minimum(first + jnp.arange(at_once), num_items - 1)
    logp_BxXxL = _level_log_p(bound, trie, path_NxLp1, states, encoded, again, item_X)
    return (logp_BxXxL * weight_L[None, None]).sum(axis=-1)

  score_YxBxX = jax.lax.map(of_levels, jnp.arange(0, num_items, at_once))
  score_BxN = jnp.moveaxis(score_YxBxX, 0, 1).reshape(len(states), -1)[:, :num_items]
  if again is not None:
    column_BxP = jnp.where(again.item_BxP == NO_ITEM, num_items, again.item_BxP)
    row_Bx1 = jnp.arange(len(states))[:, None]
    score_BxN = score_BxN + again.new_B[:, None]
    score_BxN = score_BxN.at[row_Bx1, column_BxP].set(again.logp_BxP, mode="drop")
  is_there_N = jnp.arange(num_items) < trie.used
  score_BxN = jnp.where(is_there_N[None], score_BxN, -jnp.inf)
  if evidence.is_used(model.config, search):
    sum_BxN = evidence.sums(model, params, trie, encoded, search, None, score_BxN)
    if search.gives_probabilities:
      return pooled(score_BxN, sum_BxN, evidence.sharpness(model.config, search, params))
    return sum_BxN
  return score_BxN


def _level_log_p(
  bound: SemanticIDModel,
  trie: Trie,
  path_NxLp1: jax.Array,
  states: jax.Array,
  encoded: EncoderOutput,
  again: Shares | None,
  item_X: jax.Array,
) -> jax.Array:
  """log p of each level of some items, the same for all histories: float32 [B, X, L].

  Of items that the history holds, where the model has repeats, it means nothing.
  """
  size = len(states), len(item_X)
  item_BxX = jnp.broadcast_to(item_X[None], size)
  start_BxXxD = jnp.broadcast_to(encoded.start_BxD[:, None], (*size, encoded.start_BxD.shape[-1]))
  mask_BxXxS = jnp.broadcast_to(encoded.mask_BxS[:, None], (*size, encoded.mask_BxS.shape[-1]))
  codes_BxXxL, path_BxXxLp1 = trie.codes_NxL[item_BxX], path_NxLp1[item_BxX]
  hidden_BxXxLxD = bound.decode(states, start_BxXxD, codes_BxXxL, mask_BxXxS, False)
  had = None
  if again is not None:
    is_met_BxXxP = jnp.broadcast_to(
      (again.item_BxP != NO_ITEM)[:, None], (*size, again.item_BxP.shape[1])
    )
    had = Had(is_met_BxXxP, path_NxLp1[jnp.maximum(again.item_BxP, 0)])
  return bound.level_tables().log_likelihoods(hidden_BxXxLxD, codes_BxXxL, path_BxXxLp1, trie, had)


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

  def best(same, batch) -> Recommendations:
    params, trie, path_NxLp1 = same
    history_BxS, seen_BxJ = batch
    score_BxN = all_scores(model, config, params, trie, path_NxLp1, history_BxS)
    return best_of_all(without_items(score_BxN, seen_BxJ), num_results)

  compiled = mesh_lib.on_own_rows(mesh, best)

  def rank(params, history_BxS, seen_BxJ, shared):
    check_nothing_shared(shared, "the exact ranking")
    check_fit(model, params, trie)
    return compiled((params, trie, path_NxLp1), (history_BxS, seen_BxJ))

  return in_batches_of(model, trie, mesh.devices.size, mesh, rank)
