"""From histories to items, in one pure compiled function: what the library offers."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.base import SemanticIDModel
from sidrec.search import beam, new_items
from sidrec.search.checks import check_fit, checked_histories
from sidrec.search.filters import NO_FILTERS, Filters, checked
from sidrec.search.new_items import NewItems
from sidrec.search.results import Recommendations, first
from sidrec.search.settings import SearchConfig

CPU_AT_ONCE = 16  # a CPU is fastest while what it computes on stays in its caches


def recommend(
  params: dict,
  trie: Trie,
  history_BxS: Any,
  k: int,
  filters: Filters = NO_FILTERS,
  *,
  model: SemanticIDModel,
  search: SearchConfig | None = None,
  key: jax.Array | None = None,
  at_once: int | None = None,
  new: NewItems | None = None,
) -> Recommendations:
  """The K best items for each history.

  Compiled once for each shape; another trie, other parameters or other lists of the same shapes
  use what was compiled. Under a mesh, requests may be spread over its devices. Nothing is donated:
  no result has the shape of an argument.

  Args:
    params: the recommender's parameters.
    trie: the catalogue; see `resize.with_room` for one whose shapes stay when items come and go.
    history_BxS: int32 item rows, oldest first, NO_ITEM (-1) after the newest; S at most the
      model's history length. Of longer histories, give the latest items. A list of item rows for
      each request will do, too. For a model that reads times or ratings: `Events.of(…)`.
    k: K, results per history; static.
    filters: what each request may get. Rows outside the catalogue match nothing.
    model: the recommender; static.
    search: how to search; give a run's own settings to get the ranking that was evaluated. None
      for the defaults, which are those of the configs, with at least K beams. Static.
    key: for a random draw of items instead of the best; see `beam.search`.
    at_once: requests searched side by side, the others one lot after another within the same
      call; None for all, but 16 on a CPU. A random draw takes all of them. Static.
    new: items that the model was not trained on, to be ranked by similarity; `params` and `trie`
      are then those of the items that it was trained on.

  Returns:
    (item_BxK int32 rows, -1 where there are fewer; score_BxK float32 log p(item | history), best
    first, with an item head as in `joint.pooled`; valid_BxK bool).

  Raises:
    TypeError: for histories or filters that are no signed integers, such as masks, and for times
      and ratings of other types than `Events.of` makes.
    ValueError: for shapes or numbers that do not fit, for a history with NO_ITEM before an item or
      a row outside the catalogue, for times or ratings that the model reads and the histories lack,
      for parameters of another catalogue, or for a random draw with `new`. Under a jit of the
      caller's, where no values are known, a history ends before the first entry that is no item
      row, and parameters of another trie of the same sizes find nothing.
  """
  history_BxS = checked_histories(model, trie, history_BxS)
  k = operator.index(k)
  batch, config = history_BxS.shape[0], search or SearchConfig(beams=max(k, SearchConfig.beams))
  if not 1 <= k <= config.beams:
    raise ValueError(f"k is {k} and beams {config.beams}; give 1 ≤ k ≤ beams")
  if at_once is None:
    at_once = CPU_AT_ONCE if jax.default_backend() == "cpu" else max(batch, 1)
  if at_once < 1:
    raise ValueError(f"at_once is {at_once}; give at least 1")
  check_fit(model, params, trie)
  if new is not None and key is not None:
    raise ValueError(
      "new items that are ranked by similarity are not drawn at random; leave the key out"
    )
  filters = checked(filters, batch)
  return _recommend(
    params, trie, history_BxS, filters, key, new, k=k, model=model, config=config, at_once=at_once
  )


@functools.partial(jax.jit, static_argnames=("k", "model", "config", "at_once"))
def _recommend(params, trie, history_BxS, filters, key, new, *, k, model, config, at_once):
  """`recommend`, of arguments that were checked."""

  def find(history_BxS: Events, filters: Filters) -> Recommendations:
    if new is None:
      found = beam.search(model, params, trie, history_BxS, config, filters, key)
    else:
      found = new_items.search(model, params, trie, history_BxS, config, new, filters)
    return first(found, k)

  if key is not None or history_BxS.shape[0] <= at_once:
    return find(history_BxS, filters)
  return _in_lots(find, history_BxS, filters, at_once)


def _in_lots(
  find: Callable[[Events, Filters], Recommendations],
  history_BxS: Events,
  filters: Filters,
  at_once: int,
) -> Recommendations:
  """Searches for so many requests at a time; the last lot is filled up with empty ones.

  Every n-th request is of one lot: where requests are spread over devices, each device has its
  share of every lot, and nothing moves between them.
  """
  count = history_BxS.shape[0]
  lots = -(-count // at_once)
  size = -(-count // lots)

  def split(x_BxJ: jax.Array) -> jax.Array:
    full = jnp.pad(x_BxJ, ((0, lots * size - count), (0, 0)), constant_values=NO_ITEM)
    return jnp.moveaxis(full.reshape(size, lots, -1), 1, 0)

  def join(x_lots: jax.Array) -> jax.Array:
    return jnp.moveaxis(x_lots, 0, 1).reshape(lots * size, *x_lots.shape[2:])[:count]

  requests = jax.tree.map(split, (history_BxS, filters))
  return jax.tree.map(join, jax.lax.map(lambda lot: find(*lot), requests))
