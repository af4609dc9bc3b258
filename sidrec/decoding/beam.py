"""Exact trie-constrained beam search, K best items for each history.

Letters: B batch, K beams, F fan-out, L levels, M forbidden items per request.

Beams stay [B, K, …]; the history is encoded once and shared by its beams.
Level 0 is peeled, because only one beam is alive; levels 1 … L-1 run under
`lax.while_loop` with static shapes. A beam carries its trie node, so that only
real items can come out and a finished beam's node names its item. There is no
end token and no length penalty: scores are log p(item | history).

Forbidden items are excluded exactly: a node covers a range of catalogue rows,
and two binary searches in a request's sorted forbidden rows count how many of
them it covers. A node whose rows are all forbidden never takes a beam.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sidrec.decoding import trie as trie_lib
from sidrec.decoding.trie import ROOT, Trie
from sidrec.models.layers import KeyValues
from sidrec.models.seq2seq import Seq2Seq


class Recommendations(NamedTuple):
  """The K best items of each history, best first."""

  item_BxK: jax.Array  # int32 item rows; -1 where fewer than K items are allowed
  score_BxK: jax.Array  # float32 log p(item | history); -inf where not valid
  valid_BxK: jax.Array  # bool


class BeamState(NamedTuple):
  """Holds K prefixes per history."""

  level: jax.Array  # int32 scalar, tokens chosen so far
  node_BxK: jax.Array  # int32, the prefix's trie node
  score_BxK: jax.Array  # float32, log p(prefix | history); -inf for no prefix
  token_BxK: jax.Array  # int32, its last token
  caches: tuple[KeyValues, ...]  # self-attention, [B, K, L, H, I] per layer


def search(
  model: Seq2Seq,
  params: dict,
  trie: Trie,
  history_BxS: jax.Array,
  beams: int,
  forbidden_BxM: jax.Array | None = None,
  item_weight: float = 0.0,
) -> Recommendations:
  """The `beams` best items for each history.

  Args:
    model: the recommender; its config is static under jit.
    params: its parameters.
    trie: the catalogue.
    history_BxS: int32 item rows, oldest first, NO_ITEM after the newest.
    beams: K, prefixes kept at each level and items returned.
    forbidden_BxM: int32 item rows never to return, in any order, repeats
      allowed, filled up with NO_ITEM; None to allow everything.
    item_weight: static; what the item head's scores of the items found count beside
      log p(item | history). Above 0 it re-orders the results, and scores are sums.

  Returns:
    Recommendations with K results per history.
  """

  def call(method: str, *args: Any) -> Any:
    return model.apply({"params": params}, *args, method=method)

  memory = call("remember", history_BxS, trie.codes_NxL)
  banned_BxM = None if forbidden_BxM is None else _sorted_rows(trie, forbidden_BxM)

  def grow(state: BeamState, fan_out: int) -> BeamState:
    token, child, real = trie_lib.children(trie, state.node_BxK, fan_out)
    logp_BxKxF, caches = call(
      "step", memory, state.caches, state.token_BxK, state.level, token, child, real
    )
    if banned_BxM is not None:
      logp_BxKxF = jnp.where(_any_allowed(trie, child, banned_BxM), logp_BxKxF, -jnp.inf)
    return _select(state, logp_BxKxF, token, child, caches, beams)

  batch = history_BxS.shape[0]
  state = BeamState(
    level=jnp.int32(0),
    node_BxK=jnp.full((batch, 1), ROOT, jnp.int32),
    score_BxK=jnp.zeros((batch, 1)),
    token_BxK=jnp.zeros((batch, 1), jnp.int32),
    caches=call("empty_caches", batch, 1),
  )
  state = grow(state, trie.fan_outs[0])
  if trie.num_levels > 1:
    fan_out = max(trie.fan_outs[1:])
    state = jax.lax.while_loop(
      lambda s: s.level < trie.num_levels, lambda s: grow(s, fan_out), state
    )
  valid_BxK = jnp.isfinite(state.score_BxK)
  row_BxK = jnp.where(valid_BxK, state.node_BxK - trie.depth_offsets[-1], 0)
  item_BxK, score_BxK = trie.item_N[row_BxK], state.score_BxK
  if item_weight:
    score_BxK = score_BxK + item_weight * call("item_scores", memory, item_BxK)
    score_BxK, order_BxK = jax.lax.top_k(score_BxK, beams)
    item_BxK, valid_BxK = (jnp.take_along_axis(x, order_BxK, axis=1) for x in (item_BxK, valid_BxK))
  return Recommendations(jnp.where(valid_BxK, item_BxK, -1), score_BxK, valid_BxK)


def _select(state, logp_BxKxF, token_BxKxF, child_BxKxF, caches, beams) -> BeamState:
  """Keeps the best `beams` of all continuations; missing ones become dead beams."""
  batch, alive, fan_out = logp_BxKxF.shape
  flat = lambda x: x.reshape(batch, alive * fan_out)
  total_BxC = flat(state.score_BxK[..., None] + logp_BxKxF)
  kept = min(beams, alive * fan_out)
  score_BxK, best_BxK = jax.lax.top_k(total_BxC, kept)
  pick = lambda x: jnp.take_along_axis(flat(x), best_BxK, axis=1)
  parent_BxK = best_BxK // fan_out
  dead = ((0, 0), (0, beams - kept))
  parent_BxK = jnp.pad(parent_BxK, dead)
  # A dead beam must not point below the leaves: leave it at the root.
  node_BxK = jnp.where(jnp.isfinite(score_BxK), pick(child_BxKxF), ROOT)
  return BeamState(
    level=jnp.int32(state.level + 1),
    node_BxK=jnp.pad(node_BxK, dead, constant_values=ROOT),
    score_BxK=jnp.pad(score_BxK, dead, constant_values=-jnp.inf),
    token_BxK=jnp.pad(pick(token_BxKxF), dead),
    caches=jax.tree.map(
      lambda x: jnp.take_along_axis(x, parent_BxK[:, :, None, None, None], axis=1), caches
    ),
  )


def _sorted_rows(trie: Trie, item_BxM: jax.Array) -> jax.Array:
  """Catalogue rows of forbidden items, sorted, each once; num_items fills up."""
  row_BxM = jnp.where(item_BxM >= 0, trie.row_of_N[jnp.maximum(item_BxM, 0)], trie.num_items)
  row_BxM = jnp.sort(row_BxM, axis=1)
  repeat_BxM = jnp.concatenate(
    [jnp.zeros_like(row_BxM[:, :1], bool), row_BxM[:, 1:] == row_BxM[:, :-1]], axis=1
  )
  return jnp.sort(jnp.where(repeat_BxM, trie.num_items, row_BxM), axis=1)


def _any_allowed(trie: Trie, child_BxKxF: jax.Array, banned_BxM: jax.Array) -> jax.Array:
  """Which nodes cover at least one row that is not banned: bool [B, K, F]."""
  first, stop = trie.row_E[child_BxKxF], trie.row_E[child_BxKxF + 1]
  count_below = jax.vmap(lambda banned_M, row: jnp.searchsorted(banned_M, row))
  banned = count_below(banned_BxM, stop) - count_below(banned_BxM, first)
  return banned < stop - first
