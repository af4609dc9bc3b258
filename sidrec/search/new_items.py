"""New items in a search: what the model was never trained on is ranked by similarity.

A model that never saw an item knows nothing of its trie nodes. In one trie with the known items,
new siblings would take their probability, and be as likely as an average sibling themselves. So
known and new items have a trie each. Known ones are searched for. All new ones are compared with
the history by their vectors, the most similar are scored (`similarity.py`), and the best of both
lists are the result (`merge.py`): among themselves, known items keep their order and their odds.

Where the catalogue has no new items, nothing is compared.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.packed_codes import AnyArray
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.models.histories import latest_items
from sidrec.models.settings import CatalogueSizes
from sidrec.search import beam, given, repeats, sampling
from sidrec.search.checks import check_fit
from sidrec.search.filters import NO_FILTERS, Filters, RowBits, checked
from sidrec.search.levels import Levels, call
from sidrec.search.merge import merge, normalised
from sidrec.search.near_head import HeadScores, Near, head_scores
from sidrec.search.results import Recommendations, nothing
from sidrec.search.settings import SearchConfig
from sidrec.search.similarity import UnitVectors, by_similarity, similarity_of

_BLOCK = 1 << 12  # rows of new items that are compared at once


class NewItems(NamedTuple):
  """What a search needs to know of new items; of one shape, however many there are."""

  trie: Trie  # leads to them alone; to any item where there are none
  tables: dict  # of the parameters, those with a row per node of this trie, and their mark
  vectors: UnitVectors  # of all items
  near: Near | None  # of the new items, for a model with an item head
  share: AnyArray  # float32 [], p that the next item is new, before anything is known of the user
  any_known: AnyArray  # bool [], whether the other trie leads to items of the catalogue
  any_new: AnyArray  # bool [], whether this one does

  def model_of(self, model: SemanticIDModel) -> SemanticIDModel:
    """The model for this trie."""
    return model.clone(sizes=CatalogueSizes.of(self.trie, model.sizes.codebook_size))

  def head_of(
    self, model: SemanticIDModel, params: dict, encoded: EncoderOutput, config: SearchConfig
  ) -> HeadScores | None:
    """`near_head.head_scores` for the model and the parameters of this trie."""
    num_known = len(self.vectors.known_NxF)
    return head_scores(model, params, self.trie, encoded, config, num_known, self.near)


def check_not_certified(config: SearchConfig) -> None:
  """Raises ValueError for a search that is to certify its lists."""
  if config.certify:
    raise ValueError(
      "new items are ranked by similarity, which search.certify has no bound for; set it to False"
    )


class BothBits(NamedTuple):
  """What each request may get, as bits of the rows of both tries."""

  known: RowBits
  new: RowBits


def search(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  history_BxS: jax.Array | Events,
  config: SearchConfig,
  new: NewItems,
  filters: Filters | BothBits = NO_FILTERS,
) -> Recommendations:
  """The best items of both tries for each history, as many as there are beams.

  Args:
    model: the recommender.
    params: its parameters, for the trie of known items.
    trie: leads to the known items.
    history_BxS: as in `beam.search`; new items may be in it.
    config: static. `most_per_prefix` holds for both kinds of items together.
    new: the new items.
    filters: what each request may get.

  Returns:
    Recommendations with K = `config.beams` results. Scores are log p(item), which sums to one over
    the known items and the new ones found; see `merge`. Where the search weighs levels, they are
    no log p, and new items have scores of the same zero point.

  Raises:
    ValueError: as `beam.search` does.
  """
  check_fit(model, params, trie)
  check_not_certified(config)
  if not history_BxS.shape[0]:
    return nothing(config.beams)
  encoded = call(model, params, "encode", history_BxS, trie.codes_NxL, config.beams, trie.used)
  of_known = filters.known if isinstance(filters, BothBits) else filters
  of_new = filters.new if isinstance(filters, BothBits) else filters
  known = beam.searched(model, params, trie, encoded, config, of_known)
  return with_new(model, params, encoded, history_BxS, config, known, new, of_new)


def with_new(
  model: SemanticIDModel,
  params: dict,
  encoded: EncoderOutput,
  history_BxS: jax.Array | Events,
  config: SearchConfig,
  known: Recommendations,
  new: NewItems,
  filters: Filters | RowBits,
) -> Recommendations:
  """What was found among known items, with the new ones that belong into the list."""
  valid_BxK = known.valid_BxK & new.any_known
  known = Recommendations(
    jnp.where(valid_BxK, known.item_BxK, -1),
    jnp.where(valid_BxK, known.score_BxK, -jnp.inf),
    valid_BxK,
  )

  def both() -> Recommendations:
    latest_BxS = latest_items(items_of(model, history_BxS))
    found = among_new(model, params, encoded, latest_BxS, config, known, new, filters)
    if config.gives_probabilities:
      return merge(known, found, new.share, choose)
    of_known, total_Bx1 = normalised(known)
    merged = merge(of_known, found, new.share, choose)
    return merged._replace(score_BxK=merged.score_BxK + total_Bx1)

  def choose(item_BxX: jax.Array, score_BxX: jax.Array) -> tuple[jax.Array, jax.Array]:
    return sampling.best_items(new.trie, item_BxX, score_BxX, config)

  return jax.lax.cond(new.any_new, both, lambda: known)


def among_new(
  model: SemanticIDModel,
  params: dict,
  encoded: EncoderOutput,
  latest_BxS: jax.Array,
  config: SearchConfig,
  known: Recommendations,
  new: NewItems,
  filters: Filters | RowBits = NO_FILTERS,
) -> Recommendations:
  """The most similar new items, as many as there are beams, with the scores of `by_similarity`.

  Args:
    model: the recommender, for the trie of known items.
    params: its parameters.
    encoded: the histories.
    latest_BxS: of `histories.latest_items`.
    config: static.
    known: the results among known items.
    new: the new items.
    filters: what each request may get.
  """
  mine, params = new.model_of(model), {**params, **new.tables}
  config = dataclasses.replace(config, follower_candidates=0)  # nothing has followed them yet
  filters = filters if isinstance(filters, RowBits) else checked(filters, latest_BxS.shape[0])
  levels = beam.make_levels(mine, params, new.trie, encoded, config, filters)
  item_BxX = _most_similar(levels, latest_BxS, new.vectors)
  logp_BxX = given.log_p(levels, item_BxX)
  if levels.again is not None:  # an item of the history is none of these
    old = repeats.of_history(new.trie, levels.again, levels.rows, None)
    item_BxX = jnp.concatenate([item_BxX, old.item_BxX], axis=1)
    logp_BxX = jnp.concatenate([logp_BxX, old.score_BxX], axis=1)
  found = beam.ranked(levels, item_BxX, logp_BxX)
  if not config.gives_probabilities:
    found = normalised(found)[0]
  head = new.head_of(mine, params, encoded, config)
  return by_similarity(known, found, latest_BxS, new.vectors, head)


def _most_similar(levels: Levels, latest_BxS: jax.Array, vectors: UnitVectors) -> jax.Array:
  """The most similar new items, one for each beam: int32 [B, K], NO_ITEM where there are fewer.

  Rows go block by block, and no further than rows are in use: what is reserved takes neither time
  nor memory here.
  """
  num_known, num_rows = len(vectors.known_NxF), len(vectors.new_MxF)
  batch, block = latest_BxS.shape[0], min(_BLOCK, num_rows)
  count = min(levels.config.beams, num_rows)
  latest_BxSxF = vectors.of(latest_BxS)

  def with_block(number: jax.Array, best: tuple[jax.Array, jax.Array]) -> tuple:
    # The last block ends with the table, so it may have rows of the one before.
    first = jnp.minimum(number * block, num_rows - block)
    row_X = first + jnp.arange(block)
    new_XxF = jax.lax.dynamic_slice_in_dim(jnp.asarray(vectors.new_MxF), first, block)
    similarity_BxX = similarity_of(latest_BxS, latest_BxSxF, new_XxF)
    item_BxX = jnp.broadcast_to(num_known + row_X[None], similarity_BxX.shape)
    may_BxX = given.may_be_found(levels, item_BxX) & (row_X >= number * block)[None]
    similarity_BxX = jnp.where(may_BxX, similarity_BxX, -jnp.inf)
    # What was found before comes first, so that of a tie the lowest row is kept.
    all_BxX = jnp.concatenate([best[0], similarity_BxX], axis=1)
    best_BxK, at_BxK = jax.lax.top_k(all_BxX, count)
    items_BxX = jnp.concatenate([best[1], item_BxX], axis=1)
    return best_BxK, jnp.take_along_axis(items_BxX, at_BxK, axis=1)

  none = jnp.full((batch, count), -jnp.inf), jnp.full((batch, count), NO_ITEM, jnp.int32)
  in_use = jnp.clip(levels.trie.used - num_known, 0, num_rows)
  best_BxK, item_BxK = jax.lax.fori_loop(0, -(-in_use // max(block, 1)), with_block, none)
  return jnp.where(jnp.isfinite(best_BxK), item_BxK, NO_ITEM)


def items_of(model: SemanticIDModel, history_BxS: jax.Array | Events) -> jax.Array:
  """The items of histories, without the user's token."""
  item_BxS = history_BxS.item_BxS if isinstance(history_BxS, Events) else history_BxS
  return item_BxS[:, model.config.input_length - model.config.history_length :]
