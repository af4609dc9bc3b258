"""Two lists of results in one, by one parameter.

Here X counts the results of both lists.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sidrec.core.vocabulary import NO_ITEM
from sidrec.search.results import Recommendations

# (items, scores) [B, X] → (the K best scores, -inf for none; where they stand)
Choose = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def merge(
  known: Recommendations,
  new: Recommendations,
  share: jax.Array | float,
  choose: Choose | None = None,
) -> Recommendations:
  """The best results of both lists, if the next item is a new one with probability `share`.

  By Bayes' rule, with W the sum of exp(score) of the new results and Z = 1 - share + share · W:
  p(item) = (1 - share) / Z · p(item | known) for a known item and share / Z · exp(score) for a new
  one. Hence p sums to one over the known items and the new ones found, whatever W is. If W is 1,
  the shares are those given; if nothing new was found, p is that among known items.

  Both lists keep their order, and a new item comes before a known one if its p(item) is larger.
  A larger share never lowers the number of new items in a list.

  Args:
    known: results [B, K] among known items, scores in nats.
    new: results among new items, scores in nats; its K may differ.
    share: in [0, 1]; 0 returns only the known results, 1 only the new ones.
    choose: what takes the best results; None for the largest scores.

  Returns:
    Recommendations [B, K] with the K of `known`, scores log p(item); a known item wins against a
    new one of the same score.
  """
  log_known, log_new = jnp.log1p(-jnp.asarray(share)), jnp.log(jnp.asarray(share))
  new_Bx1 = jax.nn.logsumexp(new.score_BxK, axis=1, keepdims=True)
  total_Bx1 = jnp.logaddexp(log_known, log_new + new_Bx1)
  total_Bx1 = jnp.where(jnp.isfinite(total_Bx1), total_Bx1, 0.0)
  known_score_BxK = known.score_BxK + (log_known - total_Bx1)
  new_score_BxK = new.score_BxK + (log_new - total_Bx1)
  score_BxX = jnp.concatenate([known_score_BxK, new_score_BxK], axis=1)
  item_BxX = jnp.concatenate([known.item_BxK, new.item_BxK], axis=1)
  if choose is None:
    score_BxK, best_BxK = jax.lax.top_k(score_BxX, known.score_BxK.shape[1])
  else:
    score_BxK, best_BxK = choose(item_BxX, score_BxX)
  valid_BxK = jnp.isfinite(score_BxK)
  item_BxK = jnp.take_along_axis(item_BxX, best_BxK, axis=1)
  return Recommendations(jnp.where(valid_BxK, item_BxK, NO_ITEM), score_BxK, valid_BxK)


def normalised(result: Recommendations) -> tuple[Recommendations, jax.Array]:
  """The results with scores as log probabilities over the valid ones, and what was taken off.

  That is the log of the sum of exp(score), [B, 1]; 0 where nothing was found.
  """
  score_BxK = jnp.where(result.valid_BxK, result.score_BxK, -jnp.inf)
  total_Bx1 = jax.nn.logsumexp(score_BxK, axis=1, keepdims=True)
  total_Bx1 = jnp.where(jnp.isfinite(total_Bx1), total_Bx1, 0.0)
  return result._replace(score_BxK=score_BxK - total_Bx1), total_Bx1
