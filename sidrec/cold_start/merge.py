"""Two lists of results in one, by one parameter.

Letters: B batch, K results of the known items, J results of the new ones.
"""

import jax
import jax.numpy as jnp

from sidrec.search.results import Recommendations


def merge(
  known: Recommendations, new: Recommendations, share: jax.Array | float
) -> Recommendations:
  """The K best of both lists, if the next item is a new one with probability `share`.

  p(item) = (1 - share) p(item | known) for a known item, share p(item | new) for a new one:
  both lists keep their order, and a new item comes before a known one as soon as its part of
  `share` is the larger. So a surer new item enters higher up, and a larger share never lowers the
  number of new items in a list.

  Args:
    known: results [B, K] among known items, scores in nats.
    new: results [B, J] among new items, scores in nats.
    share: in [0, 1]; 0 returns the known results alone, 1 the new ones alone.

  Returns:
    Recommendations [B, K]; of equal scores the known item comes first.
  """
  parts = (known, new), (1.0 - share, share)
  scores = [part.score_BxK + jnp.log(weight) for part, weight in zip(*parts, strict=True)]
  score_BxC = jnp.concatenate(scores, axis=1)
  score_BxK, best_BxK = jax.lax.top_k(score_BxC, known.score_BxK.shape[1])
  item_BxC = jnp.concatenate([known.item_BxK, new.item_BxK], axis=1)
  valid_BxK = jnp.isfinite(score_BxK)
  item_BxK = jnp.take_along_axis(item_BxC, best_BxK, axis=1)
  return Recommendations(jnp.where(valid_BxK, item_BxK, -1), score_BxK, valid_BxK)
