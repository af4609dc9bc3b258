"""The dense recommender: every position of a history predicts its next item in the same pass.

Each history item is one position: the sum of its level embeddings, and an item embedding. The
encoder is causal.

With the item head, the encoder also predicts the next item itself, by a softmax over its item
table, as SASRec does. The two read different things in a history, so that their scores together
rank better than either alone: the search adds the item head's scores to those of the items that
its beams found.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.packed_codes import PackedCodes
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.models.histories import item_rows
from sidrec.models.inputs import events_of
from sidrec.models.item_softmax import draw_distinct, item_log_likelihood


class Dense(SemanticIDModel):
  """Target q of `log_likelihood` follows position q of the history: Q = S."""

  causal = True

  def setup(self):  # noqa: D102
    super().setup()
    if self.config.item_head:
      num_items = self.sizes.num_items
      self.item_bias_N = self.param("item_bias", nn.initializers.zeros, (num_items,))

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
      [B, S, D] in the config's dtype, and bool [B, S, S].
    """
    events, biases = events_of(history_BxS, self.config.inputs), [None] * len(self.encoder)
    history_BxS, length = events.item_BxS, events.shape[1]
    item_BxS = jnp.maximum(history_BxS, 0)
    x_BxSxLxD = self._embed_codes(codes_NxL[item_BxS])
    shared_BxSxD = self._embed_places(history_BxS, segment_BxS)
    if self.config.item_embedding:
      # As an output, the table is small; as an input it has to outweigh positions.
      scale = self.config.width**0.5 if self.config.item_head else 1.0
      shared_BxSxD = shared_BxSxD + self.item_NxD[item_BxS] * scale
    if self.config.inputs.any:
      shared_BxSxD = shared_BxSxD + self.inputs.embed(events, segment_BxS)
      biases = self.inputs.biases(events)
    visible = (history_BxS != NO_ITEM)[:, None, :] & jnp.tril(jnp.ones((length, length), bool))[
      None
    ]
    if segment_BxS is not None:
      visible = visible & (segment_BxS[:, :, None] == segment_BxS[:, None, :])
    x_BxSxD = x_BxSxLxD.sum(axis=2) + shared_BxSxD
    return self._run_encoder(x_BxSxD, visible, train, biases), visible

  def encode(
    self,
    history_BxS: jax.Array | Events,
    codes_NxL: jax.Array | PackedCodes,
    beams: int | None = None,
    num_items: jax.Array | int | None = None,
  ) -> EncoderOutput:
    """Encodes histories for `step`; see `SemanticIDModel.encode`."""
    events = events_of(history_BxS, self.config.inputs)
    history_BxS = item_rows(events.item_BxS, len(codes_NxL) if num_items is None else num_items)
    events = events._replace(item_BxS=history_BxS)
    states, visible = self.encode_states(events, codes_NxL)
    row_B = jnp.arange(history_BxS.shape[0])
    last_B = jnp.maximum((history_BxS != NO_ITEM).sum(axis=1) - 1, 0)
    last_BxD = states[row_B, last_B]
    cross = self.cross_attention_inputs(states, beams)
    return EncoderOutput(self.start_D[None] + last_BxD, last_BxD, cross, visible[row_B, last_B])

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
    """
    states, visible = self.encode_states(history_BxS, trie.codes_NxL, segment_BxS, train)
    levels_BxSxL = self.target_log_likelihood(states, visible, target_BxS, trie, path_NxLp1, train)
    negative_X, count = None, self.config.item_negatives
    if train and count:
      negative_X = draw_distinct(self.make_rng("negatives"), self.sizes.num_items, count)
    item_BxS = item_log_likelihood(states, target_BxS, self.item_NxD, self.item_bias_N, negative_X)
    return levels_BxSxL, item_BxS

  def item_scores(self, encoded: EncoderOutput, item_BxK: jax.Array) -> jax.Array:
    """The item head's log p of some items, up to a constant of the history: float32 [B, K]."""
    item_BxKxD = self.item_NxD[item_BxK]
    score_BxK = jnp.einsum("bd,bkd->bk", encoded.last_BxD.astype(jnp.float32), item_BxKxD)
    return score_BxK + self.item_bias_N[item_BxK]
