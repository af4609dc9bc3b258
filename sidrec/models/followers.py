"""What followed a history's latest items in other histories: counted, not learnt.

A model learns an item by what it has in common with others. Of a rare item there is little to learn
in this way, but which items it followed can be counted. For each item its nearest followers are
kept, see `features.nearest_followers`. From each of the latest items i of a history,
item j gets the similarity of j to i, the a-th latest item weighing 1 / a, as in the baseline
item-kNN:

  p_follows(j) = 1/2 · (sum(j) / (sum of all) + floor)

With a floor of 1/N, N items of training, half of the probability goes by the sums and half to all
items evenly. Then an item that followed nothing is the less likely the more items there are, and
large catalogues do better with a floor that does not depend on N; p_follows is a score then, whose
sum is not 1. A run with fitted weights fits the floor, too.

A search ranks by the weighted geometric mean of this and of what the model says, see
`search.joint`; it asks for the items that its beams found, and for a few that followed most. Where
nothing followed, all items have the same. Where the model has repeats, the history's items share
what the model gives to them together, and the others the rest, each part by these sums within it.

Here A counts the latest items, R the followers that are kept of each item, X items of both, and P
what was met before, as in `repeats`.
"""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import Histories
from sidrec.features.nearest_followers import nearest_followers
from sidrec.models import packed_followers
from sidrec.models.histories import sums_of
from sidrec.models.repeats import HistoryScores

_LEAST = 1e-9  # smaller sums and shares are none

# What is counted, among the parameters: [N, R] each, as `packed_followers` keeps them, and float32
# [], 1 / N. The latter stays as it is when items come, and so do the probabilities of those that
# were there.
FOLLOWERS, SIMILARITIES, EVEN = "follower", "follower_similarity", "follower_even"
COUNTED = (FOLLOWERS, SIMILARITIES, EVEN)
FLOOR = "follower_floor"  # float32 [], in place of 1 / N where it is fitted


def tables(parts: Iterable[Histories], num_items: int, count: int) -> dict[str, np.ndarray]:
  """What is counted for so many followers of each item; {} for none.

  Args:
    parts: the training view, of some users at a time.
    num_items: N.
    count: R.
  """
  if not count:
    return {}
  follower_NxR, similarity_NxR = nearest_followers(parts, num_items, count)
  row_NxR, step_NxR = packed_followers.pack(follower_NxR, similarity_NxR)
  even = np.array(1 / num_items, np.float32)
  return {FOLLOWERS: row_NxR, SIMILARITIES: step_NxR, EVEN: even}


def check_counted(params: dict) -> None:
  """Raises ValueError for parameters without followers, where a search reads them."""
  if missing := [name for name in COUNTED if name not in params]:
    raise ValueError(
      f"the model has followers, and the parameters lack {missing[0]!r}; add what "
      "sidrec.models.followers.tables returns, or set search.follower_weight to 0"
    )


def log_p(
  params: dict,
  latest_BxA: jax.Array,
  again: HistoryScores | None,
  item_BxK: jax.Array | None,
  floor: jax.Array | None = None,
) -> jax.Array:
  """log p_follows of some items: float32 [B, K]; of rows that are no items, anything.

  Args:
    params: with what is counted.
    latest_BxA: of `histories.latest_items`, oldest first.
    again: what may come again, of a model with repeats.
    item_BxK: int32 item rows; None for all, [B, N].
    floor: float32 [], of new items; None for 1 / N.
  """
  num_items, even = len(params[FOLLOWERS]), params[EVEN] if floor is None else floor
  of_BxX, part_BxX = _parts(params, latest_BxA)
  total_Bx1 = part_BxX.sum(axis=1, keepdims=True)
  sum_BxK = sums_of(item_BxK, of_BxX, part_BxX, num_items)
  if again is None:
    return jnp.log(_half(sum_BxK, total_Bx1, even))
  met_BxP = again.item_BxP
  is_met_BxP = met_BxP != NO_ITEM
  met_sum_BxP = jnp.where(is_met_BxP, sums_of(met_BxP, of_BxX, part_BxX, num_items), 0.0)
  met_total_Bx1, num_met_Bx1 = (x.sum(axis=1, keepdims=True) for x in (met_sum_BxP, is_met_BxP))
  new_BxK = _half(sum_BxK, total_Bx1 - met_total_Bx1, even)
  met_BxK = _half(sum_BxK, met_total_Bx1, 1 / jnp.maximum(num_met_Bx1, 1))
  is_met_BxK = sums_of(item_BxK, met_BxP, is_met_BxP.astype(jnp.float32), num_items) > 0
  logp_met_B, logp_new_B = _log_shares(again)
  return jnp.where(
    is_met_BxK,
    logp_met_B[:, None] + jnp.log(met_BxK),
    logp_new_B[:, None] + jnp.log(new_BxK),
  )


def strongest(
  params: dict,
  latest_BxA: jax.Array,
  may_BxX: Callable[[jax.Array], jax.Array],
  count: int,
) -> jax.Array:
  """The items that followed the latest ones most: int32 [B, F], NO_ITEM where there are fewer.

  Args:
    params: with what is counted.
    latest_BxA: of `histories.latest_items`, oldest first.
    may_BxX: says which of some item rows, NO_ITEM among them, may be returned; X is at most A · R.
    count: F.
  """
  of_BxX, part_BxX = jax.lax.sort(_parts(params, latest_BxA), dimension=1, num_keys=1)
  turns_BxXm1 = of_BxX[:, 1:] != of_BxX[:, :-1]
  edge_Bx1 = jnp.ones_like(of_BxX[:, :1], bool)
  first_BxX = jnp.concatenate([edge_Bx1, turns_BxXm1], axis=1)
  last_BxX = jnp.concatenate([turns_BxXm1, edge_Bx1], axis=1)
  # The sum of an item's parts is what came up to its last one, less what came before its first.
  up_to_BxX = jnp.cumsum(part_BxX, axis=1)
  before_BxX = jax.lax.cummax(jnp.where(first_BxX, up_to_BxX - part_BxX, 0.0), axis=1)
  sum_BxX = jnp.where(last_BxX & (of_BxX != NO_ITEM), up_to_BxX - before_BxX, 0.0)
  sum_BxX = jnp.where(may_BxX(of_BxX), sum_BxX, 0.0)
  sum_BxF, at_BxF = jax.lax.top_k(sum_BxX, min(count, sum_BxX.shape[1]))
  return jnp.where(sum_BxF > _LEAST, jnp.take_along_axis(of_BxX, at_BxF, axis=1), NO_ITEM)


def _parts(params: dict, latest_BxA: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The followers of a history's latest items, and what each adds to its sum: [B, X]."""
  real_BxA = latest_BxA != NO_ITEM
  row_BxA = jnp.maximum(latest_BxA, 0)
  follower_BxAxR, similarity_BxAxR = packed_followers.unpack(
    params[FOLLOWERS][row_BxA], params[SIMILARITIES][row_BxA]
  )
  age_BxA = jnp.cumsum(real_BxA[:, ::-1], axis=1)[:, ::-1]  # 1 for the newest
  weight_BxA = jnp.where(real_BxA, 1 / jnp.maximum(age_BxA, 1), 0.0)
  real_BxAxR = (follower_BxAxR != NO_ITEM) & real_BxA[..., None]
  part_BxAxR = jnp.where(real_BxAxR, similarity_BxAxR * weight_BxA[..., None], 0.0)
  batch, count, num_followers = part_BxAxR.shape  # the batch may be symbolic
  shape = batch, count * num_followers
  return follower_BxAxR.reshape(shape), part_BxAxR.reshape(shape)


def _half(sum_BxK: jax.Array, total_Bx1: jax.Array, even: jax.Array) -> jax.Array:
  """Half of the share of the sums and of `even`; `even` alone where nothing followed."""
  share_BxK = sum_BxK / jnp.maximum(total_Bx1, _LEAST)
  return jnp.where(total_Bx1 > _LEAST, (share_BxK + even) / 2, even)


def _log_shares(again: HistoryScores) -> tuple[jax.Array, jax.Array]:
  """log p that what follows was met before, and that it was not: float32 [B] each."""
  logit_BxP = jnp.where(again.item_BxP == NO_ITEM, -jnp.inf, again.logit_BxP)
  met_B = jax.nn.logsumexp(logit_BxP, axis=1)
  total_B = jnp.logaddexp(met_B, again.new_B)
  return jnp.maximum(met_B - total_B, jnp.log(_LEAST)), again.new_B - total_B
