"""The recommender of TIGER's paper: a history is S·L tokens, read in both directions.

Each example has one target, after the last item. With `user_tokens`, histories are [B, 1 + S]:
column 0 holds the user's token, which the encoder reads before the history.
"""

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.packed_codes import PackedCodes
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.base import CODE_INIT, EncoderOutput, SemanticIDModel
from sidrec.models.histories import item_rows
from sidrec.models.inputs import events_of


class Tiger(SemanticIDModel):
  """`log_likelihood` takes one target for each history: Q = 1."""

  causal = False
  reads_events = True
  grows = True

  def setup(self):  # noqa: D102
    super().setup()
    if self.config.user_tokens:
      shape = (self.config.user_tokens, self.config.width)
      self.user_embedding = self.param("user", CODE_INIT, shape)

  def encode_states(
    self,
    history_BxS: jax.Array | Events,
    codes_NxL: jax.Array | PackedCodes,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    """The encoder's states, and which of them are real.

    Args:
      history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; before them a user's
        token if the config has user tokens. Or events, with such items.
      codes_NxL: the semantic ID of every item.
      segment_BxS: as in `Dense`, for positions only: the histories of one row see each other.
      train: whether to drop.

    Returns:
      [B, S·L, D] in the config's dtype, and bool [B, 1, S·L]; a user's token adds one state in
      front, and so do users' attributes.
    """
    c, num_levels = self.config, self.sizes.num_levels
    first = c.input_length - c.history_length
    events = events_of(history_BxS, self.config.inputs)
    user_Bx1, history_BxS = events.item_BxS[:, :first], events.item_BxS[:, first:]
    events = events._replace(item_BxS=history_BxS)
    item_BxS = jnp.maximum(history_BxS, 0)
    x_BxSxLxD = self._embed_codes(codes_NxL[item_BxS])
    shared_BxSxD = self._embed_places(history_BxS, segment_BxS)
    if c.item_embedding:
      shared_BxSxD = shared_BxSxD + self._embed_items(item_BxS)
    if c.inputs.any:
      shared_BxSxD = shared_BxSxD + self.inputs.embed(events, segment_BxS)
    x_BxSxLxD = x_BxSxLxD + shared_BxSxD[:, :, None] + self.level_LxD[None, None]
    batch, length = history_BxS.shape
    x = x_BxSxLxD.reshape(batch, length * num_levels, c.width)
    visible = jnp.repeat(history_BxS != NO_ITEM, num_levels, axis=1)[:, None]
    if c.user_tokens:
      x = jnp.concatenate([self.user_embedding[user_Bx1], x], axis=1)
    if c.inputs.user_attributes:
      x = jnp.concatenate([self.inputs.of_users(events.user_BxX, train), x], axis=1)
    in_front = x.shape[1] - visible.shape[-1]
    visible = jnp.pad(visible, ((0, 0), (0, 0), (in_front, 0)), constant_values=True)
    return self._run_encoder(x, visible, train, [None] * c.encoder_layers), visible

  def encode(
    self,
    history_BxS: jax.Array | Events,
    codes_NxL: jax.Array | PackedCodes,
    beams: int | None = None,
    num_items: jax.Array | int | None = None,
  ) -> EncoderOutput:
    """Encodes histories for `step`; see `SemanticIDModel.encode`."""
    first = self.config.input_length - self.config.history_length
    num_items = len(codes_NxL) if num_items is None else num_items
    events = events_of(history_BxS, self.config.inputs)
    user_Bx1 = events.item_BxS[:, :first]
    history_BxS = item_rows(events.item_BxS[:, first:], num_items)
    user_Bx1 = jnp.clip(user_Bx1.astype(jnp.int32), 0, max(self.config.user_tokens - 1, 0))
    history_BxS = jnp.concatenate([user_Bx1, history_BxS], axis=1)
    states, visible = self.encode_states(events._replace(item_BxS=history_BxS), codes_NxL)
    start_BxD = jnp.broadcast_to(self.start_D, (history_BxS.shape[0], self.config.width))
    cross = self.cross_attention_inputs(states, beams)
    return EncoderOutput(start_BxD, states[:, 0], cross, visible[:, 0])
