"""Two lists of results in one, by one parameter.

Here X counts the results of both lists.
"""

import jax
import jax.numpy as jnp

from sidrec.core.vocabulary import NO_ITEM
from sidrec.search.results import Recommendations


def merge(
  known: Recommendations, new: Recommendations, share: jax.Array | float
) -> Recommendations:
  """The best results of both lists, if the next item is a new one with probability `share`.

  p(item) = (1 - share) p(item | known) for a known item and share p(item | new) for a new one.
  Both lists keep their order, and a new item comes before a known one if its p(item) is larger.
  A larger share never lowers the number of new items in a list.

  Args:
    known: results [B, K] among known items, scores in nats.
    new: results among new items, scores in nats; its K may differ.
    share: in [0, 1]; 0 returns only the known results, 1 only the new ones.

  Returns:
    Recommendations [B, K] with the K of `known`; a known item wins against a new one of the same
    score.
  """
  known_score_BxK = known.score_BxK + jnp.log(1.0 - share)
  new_score_BxK = new.score_BxK + jnp.log(share)
  score_BxX = jnp.concatenate([known_score_BxK, new_score_BxK], axis=1)
  item_BxX = jnp.concatenate([known.item_BxK, new.item_BxK], axis=1)
  score_BxK, best_BxK = jax.lax.top_k(score_BxX, known.score_BxK.shape[1])
  valid_BxK = jnp.isfinite(score_BxK)
  item_BxK = jnp.take_along_axis(item_BxX, best_BxK, axis=1)
  return Recommendations(jnp.where(valid_BxK, item_BxK, NO_ITEM), score_BxK, valid_BxK)
