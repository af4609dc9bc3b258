"""The dense recommender: every position of a history predicts its next item in the same pass.

Each history item is one position: the sum of its level embeddings, and an item embedding. The
encoder is causal.

With the item head, the encoder also predicts the next item itself, by a softmax over its item
table, as SASRec does. The two read different things in a history, so that their scores together
rank better than either alone: the search adds the item head's scores to those of the items that
its beams found.

With `repeats`, the items of the history have a share of the probability of their own, and the
semantic IDs' softmax is among the others: see `models/repeats.py`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.packed_codes import PackedCodes
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.base import TABLE_INIT, EncoderOutput, SemanticIDModel
from sidrec.models.histories import item_rows, latest_items
from sidrec.models.inputs import events_of
from sidrec.models.item_softmax import draw_distinct, item_log_likelihood
from sidrec.models.item_vectors import ItemVectors
from sidrec.models.repeats import (
  Had,
  HistoryScores,
  MixedLogLikelihood,
  Repeats,
  check_new_only,
  choice_log_likelihood,
  items_before,
  latest_places,
  still_earlier,
)
from sidrec.models.table_params import masked_behind, rows_at, table_param


class Dense(SemanticIDModel):
  """Target q of `log_likelihood` follows position q of the history: Q = S."""

  causal = True
  reads_events = True
  grows = True

  def setup(self):  # noqa: D102
    super().setup()
    c = self.config
    if c.item_head and c.item_embedding:
      shape = (self.sizes.num_items,)
      self.item_bias_N = table_param(self, "item_bias", nn.initializers.zeros, shape)
    if c.repeats:
      self.repeats = Repeats(c.width, c.inputs.times, c.inputs.earlier > 0)
    if c.item_head and (c.item_width or not c.item_embedding):
      shape = self.code_LxVxD.shape
      self.item_code_LxVxD = self.param("item_code", TABLE_INIT, shape)

  def encode_states(
    self,
    history_BxS: jax.Array | Events,
    codes_NxL: jax.Array | PackedCodes,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    """The encoder's states, and which of them each target sees.

    Args:
      history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; or events.
      codes_NxL: the semantic ID of every item.
      segment_BxS: int32; where several histories share a row, which one each position belongs
        to, non-decreasing along a row. None for one history a row.
      train: whether to drop.

    Returns:
      [B, S, D] in the config's dtype, and bool [B, S, S]. Users' attributes add W states in front,
      one for each history that may share a row: [B, W + S, D] and [B, S, W + S].
    """
    events, biases = events_of(history_BxS, self.config.inputs), [None] * len(self.encoder)
    history_BxS, length = events.item_BxS, events.shape[1]
    item_BxS = jnp.maximum(history_BxS, 0)
    x_BxSxLxD = self._embed_codes(codes_NxL[item_BxS])
    shared_BxSxD = self._embed_places(history_BxS, segment_BxS)
    if self.config.item_embedding:
      # As an output, the table is small; as an input it has to outweigh positions.
      scale = self.config.width**0.5 if self.config.item_head else 1.0
      shared_BxSxD = shared_BxSxD + self._embed_items(item_BxS) * scale
    if self.config.inputs.any:
      shared_BxSxD = shared_BxSxD + self.inputs.embed(events, segment_BxS)
      biases = self.inputs.biases(events)
    visible = (history_BxS != NO_ITEM)[:, None, :] & jnp.tril(jnp.ones((length, length), bool))[
      None
    ]
    if segment_BxS is not None:
      visible = visible & (segment_BxS[:, :, None] == segment_BxS[:, None, :])
    x_BxSxD = x_BxSxLxD.sum(axis=2) + shared_BxSxD
    if not self.config.inputs.user_attributes:
      return self._run_encoder(x_BxSxD, visible, train, biases), visible
    user_BxWxD = self.inputs.of_users(events.user_BxX, train)
    users = user_BxWxD.shape[1]
    visible = _with_users(visible, segment_BxS, users)
    x = jnp.concatenate([user_BxWxD, x_BxSxD], axis=1)
    return self._run_encoder(x, visible, train, biases, users), visible[:, users:]

  def encode(
    self,
    history_BxS: jax.Array | Events,
    codes_NxL: jax.Array | PackedCodes,
    beams: int | None = None,
    num_items: jax.Array | int | None = None,
  ) -> EncoderOutput:
    """Encodes histories for `step`; see `SemanticIDModel.encode`."""
    events = events_of(history_BxS, self.config.inputs)
    known = len(codes_NxL) if num_items is None else num_items
    history_BxS = item_rows(events.item_BxS, known)
    events = events._replace(item_BxS=history_BxS)
    if events.earlier_BxX is not None:
      is_item_BxX = (events.earlier_BxX >= 0) & (events.earlier_BxX < known)
      events = events._replace(earlier_BxX=jnp.where(is_item_BxX, events.earlier_BxX, NO_ITEM))
    states, visible = self.encode_states(events, codes_NxL)
    row_B, users = jnp.arange(history_BxS.shape[0]), states.shape[1] - history_BxS.shape[1]
    count_B = (history_BxS != NO_ITEM).sum(axis=1)
    last_B = jnp.maximum(count_B - 1, 0)
    # The user's own state, in front, is what an empty history has.
    last_BxD = states[row_B, count_B - 1 + users if users else last_B]
    cross = self.cross_attention_inputs(states, beams)
    again = None
    if self.config.repeats:
      own = states[:, users:], visible[:, :, users:]
      again = self._history_scores(events, *own, last_B, last_BxD)
    start_BxD = self.start_D[None] + last_BxD
    latest_BxA = latest_items(history_BxS) if self.config.has_evidence else None
    return EncoderOutput(start_BxD, last_BxD, cross, visible[row_B, last_B], again, latest_BxA)

  def joint_log_likelihood(
    self,
    history_BxS: jax.Array | Events,
    target_BxS: jax.Array,
    trie: Trie,
    path_NxLp1: jax.Array,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    """What `log_likelihood` returns, and the item head's log p(target): float32 [B, S].

    The item head gives 0 where there is no target. In training its softmax runs over the
    target and `item_negatives` other items only, unless that is 0; it then needs the random
    stream 'negatives'.

    Raises:
      ValueError: as `log_likelihood` does.
    """
    check_new_only(self.config.repeats)
    states, visible = self.encode_states(history_BxS, trie.codes_NxL, segment_BxS, train)
    levels_BxSxL = self.target_log_likelihood(states, visible, target_BxS, trie, path_NxLp1, train)
    return levels_BxSxL, self._item_log_likelihood(states, target_BxS, trie, train)

  def mixed_log_likelihood(
    self,
    history_BxS: jax.Array | Events,
    target_BxS: jax.Array,
    trie: Trie,
    path_NxLp1: jax.Array,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> MixedLogLikelihood:
    """log p(target | history) of a model with repeats, in parts; Q = S.

    Targets may be NO_ITEM. The item head, where there is one, is as in `joint_log_likelihood`.
    """
    all_states, visible_of_all = self.encode_states(history_BxS, trie.codes_NxL, segment_BxS, train)
    events = events_of(history_BxS, self.config.inputs)
    item_BxS, users = events.item_BxS, all_states.shape[1] - events.shape[1]
    states, visible = all_states[:, users:], visible_of_all[:, :, users:]
    latest_BxSxS, count_BxS = latest_places(item_BxS, visible)
    place_S = np.arange(item_BxS.shape[1])
    distance_1xSxS = jnp.asarray(place_S[:, None] - place_S)[None]
    seconds = _seconds(_asked(events), events.time_BxS)
    logit_BxSxS, new_BxS = self.repeats(states, states, count_BxS, distance_1xSxS, seconds)
    logit, met, item_BxP = logit_BxSxS, latest_BxSxS, item_BxS
    had = Had(latest_BxSxS, path_NxLp1[jnp.maximum(item_BxS, 0)])
    if (earlier_BxX := events.earlier_BxX) is not None:
      alive_BxSxX, again_BxS = still_earlier(earlier_BxX, item_BxS, visible)
      earlier_BxSxX = self.repeats.of_earlier(states, earlier_BxX.shape[1])
      logit = jnp.concatenate([logit, earlier_BxSxX], axis=-1)
      met = jnp.concatenate([met, alive_BxSxX], axis=-1)
      item_BxP = jnp.concatenate([item_BxS, earlier_BxX], axis=-1)
      latest_BxSxS = latest_BxSxS & ~again_BxS[:, None]
      had = Had(latest_BxSxS, had.path_BxSxLp1, items_before(earlier_BxX, trie))
    choice_BxS, again_BxS = choice_log_likelihood(
      logit, new_BxS, met, item_BxP, target_BxS, trie.used
    )
    levels_BxSxL = self.target_log_likelihood(
      all_states, visible_of_all, target_BxS, trie, path_NxLp1, train, had
    )
    levels_BxSxL = jnp.where(again_BxS[..., None], 0.0, levels_BxSxL)
    head = self.config.item_head
    items = self._item_log_likelihood(states, target_BxS, trie, train) if head else None
    return MixedLogLikelihood(levels_BxSxL, choice_BxS, items)

  def _history_scores(
    self,
    events: Events,
    states: jax.Array,
    visible: jax.Array,
    last_B: jax.Array,
    last_BxD: jax.Array,
  ) -> HistoryScores:
    """What may come again after the newest item of each history, whose state is `last_BxD`."""
    item_BxS, at_Bx1 = events.item_BxS, last_B[:, None]
    row_B = jnp.arange(last_B.shape[0])
    latest_BxSxS, count_BxS = latest_places(item_BxS, visible)
    distance_Bx1xS = (at_Bx1 - jnp.arange(item_BxS.shape[1])[None])[:, None]
    asked_BxS = _asked(events)
    asked_Bx1 = None if asked_BxS is None else asked_BxS[row_B, last_B][:, None]
    seconds = _seconds(asked_Bx1, events.time_BxS)
    query_Bx1xD = last_BxD[:, None]
    logit_Bx1xS, new_Bx1 = self.repeats(query_Bx1xD, states, count_BxS, distance_Bx1xS, seconds)
    item, logit = jnp.where(latest_BxSxS[row_B, last_B], item_BxS, NO_ITEM), logit_Bx1xS[:, 0]
    if (earlier_BxX := events.earlier_BxX) is not None:
      alive_BxSxX, _ = still_earlier(earlier_BxX, item_BxS, visible)
      earlier_BxX = jnp.where(alive_BxSxX[row_B, last_B], earlier_BxX, NO_ITEM)
      of_earlier_Bx1xX = self.repeats.of_earlier(query_Bx1xD, earlier_BxX.shape[1])
      item = jnp.concatenate([item, earlier_BxX], axis=1)
      logit = jnp.concatenate([logit, of_earlier_Bx1xX[:, 0]], axis=1)
    return HistoryScores(item, logit, new_Bx1[:, 0])

  def _item_log_likelihood(
    self, states: jax.Array, target_BxS: jax.Array, trie: Trie, train: bool
  ) -> jax.Array:
    states_BxSxD = states[:, states.shape[1] - target_BxS.shape[1] :]  # without those of users
    negative_X, count = None, self.config.item_negatives
    if train and count:
      negative_X = draw_distinct(self.make_rng("negatives"), self.sizes.num_items, count)
    # Rows that are room for more are no items; where they are drawn, fewer items compete.
    own = self.config.item_embedding
    bias_N = self.item_bias_N if own else jnp.zeros(self.sizes.num_items)
    bias_N = masked_behind(bias_N, trie.used)
    items = self._item_vectors(trie.codes_NxL)
    return item_log_likelihood(states_BxSxD, target_BxS, items, bias_N, negative_X)

  def _item_vectors(self, codes_NxL: jax.Array | PackedCodes) -> ItemVectors:
    """What the item head multiplies states with."""
    c = self.config
    if c.item_embedding and not c.item_width:
      return ItemVectors(self.item_NxR)
    row_NxR, lift_RxD = (self.item_NxR, self.item_lift_RxD) if c.item_embedding else (None, None)
    return ItemVectors(row_NxR, lift_RxD, self.item_code_LxVxD, codes_NxL)

  def item_scores(
    self, encoded: EncoderOutput, item_BxK: jax.Array, codes_NxL: jax.Array | PackedCodes
  ) -> jax.Array:
    """The item head's log p of some items, up to a constant of the history: float32 [B, K]."""
    item_BxKxD = self._item_vectors(codes_NxL).of(item_BxK)
    score_BxK = jnp.einsum("bd,bkd->bk", encoded.last_BxD.astype(jnp.float32), item_BxKxD)
    return score_BxK + self.item_bias_N[item_BxK] if self.config.item_embedding else score_BxK

  def all_item_scores(
    self, encoded: EncoderOutput, codes_NxL: jax.Array | PackedCodes
  ) -> jax.Array:
    """What `item_scores` gives each item row, in full float32: [B, N]."""
    last_BxD, item_NxD = encoded.last_BxD.astype(jnp.float32), self._item_vectors(codes_NxL).of()
    score_BxN = jnp.einsum("bd,nd->bn", last_BxD, item_NxD, precision="highest")
    if not self.config.item_embedding:
      return score_BxN
    return score_BxN + rows_at(self.item_bias_N, None)[None]


def _with_users(visible: jax.Array, segment_BxS: jax.Array | None, users: int) -> jax.Array:
  """Who sees whom, with a state in front for each history of a row: bool [B, W + S, W + S].

  Positions see the state of their own history, and that sees itself alone.
  """
  batch, length = visible.shape[0], visible.shape[-1]
  segment_BxS = jnp.zeros((batch, length), jnp.int32) if segment_BxS is None else segment_BxS
  own = segment_BxS[:, :, None] == jnp.arange(users)[None, None]
  themselves = jnp.eye(users, users + length, dtype=bool)
  themselves = jnp.broadcast_to(themselves, (batch, *themselves.shape))
  return jnp.concatenate([themselves, jnp.concatenate([own, visible], axis=2)], axis=1)


def _asked(events: Events) -> jax.Array | None:
  """When what follows each event is asked for, as far as the model knows: int32 [B, S], or None."""
  return events.time_BxS if events.asked_BxS is None else events.asked_BxS


def _seconds(asked_BxQ: jax.Array | None, time_BxS: Any) -> jax.Array | None:
  """From each event to what is asked for: int32 [B, Q, S]; None where times are not read."""
  return None if asked_BxQ is None else asked_BxQ[:, :, None] - time_BxS[:, None, :]
