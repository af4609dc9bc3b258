"""Exact trie-constrained beam search, K best items for each history.

Letters: B batch, K beams, F fan-out, L levels, M listed items per request.

Beams stay [B, K, …]; the history is encoded once and shared by its beams.
Level 0 is peeled, because only one beam is alive; the levels behind it run with
static shapes, those of equal fan-out under one `lax.while_loop`. A level of a fan-out of
its own runs alone, with caches of as many places as it needs. Where all that is left
of the IDs is tails without branching, the search ends: the only child has
probability 1. So does a search of few beams that have all come to a node of one item.
A beam carries its trie node, so that only real items can come
out and a finished beam's node names its item. There is no
end token and no length penalty: scores are log p(item | history).

Forbidden items are excluded exactly, and so is all that an allow-list leaves out: see `filters.py`.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.trie import ROOT, Trie
from sidrec.models.base import SemanticIDModel
from sidrec.models.layers import KeyValues
from sidrec.search import sampling
from sidrec.search.filters import any_allowed, make_filter
from sidrec.search.results import Recommendations


@dataclasses.dataclass(frozen=True)
class SearchOptions:
  """What else a search may do; hashable, so static under jit."""

  temperature: float = 1.0  # that logits are divided by; scores are log p at that temperature
  level_weights: tuple[float, ...] | None = None  # [L], of each level's log p in scores
  most_per_prefix: int = (
    0  # results that share their first `prefix_levels` tokens; 0 for any number
  )
  prefix_levels: int = 1

  def check(self, num_levels: int) -> None:
    """Raises ValueError for what makes no sense."""
    if not self.temperature > 0:
      raise ValueError(f"temperature is {self.temperature}; give a number above 0")
    if self.level_weights is not None and len(self.level_weights) != num_levels:
      raise ValueError(f"give {num_levels} level_weights, one per level, not {self.level_weights}")
    if self.most_per_prefix < 0 or not 1 <= self.prefix_levels <= num_levels:
      raise ValueError(
        f"most_per_prefix {self.most_per_prefix} of prefix_levels {self.prefix_levels} makes no "
        f"sense; give at least 0, and 1 to {num_levels}"
      )


PLAIN = SearchOptions()
# Of more beams, over all histories, some branch nearly always: asking is not worth it.
FEW_BEAMS = 64


class BeamState(NamedTuple):
  """Holds K prefixes per history."""

  level: jax.Array  # int32 scalar, tokens chosen so far
  node_BxK: jax.Array  # int32, the prefix's trie node
  score_BxK: jax.Array  # float32, log p(prefix | history); -inf for no prefix
  token_BxK: jax.Array  # int32, its last token
  caches: tuple[KeyValues, ...]  # self-attention, [B, K, H, P, I] per layer, P ≤ L levels
  prefix_BxK: jax.Array | None  # int32, node of the first tokens, where their number is limited
  noisy_BxK: jax.Array | None  # float32, perturbed score, where beams are drawn


class Run(NamedTuple):
  """Levels of one shape, one after another; static."""

  levels: range
  fan_out: int
  limited: bool  # whether beams of one prefix compete for places


def search(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  history_BxS: jax.Array,
  beams: int,
  forbidden_BxM: jax.Array | None = None,
  item_weight: float = 0.0,
  *,
  allowed_BxM: jax.Array | None = None,
  options: SearchOptions = PLAIN,
  key: jax.Array | None = None,
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
    allowed_BxM: likewise, the only item rows to return; None for all.
    options: static.
    key: to draw K items without replacement instead, each level by the probabilities of the
      continuations that filters leave; results come in the order of the draw. None for the best.

  Returns:
    Recommendations with K results per history.

  Raises:
    ValueError: for options that make no sense.
  """
  options.check(trie.num_levels)

  def call(method: str, *args: Any) -> Any:
    return model.apply({"params": params}, *args, method=method)

  encoded = call("encode", history_BxS, trie.codes_NxL, beams)
  rows = make_filter(trie, forbidden_BxM, allowed_BxM)

  def grow(state: BeamState, level: int | jax.Array, run: Run) -> BeamState:
    children = trie_lib.children(trie, state.node_BxK, run.fan_out, level)
    token, child, _ = children
    logp_BxKxF, caches = call(
      "step", encoded, state.caches, state.token_BxK, level, children, options.temperature
    )
    if options.level_weights is not None:
      weight = jnp.asarray(options.level_weights, jnp.float32)[level]
      logp_BxKxF = jnp.where(jnp.isfinite(logp_BxKxF), weight * logp_BxKxF, -jnp.inf)
    if rows is not None:
      logp_BxKxF = jnp.where(any_allowed(trie, child, rows), logp_BxKxF, -jnp.inf)
    score_BxKxF = state.score_BxK[..., None] + logp_BxKxF
    value_BxKxF, noisy_BxKxF = score_BxKxF, None
    if key is not None and state.noisy_BxK is not None:
      level_key = jax.random.fold_in(key, level)
      value_BxKxF = noisy_BxKxF = sampling.perturb(level_key, score_BxKxF, state.noisy_BxK)
    prefix_BxKxF = None if state.prefix_BxK is None else child
    if run.limited and state.prefix_BxK is not None:
      prefix_BxKxF = jnp.broadcast_to(state.prefix_BxK[..., None], child.shape)
      value_BxJ, best_BxJ = sampling.best_per_group(
        value_BxKxF, state.prefix_BxK, options.most_per_prefix, beams
      )
    else:
      value_BxJ, best_BxJ = sampling.best(value_BxKxF, beams)
    new = BeamState(state.level, child, score_BxKxF, token, caches, prefix_BxKxF, noisy_BxKxF)
    return _keep(new, jnp.isfinite(value_BxJ), best_BxJ, beams)

  batch = history_BxS.shape[0]
  root_Bx1 = jnp.full((batch, 1), ROOT, jnp.int32)
  state = BeamState(
    level=jnp.int32(0),
    node_BxK=root_Bx1,
    score_BxK=jnp.zeros((batch, 1)),
    token_BxK=jnp.zeros((batch, 1), jnp.int32),
    caches=call("empty_caches", batch, 1),
    prefix_BxK=root_Bx1 if options.most_per_prefix else None,
    noisy_BxK=None if key is None else jnp.zeros((batch, 1)),
  )
  state = grow(state, 0, Run(range(1), trie.fan_outs[0], False))
  constrained = model.config.constrained_softmax
  few = constrained and batch * beams <= FEW_BEAMS
  node_BxK, score_BxK = _descend(trie, grow, state, _runs(trie, options, constrained), few)
  valid_BxK = jnp.isfinite(score_BxK)
  row_BxK, _ = trie_lib.rows_below(trie, node_BxK)
  item_BxK = trie.item_N[jnp.where(valid_BxK, row_BxK, 0)]
  if item_weight:
    score_BxK = score_BxK + item_weight * call("item_scores", encoded, item_BxK)
    score_BxK, order_BxK = jax.lax.top_k(score_BxK, beams)
    item_BxK, valid_BxK = (jnp.take_along_axis(x, order_BxK, axis=1) for x in (item_BxK, valid_BxK))
  return Recommendations(jnp.where(valid_BxK, item_BxK, -1), score_BxK, valid_BxK)


def _descend(
  trie: Trie,
  grow: Callable[[BeamState, int | jax.Array, Run], BeamState],
  state: BeamState,
  runs: list[Run],
  few: bool,
) -> tuple[jax.Array, jax.Array]:
  """Nodes and scores of the beams after all runs; few beams may be at their ends before."""
  end = lambda state: (state.node_BxK, state.score_BxK)
  if not runs:
    return end(state)
  run, *others = runs

  def go_on(state: BeamState) -> tuple[jax.Array, jax.Array]:
    if len(run.levels) == 1:  # a level that is known needs fewer gathers and no room for others
      state = grow(state, run.levels[0], run)
    else:
      state = jax.lax.while_loop(
        lambda s: (s.level < run.levels.stop) & (_branching(trie, s) if few else True),
        lambda s: grow(s, s.level, run),
        state._replace(caches=_with_places(state.caches, run.levels.stop)),
      )
    return _descend(trie, grow, state, others, few)

  if not few:
    return go_on(state)
  return jax.lax.cond(_branching(trie, state), go_on, end, state)


def _with_places(caches: tuple[KeyValues, ...], places: int) -> tuple[KeyValues, ...]:
  """The caches with room for so many levels."""

  def widen(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0),) * 3 + ((0, places - x.shape[3]), (0, 0)))

  return jax.tree.map(widen, caches)


def _branching(trie: Trie, state: BeamState) -> jax.Array:
  """Whether any beam has more than one item below it."""
  first_BxK, stop_BxK = trie_lib.rows_below(trie, state.node_BxK)
  return (jnp.isfinite(state.score_BxK) & (stop_BxK - first_BxK > 1)).any()


def _runs(trie: Trie, options: SearchOptions, constrained: bool) -> list[Run]:
  """Levels behind the first one, those of one shape together."""
  last = trie.num_levels
  # An only child is certain, if probabilities are over children alone.
  while constrained and last > 1 and trie.fan_outs[last - 1] == 1:
    last -= 1
  limited = lambda level: bool(options.most_per_prefix) and level >= options.prefix_levels
  shape_of = lambda level: (trie.fan_outs[level], limited(level))
  groups = itertools.groupby(range(1, last), key=shape_of)
  runs = [(shape, list(levels)) for shape, levels in groups]
  return [Run(range(levels[0], levels[-1] + 1), *shape) for shape, levels in runs]


def _keep(state: BeamState, alive_BxJ: jax.Array, best_BxJ: jax.Array, beams: int) -> BeamState:
  """Makes beams of the chosen continuations; missing ones become dead beams.

  Takes a state of all continuations, [B, K, F], but for the caches, which are the parents'.
  """
  dead = ((0, 0), (0, beams - best_BxJ.shape[1]))
  fan_out = state.node_BxK.shape[2]

  def pick(x_BxKxF, fill):
    x_BxJ = jnp.take_along_axis(
      x_BxKxF.reshape(len(x_BxKxF), -1), best_BxJ, axis=1, mode="promise_in_bounds"
    )
    return jnp.pad(jnp.where(alive_BxJ, x_BxJ, fill), dead, constant_values=fill)

  parent_BxK = jnp.pad(best_BxJ // fan_out, dead)
  return BeamState(
    level=jnp.int32(state.level + 1),
    node_BxK=pick(state.node_BxK, ROOT),  # must not point below the leaves
    score_BxK=pick(state.score_BxK, -jnp.inf),
    token_BxK=pick(state.token_BxK, 0),
    caches=jax.tree.map(
      lambda x: jnp.take_along_axis(
        x, parent_BxK[:, :, None, None, None], axis=1, mode="promise_in_bounds"
      ),
      state.caches,
    ),
    prefix_BxK=None if state.prefix_BxK is None else pick(state.prefix_BxK, ROOT),
    noisy_BxK=None if state.noisy_BxK is None else pick(state.noisy_BxK, -jnp.inf),
  )
