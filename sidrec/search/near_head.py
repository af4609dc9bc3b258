"""What the item head says of new items: the mean of what it says of known ones like them.

The item head has learnt a row for each known item, and nothing for a new one. So a new item gets
the mean of the head's scores for the known items whose vectors are most similar to its own,
weighted by similarity.

Here J counts those items, M rows of new items, and X items whose scores are needed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.packed_codes import AnyArray
from sidrec.catalogue.trie.trie import Trie
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.search import evidence
from sidrec.search.levels import call
from sidrec.search.settings import SearchConfig

COUNT = 5  # known items for each new one; chosen on the validation of Beauty, as the next one is
TEMPERATURE = 0.1  # of a cosine
_BLOCK = 1 << 16  # known items that are compared at once

HeadScores = Callable[[jax.Array], jax.Array]  # int32 item rows [B, X] → float32 [B, X]


class Near(NamedTuple):
  """The known items that are most similar to each new one."""

  item_MxJ: AnyArray  # int32, the most similar first
  share_MxJ: AnyArray  # float32, of sum 1; 0 in rows of no item


def nearest_known(unit_NxF: np.ndarray, unit_MxF: np.ndarray) -> Near:
  """The COUNT most similar known items of each new one, or all where there are fewer.

  Args:
    unit_NxF: of the known items, of length 1 and any floating type.
    unit_MxF: of the new items.
  """
  new_MxF = np.asarray(unit_MxF, np.float32)
  cosine_MxJ = np.zeros((len(new_MxF), 0), np.float32)
  item_MxJ = np.zeros((len(new_MxF), 0), np.int32)
  for start in range(0, len(unit_NxF), _BLOCK):
    cosine_MxX = new_MxF @ np.asarray(unit_NxF[start : start + _BLOCK], np.float32).T
    row_MxX = np.broadcast_to(np.arange(cosine_MxX.shape[1], dtype=np.int32), cosine_MxX.shape)
    cosine_MxX = np.concatenate([cosine_MxJ, cosine_MxX], axis=1)
    item_MxX = np.concatenate([item_MxJ, start + row_MxX], axis=1)
    kept = min(COUNT, cosine_MxX.shape[1])
    at_MxJ = np.argpartition(-cosine_MxX, kept - 1, axis=1)[:, :kept]
    cosine_MxJ, item_MxJ = (
      np.take_along_axis(x_MxX, at_MxJ, axis=1) for x_MxX in (cosine_MxX, item_MxX)
    )
  order_MxJ = np.lexsort([item_MxJ, -cosine_MxJ], axis=1)
  cosine_MxJ, item_MxJ = (
    np.take_along_axis(x_MxJ, order_MxJ, axis=1) for x_MxJ in (cosine_MxJ, item_MxJ)
  )
  weight_MxJ = np.exp((cosine_MxJ - cosine_MxJ[:, :1]) / TEMPERATURE)
  return Near(item_MxJ, weight_MxJ / weight_MxJ.sum(axis=1, keepdims=True))


def with_room(near: Near, rows: int) -> Near:
  """The same with so many rows, where those of no item have no shares."""
  missing = ((0, rows - len(near.item_MxJ)), (0, 0))
  return Near(*(np.pad(x_MxJ, missing) for x_MxJ in near))


def head_scores(
  model: SemanticIDModel,
  params: dict,
  trie: Trie,
  encoded: EncoderOutput,
  config: SearchConfig,
  num_known: int,
  near: Near | None,
) -> HeadScores | None:
  """The item head's log p of known and new items, up to a number of each history.

  Args:
    model: the recommender.
    params: its parameters.
    trie: of the catalogue.
    encoded: the histories.
    config: of the search.
    num_known: N, known items; the rows behind them are those of `near`.
    near: of the new items.

  Returns:
    What gives item rows [B, X] their scores; the first N their own. None where the search does not
    rank by the item head, or without `near`.
  """
  if near is None or not evidence.uses(model.config, config).item_head:
    return None

  def score(item_BxX: jax.Array) -> jax.Array:
    is_new_BxX = item_BxX >= num_known
    row_BxX = jnp.clip(item_BxX - num_known, 0, len(near.item_MxJ) - 1)
    item_BxXxJ, share_BxXxJ = (jnp.asarray(x_MxJ)[row_BxX] for x_MxJ in near)
    itself_BxXxJ = jnp.broadcast_to(jnp.maximum(item_BxX, 0)[..., None], item_BxXxJ.shape)
    item_BxXxJ = jnp.where(is_new_BxX[..., None], item_BxXxJ, itself_BxXxJ)
    flat = item_BxX.shape[0], -1
    args = encoded, item_BxXxJ.reshape(flat), trie.codes_NxL
    score_BxXxJ = call(model, params, "item_scores", *args).reshape(item_BxXxJ.shape)
    mean_BxX = (share_BxXxJ * score_BxXxJ).sum(axis=2)
    return jnp.where(is_new_BxX, mean_BxX, score_BxXxJ[..., 0])

  return score
