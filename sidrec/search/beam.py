"""Exact trie-constrained beam search, K best items for each history.

Beams stay [B, K, …]; the history is encoded once and shared by its beams. Level 0 is peeled,
because only one beam is alive. The levels behind it run under `lax.while_loop`, with static shapes;
levels of similar fan-outs share one loop, padded to the largest. A loop ends early where no beam
branches any more, because an only child has probability 1. A beam carries its trie node, so that
only real items can come out and a finished beam's node names its item. There is no end token and
no length penalty: scores are log p(item | history), joined with what else ranks items where the
model has that: see `evidence.py`.

Forbidden items are excluded exactly, and so is all that an allow-list leaves out: see `filters.py`.

Where the model has repeats, beams lead to items that the history does not hold, and the items of
the history compete with what the beams found: see `repeats.py`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.item_rows import from_lists, is_known
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.models.repeats import shares
from sidrec.models.transfer import are_for
from sidrec.search import certificate, evidence, given, repeats
from sidrec.search.beam_state import BeamState
from sidrec.search.checks import check_fit
from sidrec.search.filters import NO_FILTERS, Filters, RowBits, checked, filter_of, make_filter
from sidrec.search.joint import pooled
from sidrec.search.levels import Levels, call
from sidrec.search.results import Certified, Recommendations, first, nothing
from sidrec.search.settings import SearchConfig


def search(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  history_BxS: Any,
  config: SearchConfig,
  filters: Filters | RowBits = NO_FILTERS,
  key: jax.Array | None = None,
) -> Recommendations:
  """The best items for each history, as many as there are beams.

  Args:
    model: the recommender; its config is static under jit.
    params: its parameters.
    trie: the catalogue.
    history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; or `Events`. Under jit a
      history ends before the first entry that is no item row; outside, such entries are refused.
    config: static. With an item head or followers, and weights above 0, the items found are ranked
      by all of them, and scores are as in `joint.pooled`; with level weights, too, they are a sum
      that only ranks.
    filters: what each request may get.
    key: to draw items without replacement instead, each level by the probabilities of the
      continuations that filters leave; results come in the order of the draw. None for the best.

  Returns:
    Recommendations with K = `config.beams` results per history.

  Raises:
    TypeError: for histories or filters that are no signed integers.
    ValueError: for settings that do not fit the IDs, a history that is not as above, or parameters
      of another catalogue. Under jit, parameters of another trie of the same sizes find nothing.
  """
  if not hasattr(history_BxS, "shape"):
    history_BxS = from_lists("histories", history_BxS)
  _check(model, params, trie, config, key)
  if not history_BxS.shape[0]:
    return nothing(config.beams, certify=config.certify)
  encoded = call(model, params, "encode", history_BxS, trie.codes_NxL, config.beams, trie.used)
  return results(*descended(model, params, trie, encoded, config, filters, key))


def searched(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  config: SearchConfig,
  filters: Filters | RowBits = NO_FILTERS,
) -> Recommendations:
  """What `search` returns, from the encoder's output of one history or more.

  Raises:
    ValueError: as `search` does.
  """
  _check(model, params, trie, config, None)
  return results(*descended(model, params, trie, encoded, config, filters))


def results(levels: Levels, state: BeamState) -> Recommendations:
  """The best candidates behind the last level, as many as there are beams."""
  params, trie, config = levels.params, levels.trie, levels.config
  item_BxX, score_BxX = candidates(levels, state)
  found = ranked(levels, item_BxX, score_BxX)
  if not config.certify:
    return first(found, config.beams)
  score_BxX = _unless_of_another_trie(params, trie, score_BxX)
  bound_B = certificate.bound(levels, state, item_BxX, score_BxX)
  bound_B = _unless_of_another_trie(params, trie, bound_B, jnp.inf)
  return Certified(*found, bound_B).first(config.beams)


def candidates(levels: Levels, state: BeamState) -> tuple[jax.Array, jax.Array]:
  """What may become a result: items, and log p by their IDs; [B, X] each, -inf for none.

  That is what the beams found, and behind it, of a model with followers, what most often followed.
  """
  item_BxK, score_BxK = items_of(levels, state)
  count = evidence.num_candidates(levels.model.config, levels.config)
  if not count or levels.key is not None:
    return item_BxK, score_BxK
  may = functools.partial(given.may_be_found, levels)
  item_BxF = evidence.strongest_followers(levels.params, levels.encoded, may, count)
  score_BxF = given.log_p(levels, item_BxF)
  is_found_BxKxF = jnp.isfinite(score_BxK)[..., None] & (item_BxK[..., None] == item_BxF[:, None])
  score_BxF = jnp.where(is_found_BxKxF.any(axis=1), -jnp.inf, score_BxF)
  item_BxX = jnp.concatenate([item_BxK, item_BxF], axis=1)
  return item_BxX, jnp.concatenate([score_BxK, score_BxF], axis=1)


def ranked(levels: Levels, item_BxX: jax.Array, score_BxX: jax.Array) -> Recommendations:
  """All candidates, in the order of log p and of what else ranks them, see `evidence`."""
  model, params, encoded, config = levels.model, levels.params, levels.encoded, levels.config
  score_BxX = _unless_of_another_trie(params, levels.trie, score_BxX)
  valid_BxX = jnp.isfinite(score_BxX)
  if evidence.is_used(model.config, config):
    sum_BxX = evidence.sums(model, params, levels.trie, encoded, config, item_BxX, score_BxX)
    pooled_BxX = sum_BxX
    if config.gives_probabilities:
      sharpness = evidence.sharpness(model.config, config, params)
      pooled_BxX = pooled(score_BxX, sum_BxX, sharpness)
    _, order_BxX = jax.lax.top_k(sum_BxX, sum_BxX.shape[1])
    item_BxX, score_BxX, valid_BxX = (
      jnp.take_along_axis(x, order_BxX, axis=1) for x in (item_BxX, pooled_BxX, valid_BxX)
    )
  return Recommendations(jnp.where(valid_BxX, item_BxX, -1), score_BxX, valid_BxX)


def best_items(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  config: SearchConfig,
  filters: Filters | RowBits = NO_FILTERS,
  key: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """The best items from the encoder's output, by IDs alone.

  Returns:
    Item rows [B, K], and float32 log probabilities [B, K], -inf where there are fewer.

  Raises:
    ValueError: as `search` does.
  """
  _check(model, params, trie, config, key)
  if not jax.tree.leaves(encoded)[0].shape[0]:
    return nothing(config.beams)[:2]
  item_BxK, score_BxK = items_of(*descended(model, params, trie, encoded, config, filters, key))
  return item_BxK, _unless_of_another_trie(params, trie, score_BxK)


def make_levels(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  config: SearchConfig,
  filters: Filters | RowBits = NO_FILTERS,
  key: jax.Array | None = None,
) -> Levels:
  """What all levels of a search share.

  Raises:
    ValueError: for the encoder output of a model without repeats, where this one has them.
  """
  again = had = None
  if model.config.repeats:
    if encoded.again is None:
      raise ValueError(
        "the encoder output does not say what may come again; make it by sidrec.encode with this "
        "model, which has repeats"
      )
    again = shares(encoded.again, trie, config.temperature)
    had = make_filter(trie, again.item_BxP, None)
  rows = filter_of(trie, filters)
  levels = Levels(model, params, trie, encoded, rows, config, key, again, had)
  return levels.with_listed_nodes()


def items_of(levels: Levels, state: BeamState) -> tuple[jax.Array, jax.Array]:
  """The best of the finished beams, and of the history where the model has repeats: [B, K] each."""
  trie, score_BxK = levels.trie, state.score_BxK
  item_BxK = items_below(trie, state.node_BxK, score_BxK)
  if levels.again is None:
    return item_BxK, score_BxK
  found = repeats.Candidates(item_BxK, score_BxK, state.noisy_BxK)
  old = repeats.of_history(trie, levels.again, levels.rows, levels.key)
  return repeats.merged(trie, found, old, levels.config)


def items_below(trie: Trie, node_BxK: jax.Array, score_BxK: jax.Array) -> jax.Array:
  """The item of each finished beam: int32 [B, K], any where the score is -inf."""
  row_BxK, _ = trie_lib.rows_below(trie, node_BxK)
  return trie.item_N[jnp.where(jnp.isfinite(score_BxK), row_BxK, 0)]


def descend(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  config: SearchConfig,
  filters: Filters | RowBits = NO_FILTERS,
  key: jax.Array | None = None,
  length: int | None = None,
) -> tuple[jax.Array, jax.Array]:
  """The best prefixes of so many tokens, from the encoder's output; None for whole IDs.

  Where the model has repeats, these are prefixes of new items alone.

  Returns:
    Trie nodes [B, K], which may lie above a prefix where no other ID goes on, and float32 log
    probabilities [B, K], -inf where there are fewer. Parameters of another trie find nothing.

  Raises:
    ValueError: as `search` does.
  """
  _check(model, params, trie, config, key)
  if not jax.tree.leaves(encoded)[0].shape[0]:
    return nothing(config.beams)[:2]
  _, state = descended(model, params, trie, encoded, config, filters, key, length)
  return state.node_BxK, _unless_of_another_trie(params, trie, state.score_BxK)


def descended(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  config: SearchConfig,
  filters: Filters | RowBits = NO_FILTERS,
  key: jax.Array | None = None,
  length: int | None = None,
) -> tuple[Levels, BeamState]:
  """The levels of a search of one request or more, and its beams behind the last of them."""
  batch = jax.tree.leaves(encoded)[0].shape[0]
  filters = filters if isinstance(filters, RowBits) else checked(filters, batch)
  levels = make_levels(model, params, trie, encoded, config, filters, key)
  return levels, levels.descend(batch, length or trie.num_levels)


def _check(
  model: SemanticIDModel, params: dict, trie: Trie, config: SearchConfig, key: jax.Array | None
) -> None:
  check_fit(model, params, trie)
  config.check_levels(trie.num_levels)
  repeats.check_settings(model.config, config)
  if config.certify and key is not None:
    raise ValueError(
      "a random draw is no list of the best, so search.certify has nothing to say of it; leave the "
      "key out, or set search.certify to False"
    )


def _unless_of_another_trie(
  params: dict, trie: Trie, x: jax.Array, otherwise: float = -jnp.inf
) -> jax.Array:
  fit = are_for(params, trie)  # if that is not known yet, nothing can be raised
  return x if is_known(fit) else jnp.where(fit, x, otherwise)
