"""The library's front door: histories in, items out, in one pure compiled function.

Letters: B requests, S history length, K results, M listed items of a request.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.base import SemanticIDModel
from sidrec.search import beam
from sidrec.search.beam import PLAIN, SearchOptions
from sidrec.search.results import Recommendations

BEAMS = 50  # prefixes kept at each level, unless told
CPU_AT_ONCE = 16  # a CPU is fastest while what it computes on stays in its caches


class Filters(NamedTuple):
  """What each request may get; `filters.padded_lists` makes such arrays of lists.

  int32 item rows in any order, filled up with NO_ITEM (-1). None is no such list.
  """

  forbidden_BxM: jax.Array | None = None  # never returned: seen, out of stock
  allowed_BxM: jax.Array | None = None  # the only items returned: a shop, a category, new ones


NO_FILTERS = Filters()
_STATIC = ("model", "k", "beams", "item_weight", "options", "at_once")


@functools.partial(jax.jit, static_argnames=_STATIC)
def recommend(
  params: dict,
  trie: Trie,
  history_BxS: jax.Array,
  k: int,
  filters: Filters = NO_FILTERS,
  *,
  model: SemanticIDModel,
  beams: int | None = None,
  item_weight: float = 0.0,
  options: SearchOptions = PLAIN,
  key: jax.Array | None = None,
  at_once: int | None = None,
) -> Recommendations:
  """The K best items for each history.

  Compiled once for each shape; another trie, other parameters or other lists of the same shapes
  use what was compiled. Under a mesh, requests may be spread over its devices. What is given may be
  used again: no result has the shape of an argument, so donating one would save nothing.

  Args:
    params: the recommender's parameters.
    trie: the catalogue; see `growth.with_room` for one whose shapes stay when items come and go.
    history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; S at most the model's
      history length. What does not fit is for the caller to cut off at the front.
    k: K, results per history; static.
    filters: what each request may get.
    model: the recommender; static.
    beams: prefixes kept at each level, at least K; None for the larger of K and 50. More find
      more of the true best K; 1 is the greedy search. Static.
    item_weight: of the item head's scores beside the search's; see `beam.search`. Static.
    options: temperature, weights of levels, results per prefix; static.
    key: for a random draw of items instead of the best; see `beam.search`.
    at_once: requests searched side by side, the others one lot after another within the same
      call; None for all, but 16 on a CPU. A random draw takes all of them. Static.

  Returns:
    (item_BxK int32 rows, -1 where there are fewer; score_BxK float32 log p(item | history), best
    first; valid_BxK bool).

  Raises:
    ValueError: for shapes or numbers that do not fit.
  """
  longest = model.config.input_length
  if history_BxS.ndim != 2 or not 1 <= history_BxS.shape[1] <= longest:
    raise ValueError(
      f"histories have shape {history_BxS.shape}; give [requests, 1 to {longest} items]"
    )
  beams = max(k, BEAMS) if beams is None else beams
  if not 1 <= k <= beams:
    raise ValueError(f"k is {k} and beams {beams}; give 1 ≤ k ≤ beams")
  if at_once is None:
    at_once = CPU_AT_ONCE if jax.default_backend() == "cpu" else len(history_BxS)
  if at_once < 1:
    raise ValueError(f"at_once is {at_once}; give at least 1")

  def search(history_BxS: jax.Array, filters: Filters) -> Recommendations:
    found = beam.search(
      model,
      params,
      trie,
      history_BxS,
      beams,
      filters.forbidden_BxM,
      item_weight,
      allowed_BxM=filters.allowed_BxM,
      options=options,
      key=key,
    )
    return jax.tree.map(lambda x_BxK: x_BxK[:, :k], found)

  if key is not None or len(history_BxS) <= at_once:
    return search(history_BxS, filters)
  return _in_lots(search, history_BxS, filters, at_once)


def _in_lots(
  search: Callable[[jax.Array, Filters], Recommendations],
  history_BxS: jax.Array,
  filters: Filters,
  at_once: int,
) -> Recommendations:
  """Searches for so many requests at a time; the last lot is filled up with empty ones.

  Every n-th request is of one lot: where requests are spread over devices, each device has its
  share of every lot, and nothing moves between them.
  """
  count = len(history_BxS)
  lots = -(-count // at_once)
  size = -(-count // lots)

  def split(x_BxM: jax.Array) -> jax.Array:
    full = jnp.pad(x_BxM, ((0, lots * size - count), (0, 0)), constant_values=NO_ITEM)
    return jnp.moveaxis(full.reshape(size, lots, -1), 1, 0)

  def join(x_lots: jax.Array) -> jax.Array:
    return jnp.moveaxis(x_lots, 0, 1).reshape(lots * size, -1)[:count]

  requests = jax.tree.map(split, (history_BxS, filters))
  return jax.tree.map(join, jax.lax.map(lambda lot: search(*lot), requests))
