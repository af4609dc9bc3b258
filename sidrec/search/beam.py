"""Exact trie-constrained beam search, K best items for each history.

Letters: B batch, K beams, C children of a node (padded), L levels.

Beams stay [B, K, …]; the history is encoded once and shared by its beams. Level 0 is peeled,
because only one beam is alive. The levels behind it run under `lax.while_loop`, with static shapes;
levels of similar fan-outs share one loop, padded to the largest. A loop ends early where no beam
branches any more, because an only child has probability 1. A beam carries its trie node, so that
only real items can come out and a finished beam's node names its item. There is no end token and
no length penalty: scores are log p(item | history), plus the item head's scores where the model
has one.

Forbidden items are excluded exactly, and so is all that an allow-list leaves out: see `filters.py`.

Where the model has repeats, beams lead to items that the history does not hold, and the items of
the history compete with what the beams found: see `repeats.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.trie import ROOT, Children, Trie
from sidrec.core.item_rows import from_lists, is_known
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.models.layers import KeyValues
from sidrec.models.repeats import Shares, shares
from sidrec.models.settings import RecommenderConfig
from sidrec.models.transfer import are_for
from sidrec.search import repeats, sampling
from sidrec.search.beam_state import BeamState, keep, with_places
from sidrec.search.checks import check_fit
from sidrec.search.filters import NO_FILTERS, Filters, RowFilter, any_allowed, checked, make_filter
from sidrec.search.results import Recommendations, nothing
from sidrec.search.settings import SearchConfig


def search(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  history_BxS: Any,
  config: SearchConfig,
  filters: Filters = NO_FILTERS,
  key: jax.Array | None = None,
) -> Recommendations:
  """The best items for each history, as many as there are beams.

  Args:
    model: the recommender; its config is static under jit.
    params: its parameters.
    trie: the catalogue.
    history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; or `Events`. Under jit a
      history ends before the first entry that is no item row; outside, such entries are refused.
    config: static. With an item head and a weight above 0, the item head's scores of the items
      found are added, which re-orders the results.
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
  check_fit(model, params, trie)
  if not history_BxS.shape[0]:
    return nothing(config.beams)
  encoded = _call(model, params, "encode", history_BxS, trie.codes_NxL, config.beams, trie.used)
  item_BxK, score_BxK = best_items(model, params, trie, encoded, config, filters, key)
  return ranked(model, params, encoded, config, item_BxK, score_BxK)


def ranked(
  model: SemanticIDModel,
  params: dict,
  encoded: EncoderOutput,
  config: SearchConfig,
  item_BxK: jax.Array,
  score_BxK: jax.Array,
) -> Recommendations:
  """The items found, in the order of their scores with the item head's, if the model has one."""
  valid_BxK = jnp.isfinite(score_BxK)
  if weight := item_weight(model.config, config):
    item_score_BxK = _call(model, params, "item_scores", encoded, item_BxK)
    score_BxK, order_BxK = jax.lax.top_k(score_BxK + weight * item_score_BxK, config.beams)
    item_BxK, valid_BxK = (jnp.take_along_axis(x, order_BxK, axis=1) for x in (item_BxK, valid_BxK))
  return Recommendations(jnp.where(valid_BxK, item_BxK, -1), score_BxK, valid_BxK)


def best_items(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  config: SearchConfig,
  filters: Filters = NO_FILTERS,
  key: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """The best items from the encoder's output, without the item head.

  Returns:
    Item rows [B, K], and float32 log probabilities [B, K], -inf where there are fewer.

  Raises:
    ValueError: as `search` does.
  """
  _check(model, params, trie, config)
  batch = jax.tree.leaves(encoded)[0].shape[0]
  filters = checked(filters, batch)
  if not batch:
    return nothing(config.beams)[:2]
  state, again = _descend(model, params, trie, encoded, config, filters, key, trie.num_levels)
  score_BxK = state.score_BxK
  item_BxK = items_below(trie, state.node_BxK, score_BxK)
  if again is not None:
    found = repeats.Candidates(item_BxK, score_BxK, state.noisy_BxK)
    rows = make_filter(trie, filters.forbidden_BxJ, filters.allowed_BxJ)
    old = repeats.of_history(trie, again, rows, key)
    item_BxK, score_BxK = repeats.merged(trie, found, old, config)
  return item_BxK, _unless_of_another_trie(params, trie, score_BxK)


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
  filters: Filters = NO_FILTERS,
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
  _check(model, params, trie, config)
  batch = jax.tree.leaves(encoded)[0].shape[0]
  filters, length = checked(filters, batch), length or trie.num_levels
  if not batch:
    return nothing(config.beams)[:2]
  state, _ = _descend(model, params, trie, encoded, config, filters, key, length)
  return state.node_BxK, _unless_of_another_trie(params, trie, state.score_BxK)


def _check(model: SemanticIDModel, params: dict, trie: Trie, config: SearchConfig) -> None:
  check_fit(model, params, trie)
  config.check_levels(trie.num_levels)
  repeats.check_settings(model.config, config)


def _descend(
  model, params, trie, encoded, config, filters, key, length
) -> tuple[BeamState, Shares | None]:
  """The beams behind so many levels, and what the items of each history have for themselves."""
  rows = make_filter(trie, filters.forbidden_BxJ, filters.allowed_BxJ)
  again = had = None
  if encoded.again is not None:
    again = shares(encoded.again, trie, config.temperature)
    had = make_filter(trie, again.item_BxS, None)
  levels = Levels(model, params, trie, encoded, rows, config, key, again, had)
  return levels.descend(jax.tree.leaves(encoded)[0].shape[0], length), again


def _unless_of_another_trie(params: dict, trie: Trie, score_BxK: jax.Array) -> jax.Array:
  fit = are_for(params, trie)  # if that is not known yet, nothing can be raised
  return score_BxK if is_known(fit) else jnp.where(fit, score_BxK, -jnp.inf)


def item_weight(model: RecommenderConfig, config: SearchConfig) -> float:
  """The weight of the item head's scores in a search; 0 where the model has no item head."""
  return config.item_weight if model.item_head else 0.0


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
  rows: RowFilter | None
  config: SearchConfig
  key: jax.Array | None
  again: Shares | None = None  # of the items of the histories, where they have shares of their own
  had: RowFilter | None = None  # these items: a level's softmax leaves out what leads to them alone

  def descend(self, batch: int, length: int) -> BeamState:
    """The beams behind the last of these levels that branches."""
    state = self.extend(self.start(batch), 0, self.trie.fan_outs[0])
    stop = min(self._last_level(), length)
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
      allowed_BxKxC = any_allowed(self.trie, children.node, self.rows)
      logp_BxKxC = jnp.where(allowed_BxKxC, logp_BxKxC, -jnp.inf)
    score_BxKxC = state.score_BxK[..., None] + logp_BxKxC
    value_BxKxC, noisy_BxKxC = score_BxKxC, None
    if self.key is not None and state.noisy_BxK is not None:
      level_key = jax.random.fold_in(self.key, level)
      value_BxKxC = noisy_BxKxC = sampling.perturb(level_key, score_BxKxC, state.noisy_BxK)
    prefix_BxKxC = self._prefixes(state.prefix_BxK, children.node, level)
    value_BxX, best_BxX = self._choose(value_BxKxC, state.prefix_BxK, level)
    new = BeamState(
      state.level, children.node, score_BxKxC, children.token, caches, prefix_BxKxC, noisy_BxKxC
    )
    return keep(new, jnp.isfinite(value_BxX), best_BxX, self.config.beams)

  def continuations(self, state: BeamState, level: jax.Array | int, fan_out: int) -> Continuations:
    """All continuations of the beams, before any filter."""
    children = trie_lib.children(self.trie, state.node_BxK, fan_out, level)
    if self.had is not None:
      new_BxKxC = any_allowed(self.trie, children.node, self.had)
      children = children._replace(real=children.real & new_BxKxC)
    logp_BxKxC, caches = _call(
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
      caches=_call(self.model, self.params, "empty_caches", batch, 1),
      prefix_BxK=root_Bx1 if self.config.most_per_prefix else None,
      noisy_BxK=None if self.key is None else noisy_Bx1,
    )

  def _last_level(self) -> int:
    """The first level of the tail on which no node has two children, or the number of levels."""
    last = self.trie.num_levels
    while self.model.config.constrained_softmax and last > 1 and self.trie.fan_outs[last - 1] == 1:
      last -= 1
    return last

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


def _call(model: SemanticIDModel, params: dict, method: str, *args: Any) -> Any:
  return model.apply({"params": params}, *args, method=method)
