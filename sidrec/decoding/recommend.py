"""The library's front door: histories in, items out, in one pure compiled function.

Letters: B requests, S history length, K results, M listed items of a request.
"""

import functools
from typing import NamedTuple

import jax

from sidrec.decoding import beam
from sidrec.decoding.beam import PLAIN, Recommendations, SearchOptions
from sidrec.decoding.trie import Trie
from sidrec.models.seq2seq import Seq2Seq

BEAMS = 50  # prefixes kept at each level, unless told


class Filters(NamedTuple):
  """What each request may get; `filters.padded_lists` makes such arrays of lists.

  int32 item rows in any order, filled up with NO_ITEM (-1). None is no such list.
  """

  forbidden_BxM: jax.Array | None = None  # never returned: seen, out of stock
  allowed_BxM: jax.Array | None = None  # the only items returned: a shop, a category, new ones


NO_FILTERS = Filters()


@functools.partial(jax.jit, static_argnames=("model", "k", "beams", "item_weight", "options"))
def recommend(
  model: Seq2Seq,
  params: dict,
  trie: Trie,
  history_BxS: jax.Array,
  k: int,
  filters: Filters = NO_FILTERS,
  *,
  beams: int | None = None,
  item_weight: float = 0.0,
  options: SearchOptions = PLAIN,
  key: jax.Array | None = None,
) -> Recommendations:
  """The K best items for each history.

  Compiled once for each shape; another trie, other parameters or other lists of the same shapes
  use what was compiled. Under a mesh, requests may be spread over its devices.

  Args:
    model: the recommender; static.
    params: its parameters.
    trie: the catalogue; see `growth.with_room` for one whose shapes stay when items come and go.
    history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; S at most the model's
      history length. What does not fit is for the caller to cut off at the front.
    k: K, results per history; static.
    filters: what each request may get.
    beams: prefixes kept at each level, at least K; None for the larger of K and 50. More find
      more of the true best K; 1 is the greedy search. Static.
    item_weight: of the item head's scores beside the search's; see `beam.search`. Static.
    options: temperature, weights of levels, results per prefix; static.
    key: for a random draw of items instead of the best; see `beam.search`.

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
