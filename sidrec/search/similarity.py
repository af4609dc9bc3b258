"""How similar items are to the latest items of a history, by their vectors.

The model knows neither how popular a new item is nor what it is consumed with. Its vector says what
it is. So a new item is scored by its similarity to the history and a little by what the model says
of its semantic ID. A model with an item head adds what the head says of known items like it, see
`near_head`. The best known items and all new ones are compared by this.

Here X counts items whose similarity is needed, and M rows of new items.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.packed_codes import AnyArray
from sidrec.models.similarity import log_mean_near
from sidrec.search.near_head import HeadScores
from sidrec.search.results import Recommendations

AMONG = 20  # known items that new ones are compared with
SEARCH_WEIGHT = 0.1  # of the search's log probability; the similarity has weight 1


class UnitVectors(NamedTuple):
  """The vectors of a catalogue's items, of length 1, in two tables: only the second one changes."""

  known_NxF: AnyArray  # floating point of any width, of the first N item rows
  new_MxF: AnyArray  # of the rows behind them

  def of(self, item_BxX: jax.Array) -> jax.Array:
    """The vectors of item rows, which are clipped to those that there are: float32 [B, X, F]."""
    known, new = self.known_NxF.shape[0], self.new_MxF.shape[0]
    vector_BxXxF = jnp.asarray(self.known_NxF)[jnp.clip(item_BxX, 0, known - 1)]
    if new:
      new_BxXxF = jnp.asarray(self.new_MxF)[jnp.clip(item_BxX - known, 0, new - 1)]
      vector_BxXxF = jnp.where(item_BxX[..., None] < known, vector_BxXxF, new_BxXxF)
    return vector_BxXxF.astype(jnp.float32)


def ranking_score(
  score_BxX: jax.Array | float,
  latest_BxS: jax.Array,
  item_BxX: jax.Array,
  vectors: UnitVectors,
  head: HeadScores | None,
) -> jax.Array:
  """What new items are ranked by, and known ones compared with: float32 [B, X].

  Args:
    score_BxX: the search's; 0 for known items.
    latest_BxS: of `latest_items`.
    item_BxX: int32 item rows.
    vectors: of all items.
    head: of `near_head.head_scores`.

  Returns:
    SEARCH_WEIGHT times the search's score, plus the log similarity; with `head`, the mean of that
    sum and the head's score.
  """
  total_BxX = SEARCH_WEIGHT * score_BxX + log_similarity(latest_BxS, item_BxX, vectors)
  return total_BxX if head is None else (total_BxX + head(item_BxX)) / 2


def by_similarity(
  known: Recommendations,
  new: Recommendations,
  latest_BxS: jax.Array,
  vectors: UnitVectors,
  head: HeadScores | None = None,
) -> Recommendations:
  """Ranks new items by their similarity to the history, compared with known and new ones.

  Args:
    known: results [B, K] among known items, best first.
    new: results [B, X] among new items, scores in nats.
    latest_BxS: of `latest_items`.
    vectors: of all items.
    head: of `near_head.head_scores`.

  Returns:
    The results of `new`, best first. A score is `ranking_score`, less the log of the sum of
    exp(this) of all results of `new` and of the first AMONG known items.
  """
  known_item_BxX, known_valid_BxX = known.item_BxK[:, :AMONG], known.valid_BxK[:, :AMONG]
  count = new.item_BxK.shape[1]
  item_BxX = jnp.concatenate([new.item_BxK, known_item_BxX], axis=1)
  valid_BxX = jnp.concatenate([new.valid_BxK, known_valid_BxX], axis=1)
  score_BxX = jnp.where(
    valid_BxX, jnp.pad(new.score_BxK, ((0, 0), (0, known_item_BxX.shape[1]))), 0.0
  )
  both_BxX = ranking_score(score_BxX, latest_BxS, item_BxX, vectors, head)
  both_BxX = jnp.where(valid_BxX, both_BxX, -jnp.inf)
  of_new_BxK = both_BxX[:, :count]
  total_Bx1 = jax.nn.logsumexp(both_BxX, axis=1, keepdims=True)
  total_Bx1 = jnp.where(jnp.isfinite(total_Bx1), total_Bx1, 0.0)  # without any item
  score_BxK, order_BxK = jax.lax.top_k(of_new_BxK - total_Bx1, count)
  item_BxK, valid_BxK = (
    jnp.take_along_axis(x_BxK, order_BxK, axis=1) for x_BxK in (new.item_BxK, new.valid_BxK)
  )
  return Recommendations(item_BxK, score_BxK, valid_BxK)


def log_similarity(latest_BxS: jax.Array, item_BxX: jax.Array, vectors: UnitVectors) -> jax.Array:
  """`log_mean_near` of the cosines of items with the latest ones.

  Args:
    latest_BxS: int32 item rows, oldest first, NO_ITEM after the newest, which weighs most.
    item_BxX: int32 item rows; a negative one counts as row 0.
    vectors: of all items.

  Returns:
    float32 [B, X], at most 0 but for rounding; 0 throughout for an empty history.
  """
  cosine_BxXxS = jnp.einsum("bxf,bsf->bxs", vectors.of(item_BxX), vectors.of(latest_BxS))
  return log_mean_near(cosine_BxXxS, latest_BxS)


def similarity_of(latest_BxS: jax.Array, latest_BxSxF: jax.Array, unit_XxF: jax.Array) -> jax.Array:
  """`log_similarity` of any vectors, the same for all histories: float32 [B, X].

  Args:
    latest_BxS: as in `log_similarity`.
    latest_BxSxF: their vectors.
    unit_XxF: floating point of any width.
  """
  cosine_BxXxS = jnp.einsum("xf,bsf->bxs", unit_XxF.astype(jnp.float32), latest_BxSxF)
  return log_mean_near(cosine_BxXxS, latest_BxS)
