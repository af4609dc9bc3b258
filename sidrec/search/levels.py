"""The levels of a beam search: a token more for each beam, and the loops over levels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.trie import ROOT, Children, Trie
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.models.layers import KeyValues
from sidrec.models.repeats import Shares
from sidrec.search import repeats, sampling
from sidrec.search.beam_state import BeamState, keep, with_places
from sidrec.search.filters import BitFilter, RowFilter, any_allowed
from sidrec.search.listed import ListedNodes, allowed_children, listed_nodes
from sidrec.search.settings import SearchConfig


class Continuations(NamedTuple):
  """Each beam with each of its children."""

  children: Children
  logp_BxKxC: jax.Array  # float32, -inf where no child is
  caches: tuple[KeyValues, ...]


class Levels(NamedTuple):
  """What all levels of a search share."""

  model: SemanticIDModel
  params: dict
  trie: Trie
  encoded: EncoderOutput
  rows: RowFilter | BitFilter | None
  config: SearchConfig
  key: jax.Array | None
  again: Shares | None = None  # of the items of the histories, where they have shares of their own
  had: RowFilter | None = None  # these items: a level's softmax leaves out what leads to them alone
  listed: ListedNodes | None = None  # of `rows`, where these are a list
  listed_had: ListedNodes | None = None  # of `had`

  def with_listed_nodes(self) -> "Levels":
    """The same with the nodes above listed items, which all levels ask for."""
    stop, (rows, had) = self.last_level(), (self.rows, self.had)
    listed = listed_nodes(self.trie, rows, stop) if isinstance(rows, RowFilter) else None
    listed_had = None if had is None else listed_nodes(self.trie, had, stop)
    return self._replace(listed=listed, listed_had=listed_had)

  def descend(self, batch: int, length: int) -> BeamState:
    """The beams behind the last of these levels that branches."""
    state = self.extend(self.start(batch), 0, self.trie.fan_outs[0])
    stop = min(self.last_level(), length)
    state = state._replace(caches=with_places(state.caches, stop))
    for levels in similar_levels(self.trie.fan_outs, stop):
      state = self._run(state, levels)
    return state

  def _run(self, state: BeamState, levels: range) -> BeamState:
    """Some levels in a loop, which ends early where no beam branches any more."""
    fan_out = max(self.trie.fan_outs[level] for level in levels)
    may_end = self.model.config.constrained_softmax  # then an only child is certain

    def goes_on(state: BeamState) -> jax.Array:
      more = state.level < levels.stop
      return more & self._branches(state) if may_end else more

    def extend(state: BeamState) -> BeamState:
      # A level that is known needs fewer gathers.
      level = levels[0] if len(levels) == 1 else state.level
      return self.extend(state, level, fan_out)

    return jax.lax.while_loop(goes_on, extend, state)

  def extend(self, state: BeamState, level: jax.Array | int, fan_out: int) -> BeamState:
    """One token more for the best beams; `level` is static or traced."""
    return self.best(state, level, self.continuations(state, level, fan_out))

  def best(self, state: BeamState, level: jax.Array | int, more: Continuations) -> BeamState:
    """The best of these continuations that filters leave, as beams."""
    children, logp_BxKxC, caches = more
    if self.rows is not None:
      allowed_BxKxC = self._allowed(state.node_BxK, children, level)
      logp_BxKxC = jnp.where(allowed_BxKxC, logp_BxKxC, -jnp.inf)
    score_BxKxC = state.score_BxK[..., None] + logp_BxKxC
    value_BxKxC, noisy_BxKxC = score_BxKxC, None
    if self.key is not None and state.noisy_BxK is not None:
      level_key = jax.random.fold_in(self.key, level)
      value_BxKxC = noisy_BxKxC = sampling.perturb(level_key, score_BxKxC, state.noisy_BxK)
    prefix_BxKxC = self._prefixes(state.prefix_BxK, children.node, level)
    missed_B = state.missed_B
    if missed_B is None:
      value_BxX, best_BxX = self._choose(value_BxKxC, state.prefix_BxK, level)
    else:
      value_BxX, best_BxX, next_B = sampling.best_and_next(value_BxKxC, self.config.beams)
      missed_B = jnp.maximum(missed_B, next_B)
    token_BxKxC = children.token
    new = BeamState(
      *(state.level, children.node, score_BxKxC, token_BxKxC, caches, prefix_BxKxC, noisy_BxKxC),
      missed_B=missed_B,
    )
    return keep(new, jnp.isfinite(value_BxX), best_BxX, self.config.beams)

  def continuations(self, state: BeamState, level: jax.Array | int, fan_out: int) -> Continuations:
    """All continuations of the beams, before any filter."""
    children = trie_lib.children(self.trie, state.node_BxK, fan_out, level)
    if self.listed_had is not None:
      new_BxKxC = allowed_children(self.trie, self.listed_had, state.node_BxK, children, level)
      children = children._replace(real=children.real & new_BxKxC)
    logp_BxKxC, caches = call(
      self.model,
      self.params,
      "step",
      self.encoded,
      state.caches,
      state.token_BxK,
      level,
      children,
      self.config.temperature,
    )
    return Continuations(children, self._weighted(logp_BxKxC, level), caches)

  def _allowed(self, node_BxK: jax.Array, children: Children, level: jax.Array | int) -> jax.Array:
    """Which children lead to an item that the request may get: bool [B, K, C]."""
    if self.listed is not None:
      return allowed_children(self.trie, self.listed, node_BxK, children, level)
    assert self.rows is not None
    return any_allowed(self.trie, children.node, self.rows)

  def start(self, batch: int) -> BeamState:
    """The root alone."""
    root_Bx1 = jnp.full((batch, 1), ROOT, jnp.int32)
    score_Bx1 = noisy_Bx1 = jnp.zeros((batch, 1))
    if self.again is not None:
      score_Bx1 = noisy_Bx1 = self.again.new_B[:, None]
      if self.key is not None:  # it competes with the items of the history
        noisy_Bx1 = repeats.perturb_new(self.key, score_Bx1)
    return BeamState(
      level=jnp.int32(0),
      node_BxK=root_Bx1,
      score_BxK=score_Bx1,
      token_BxK=jnp.zeros((batch, 1), jnp.int32),
      caches=call(self.model, self.params, "empty_caches", batch, 1),
      prefix_BxK=root_Bx1 if self.config.most_per_prefix else None,
      noisy_BxK=None if self.key is None else noisy_Bx1,
      missed_B=jnp.full(batch, -jnp.inf) if self.config.certify else None,
    )

  def last_level(self) -> int:
    """The first level behind which no beam has a choice, or the number of levels."""
    if self.model.config.constrained_softmax:
      return self.trie.branching_levels
    return self.trie.num_levels

  def _branches(self, state: BeamState) -> jax.Array:
    """Whether any beam has more than one item below it."""
    first_BxK, stop_BxK = trie_lib.rows_below(self.trie, state.node_BxK)
    return (jnp.isfinite(state.score_BxK) & (stop_BxK - first_BxK > 1)).any()

  def _weighted(self, logp_BxKxC: jax.Array, level: jax.Array | int) -> jax.Array:
    if not self.config.level_weights:
      return logp_BxKxC
    weight = jnp.asarray(self.config.level_weights, jnp.float32)[level]
    return jnp.where(jnp.isfinite(logp_BxKxC), weight * logp_BxKxC, -jnp.inf)

  def _prefixes(
    self, prefix_BxK: jax.Array | None, node_BxKxC: jax.Array, level: jax.Array | int
  ) -> jax.Array | None:
    """The node that stands for the first `prefix_levels` tokens of each continuation."""
    if prefix_BxK is None:
      return None
    return jnp.where(level >= self.config.prefix_levels, prefix_BxK[..., None], node_BxKxC)

  def _choose(
    self, value_BxKxC: jax.Array, prefix_BxK: jax.Array | None, level: jax.Array | int
  ) -> tuple[jax.Array, jax.Array]:
    """The continuations that become beams: their values, and where they stand in [K · C]."""
    beams, most = self.config.beams, self.config.most_per_prefix

    def best() -> tuple[jax.Array, jax.Array]:
      return sampling.best(value_BxKxC, beams)

    def best_per_prefix() -> tuple[jax.Array, jax.Array]:
      assert prefix_BxK is not None
      return sampling.best_per_group(value_BxKxC, prefix_BxK, most, beams)

    if prefix_BxK is None or (isinstance(level, int) and level < self.config.prefix_levels):
      return best()
    return jax.lax.cond(level >= self.config.prefix_levels, best_per_prefix, best)


def similar_levels(fan_outs: Sequence[int], stop: int) -> list[range]:
  """The levels from 1 to `stop` in runs that one loop takes, padded to the largest fan-out.

  A level joins the run before it if its fan-out is at least half of the run's largest. Padding all
  levels to one fan-out took 27% more time on IDs as of MovieLens-1M (fan-outs 25, 2), 97% on IDs
  as of Beauty (63, 4, 2) and 63% on 100,000 random ones of 4 x 256 (222, 9, 3), 2 CPU cores.
  """
  runs: list[range] = []
  for level in range(1, stop):
    if runs:
      largest = max(fan_outs[before] for before in runs[-1])
      if largest / 2 <= fan_outs[level] <= 2 * largest:
        runs[-1] = range(runs[-1].start, level + 1)
        continue
    runs.append(range(level, level + 1))
  return runs


def call(model: SemanticIDModel, params: dict, method: str, *args: Any) -> Any:
  """A method of the model with these parameters."""
  return model.apply({"params": params}, *args, method=method)
