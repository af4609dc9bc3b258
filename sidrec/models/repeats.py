"""Items that come again: one distribution over all items, with a learnt share for the history's.

One softmax runs over the distinct items of the history and one more choice, something new:

  p(item) = exp(a(item)) / Z             for an item of the history
  p(item) = exp(n) / Z · p_new(item)     for any other; Z = exp(n) + Σ exp(a) over the history

So p = g · p_again + (1 - g) · p_new, where g = 1 - exp(n) / Z, as in RepeatNet (Ren et al., AAAI
2019, arXiv:1812.02646). p_new is the trie's softmax over the items that the history does not hold:
a child of a prefix counts if it leads to one of them. The two never overlap, hence the
log-likelihood of a target is that of the choice, and for a new item that of its levels; both are
trained in one pass. a depends on how long ago and how often the item was met, and on the encoder's
states; n on the state alone. An empty history leaves nothing but new items, and a history of the
whole catalogue none.

The history is what the model reads: an item that was met before its latest S events is new again,
unless `inputs.earlier` says that it was met. Such items have no states; a depends on the state of
the history and on how many others were met since.

Here X counts buckets of distances, counts or times, and the items that were met before the history;
P counts both what a history holds and these, S + X; R counts rows of the trie.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import ROOT, Trie, rows_below
from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.inputs import NUM_GAPS
from sidrec.models.inputs import buckets as gap_buckets
from sidrec.models.positions import NUM_BUCKETS
from sidrec.models.positions import buckets as place_buckets

NUM_COUNTS = 16  # rows of the table: met once, twice, …, 16 times or more


class MixedLogLikelihood(NamedTuple):
  """log p(target) is the sum over both of its parts; values of no target mean nothing."""

  level_BxQxL: jax.Array  # float32 log p_new by level; 0 where the target comes again
  choice_BxQ: jax.Array  # float32 log p of this item of the history, or of something new
  item_BxQ: jax.Array | None  # the item head's log p, as in `Dense.joint_log_likelihood`


def check_new_only(repeats: bool) -> None:
  """Raises ValueError for a model with repeats, whose log p is a `MixedLogLikelihood`."""
  if repeats:
    raise ValueError("model.repeats shares log p out; use mixed_log_likelihood")


class HistoryScores(NamedTuple):
  """What competes with each other after a history; `shares` makes probabilities of it."""

  item_BxP: jax.Array  # int32, each distinct item that was met once, NO_ITEM elsewhere
  logit_BxP: jax.Array  # float32, a
  new_B: jax.Array  # float32, n


class Shares(NamedTuple):
  """log p of the items of a history, and of something new."""

  item_BxP: jax.Array  # int32, each distinct item once, NO_ITEM elsewhere
  logp_BxP: jax.Array  # float32, -inf where no item is
  new_B: jax.Array  # float32, -inf where the catalogue has nothing new


class Had(NamedTuple):
  """What the user of each target has had before it."""

  latest_BxQxS: jax.Array  # bool, the latest position of each distinct item, none of them earlier
  path_BxSxLp1: jax.Array  # int32, trie nodes of the history's items, root to leaf
  earlier_BxRp1: jax.Array | None = None  # int32, of what was met earlier, items before each row


class Repeats(nn.Module):
  """The scores a and n."""

  width: int
  times: bool  # whether the seconds since an item was met count
  earlier: bool = False  # whether items from before the history may come again

  def setup(self):  # noqa: D102
    zeros = nn.initializers.zeros
    self.look_DxD = self.param("look", nn.initializers.normal(0.02), (self.width, self.width))
    self.recency_X = self.param("recency", zeros, (NUM_BUCKETS,))
    self.count_X = self.param("count", zeros, (NUM_COUNTS,))
    if self.times:
      self.gap_X = self.param("gap", zeros, (NUM_GAPS,))
    self.new_D = self.param("new", zeros, (self.width,))
    # At first a history of ten distinct items comes again with p = 0.1.
    self.new_bias = self.param("new_bias", nn.initializers.constant(4.5), ())
    if self.earlier:
      self.earlier_D = self.param("earlier", zeros, (self.width,))
      self.earlier_bias_X = self.param("earlier_bias", nn.initializers.constant(-2.5), (NUM_GAPS,))

  def __call__(
    self,
    query_BxQxD: jax.Array,
    states_BxSxD: jax.Array,
    count_BxS: jax.Array,
    distance_BxQxS: jax.Array,
    seconds_BxQxS: jax.Array | None,
  ) -> tuple[jax.Array, jax.Array]:
    """a of every position, [B, Q, S], and n, [B, Q]: float32.

    Args:
      query_BxQxD: the states that look back.
      states_BxSxD: the states they look at.
      count_BxS: how often the item of each position had been met there.
      distance_BxQxS: positions between the two, below S.
      seconds_BxQxS: between a position and what is asked for; None if times are not read.
    """
    query_BxQxD, states_BxSxD = (x.astype(jnp.float32) for x in (query_BxQxD, states_BxSxD))
    look_BxQxD = query_BxQxD @ self.look_DxD
    logit_BxQxS = jnp.einsum("bqd,bsd->bqs", look_BxQxD, states_BxSxD) * self.width**-0.5
    bucket_S = jnp.asarray(place_buckets(states_BxSxD.shape[1], bidirectional=False)[:, 0])
    logit_BxQxS = logit_BxQxS + self.recency_X[bucket_S[jnp.maximum(distance_BxQxS, 0)]]
    row_BxS = jnp.clip(count_BxS, 1, NUM_COUNTS) - 1
    logit_BxQxS = logit_BxQxS + self.count_X[row_BxS][:, None]
    if seconds_BxQxS is not None:
      logit_BxQxS = logit_BxQxS + self.gap_X[gap_buckets(seconds_BxQxS)]
    return logit_BxQxS, query_BxQxD @ self.new_D + self.new_bias

  def of_earlier(self, query_BxQxD: jax.Array, count: int) -> jax.Array:
    """a of items from before the history, newest first: float32 [B, Q, X].

    Args:
      query_BxQxD: the states that look back.
      count: X.
    """
    bias_X = self.earlier_bias_X[gap_buckets(jnp.arange(count))]
    return (query_BxQxD.astype(jnp.float32) @ self.earlier_D)[..., None] + bias_X[None, None]


def latest_places(history_BxS: jax.Array, visible_BxSxS: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Where each distinct item was met last, seen from each position, and how often until there.

  Args:
    history_BxS: int32 item rows.
    visible_BxSxS: bool, which positions (last axis) each position sees; none behind it.

  Returns:
    bool [B, S, S], and int32 [B, S].
  """
  length = history_BxS.shape[1]
  place_1xSx1, place_1x1xS = jnp.arange(length)[None, :, None], jnp.arange(length)[None, None]
  same_BxSxS = (history_BxS[:, :, None] == history_BxS[:, None, :]) & visible_BxSxS
  later_BxSxS = same_BxSxS & (place_1xSx1 > place_1x1xS)
  next_BxS = jnp.where(later_BxSxS, place_1xSx1, length).min(axis=1)
  latest_BxSxS = visible_BxSxS & (place_1xSx1 < next_BxS[:, None, :])
  return latest_BxSxS, same_BxSxS.sum(axis=2)


def still_earlier(
  earlier_BxX: jax.Array, history_BxS: jax.Array, visible_BxSxS: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Which items from before a history it has not met again, and which of its own are such items.

  Args:
    earlier_BxX: int32 item rows, each once; NO_ITEM for none.
    history_BxS: int32 item rows, whatever was met earlier in one segment.
    visible_BxSxS: as in `latest_places`.

  Returns:
    bool [B, S, X], seen from each position, and bool [B, S].
  """
  length = history_BxS.shape[1]
  is_item_BxX, is_visible_BxS = earlier_BxX != NO_ITEM, visible_BxSxS.any(axis=1)
  same_BxSxX = (history_BxS[:, :, None] == earlier_BxX[:, None]) & is_item_BxX[:, None]
  same_BxSxX = same_BxSxX & is_visible_BxS[..., None]
  place_S = jnp.arange(length)
  first_BxX = jnp.where(same_BxSxX, place_S[None, :, None], length).min(axis=1)
  alive_BxSxX = (place_S[None, :, None] < first_BxX[:, None]) & is_item_BxX[:, None]
  return alive_BxSxX, same_BxSxX.any(axis=2)


def items_before(item_BxX: jax.Array, trie: Trie) -> jax.Array:
  """How many of these items, each listed once, are before each row of the trie: [B, R + 1]."""
  num_rows = trie.item_N.shape[0]
  row_BxX = trie.row_of_N[jnp.maximum(item_BxX, 0)]
  row_BxX = jnp.where(item_BxX == NO_ITEM, num_rows, row_BxX)
  zeros_BxRp1 = jnp.zeros((item_BxX.shape[0], num_rows + 1), jnp.int32)
  b_Bx1 = jnp.arange(item_BxX.shape[0])[:, None]
  return jnp.cumsum(zeros_BxRp1.at[b_Bx1, row_BxX + 1].add(1, mode="drop"), axis=1)


def choice_log_likelihood(
  logit_BxQxP: jax.Array,
  new_BxQ: jax.Array,
  met_BxQxP: jax.Array,
  item_BxP: jax.Array,
  target_BxQ: jax.Array,
  num_items: jax.Array | int,
) -> tuple[jax.Array, jax.Array]:
  """log p of the target, if it was met before, or else of something new; and whether it was.

  Args:
    logit_BxQxP: a.
    new_BxQ: n.
    met_BxQxP: bool, each distinct item once: from `latest_places`, and from `still_earlier`.
    item_BxP: int32 item rows.
    target_BxQ: int32 item rows; those of no item mean nothing.
    num_items: N.
  """
  target_BxQxP = met_BxQxP & (item_BxP[:, None, :] == target_BxQ[:, :, None])
  again_BxQ = target_BxQxP.any(axis=-1)
  chosen_BxQ = jnp.where(again_BxQ, jnp.where(target_BxQxP, logit_BxQxP, 0.0).sum(axis=-1), new_BxQ)
  new_BxQ = jnp.where(met_BxQxP.sum(axis=-1) < num_items, new_BxQ, -jnp.inf)
  return chosen_BxQ - _total(jnp.where(met_BxQxP, logit_BxQxP, -jnp.inf), new_BxQ), again_BxQ


def shares(scores: HistoryScores, trie: Trie, temperature: jax.Array | float = 1.0) -> Shares:
  """The probabilities after a history, among the items that the trie leads to.

  Args:
    scores: from `Dense.encode`.
    trie: the catalogue. Items of the history that it no longer has do not come again.
    temperature: that scores are divided by; a number, or float32 [B, 1, 1].
  """
  first, stop = rows_below(trie, jnp.int32(ROOT))
  row_BxP = trie.row_of_N[jnp.maximum(scores.item_BxP, 0)]
  real_BxP = (scores.item_BxP != NO_ITEM) & (row_BxP < stop)
  by = jnp.reshape(jnp.asarray(temperature), (-1, 1))
  logit_BxP = jnp.where(real_BxP, scores.logit_BxP / by, -jnp.inf)
  any_new_B = real_BxP.sum(axis=-1) < stop - first
  new_B = jnp.where(any_new_B, scores.new_B / by[:, 0], -jnp.inf)
  total_B = _total(logit_BxP, new_B)
  item_BxP = jnp.where(real_BxP, scores.item_BxP, NO_ITEM)
  return Shares(item_BxP, logit_BxP - total_B[:, None], new_B - total_B)


def _total(logit_xP: jax.Array, new_x: jax.Array) -> jax.Array:
  return jnp.logaddexp(jax.nn.logsumexp(logit_xP, axis=-1), new_x)


def without_had(
  logits_BxQxC: jax.Array,
  first_child: jax.Array,
  level: int,
  slot_BxQ: jax.Array,
  had: Had,
  trie: Trie,
) -> jax.Array:
  """Logits of children, -inf where all items below were had before; the target's own child stays.

  Args:
    logits_BxQxC: of the children of each target's prefix.
    first_child: int32 [B, Q], or [] where all targets share it.
    level: of the children's tokens.
    slot_BxQ: which child leads to the target.
    had: what was had before each target.
    trie: the catalogue, all items of it.
  """
  fan_out, shared = logits_BxQxC.shape[-1], not first_child.ndim
  slot_1x1xC = jnp.arange(fan_out, dtype=jnp.int32)[None, None]
  first_BxQx1 = jnp.reshape(first_child, (1, 1, 1)) if shared else first_child[..., None]
  node_BxQxC = jnp.minimum(first_BxQx1 + slot_1x1xC, trie.num_nodes - 1)
  first_BxQxC, stop_BxQxC = rows_below(trie, node_BxQxC)
  child_BxS = had.path_BxSxLp1[..., level + 1]
  if shared:  # sums over positions are then one product
    is_child_BxSxC = (child_BxS[..., None] == node_BxQxC).astype(jnp.float32)
    count_BxQxC = jnp.einsum(
      "bqs,bsc->bqc", had.latest_BxQxS.astype(jnp.float32), is_child_BxSxC
    ).astype(jnp.int32)
  else:
    at_BxQxS = child_BxS[:, None, :] - first_BxQx1
    inside_BxQxS = had.latest_BxQxS & (at_BxQxS >= 0) & (at_BxQxS < fan_out)
    at_BxQxS = jnp.where(inside_BxQxS, at_BxQxS, fan_out)
    b = jnp.arange(at_BxQxS.shape[0])[:, None, None]
    q = jnp.arange(at_BxQxS.shape[1])[None, :, None]
    empty_BxQxC = jnp.zeros(logits_BxQxC.shape, jnp.int32)
    count_BxQxC = empty_BxQxC.at[b, q, at_BxQxS].add(1, mode="drop")
  if had.earlier_BxRp1 is not None:
    b_Bx1x1 = jnp.arange(count_BxQxC.shape[0])[:, None, None]
    before_BxQxC, until_BxQxC = (
      had.earlier_BxRp1[b_Bx1x1, row_BxQxC] for row_BxQxC in (first_BxQxC, stop_BxQxC)
    )
    count_BxQxC = count_BxQxC + until_BxQxC - before_BxQxC
  gone_BxQxC = count_BxQxC >= stop_BxQxC - first_BxQxC
  gone_BxQxC = gone_BxQxC & (slot_1x1xC != slot_BxQ[..., None])
  return jnp.where(gone_BxQxC, -jnp.inf, logits_BxQxC)
