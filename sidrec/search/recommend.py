"""From histories to items, in one pure compiled function: what the library offers."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.base import SemanticIDModel
from sidrec.search import beam
from sidrec.search.filters import NO_FILTERS, Filters
from sidrec.search.results import Recommendations
from sidrec.search.settings import SearchConfig

CPU_AT_ONCE = 16  # a CPU is fastest while what it computes on stays in its caches


@functools.partial(jax.jit, static_argnames=("model", "k", "search", "at_once"))
def recommend(
  params: dict,
  trie: Trie,
  history_BxS: jax.Array,
  k: int,
  filters: Filters = NO_FILTERS,
  *,
  model: SemanticIDModel,
  search: SearchConfig | None = None,
  key: jax.Array | None = None,
  at_once: int | None = None,
) -> Recommendations:
  """The K best items for each history.

  Compiled once for each shape; another trie, other parameters or other lists of the same shapes
  use what was compiled. Under a mesh, requests may be spread over its devices. Nothing is donated:
  no result has the shape of an argument.

  Args:
    params: the recommender's parameters.
    trie: the catalogue; see `resize.with_room` for one whose shapes stay when items come and go.
    history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; S at most the model's
      history length. Of longer histories, give the latest items.
    k: K, results per history; static.
    filters: what each request may get.
    model: the recommender; static.
    search: how to search; give a run's own settings to get the ranking that was evaluated. None
      for the defaults, which are those of the configs, with at least K beams. Static.
    key: for a random draw of items instead of the best; see `beam.search`.
    at_once: requests searched side by side, the others one lot after another within the same
      call; None for all, but 16 on a CPU. A random draw takes all of them. Static.

  Returns:
    (item_BxK int32 rows, -1 where there are fewer; score_BxK float32 log p(item | history), with
    the item head's score added where the model has one, best first; valid_BxK bool).

  Raises:
    ValueError: for shapes or numbers that do not fit.
  """
  longest = model.config.input_length
  if history_BxS.ndim != 2 or not 1 <= history_BxS.shape[1] <= longest:
    raise ValueError(
      f"histories have shape {history_BxS.shape}; give [requests, 1 to {longest} items]"
    )
  config = search or SearchConfig(beams=max(k, SearchConfig.beams))
  if not 1 <= k <= config.beams:
    raise ValueError(f"k is {k} and beams {config.beams}; give 1 ≤ k ≤ beams")
  if at_once is None:
    at_once = CPU_AT_ONCE if jax.default_backend() == "cpu" else history_BxS.shape[0]
  if at_once < 1:
    raise ValueError(f"at_once is {at_once}; give at least 1")

  def find(history_BxS: jax.Array, filters: Filters) -> Recommendations:
    found = beam.search(model, params, trie, history_BxS, config, filters, key)
    return jax.tree.map(lambda x_BxK: x_BxK[:, :k], found)

  if key is not None or history_BxS.shape[0] <= at_once:
    return find(history_BxS, filters)
  return _in_lots(find, history_BxS, filters, at_once)


def _in_lots(
  find: Callable[[jax.Array, Filters], Recommendations],
  history_BxS: jax.Array,
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
    return jnp.moveaxis(x_lots, 0, 1).reshape(lots * size, -1)[:count]

  requests = jax.tree.map(split, (history_BxS, filters))
  return jax.tree.map(join, jax.lax.map(lambda lot: find(*lot), requests))
