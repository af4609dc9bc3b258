"""SASRec: a causal transformer whose output layer is its item table.

Kang and McAuley, 'Self-Attentive Sequential Recommendation', ICDM 2018,
arXiv:1808.09781. As there, every position predicts its next item in one pass and
an item's score is the product of the position's state and the item's embedding.
Unlike there, the loss is the softmax over the whole catalogue (or over many
sampled items), which does much better than one binary negative (Klenitskiy and
Vasilev, RecSys 2023, arXiv:2309.07602), and the blocks are this package's own.

Here X counts sampled items.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import ITEMS_ALONE, Events, InputsConfig
from sidrec.models.dropout import Dropout
from sidrec.models.encoder import EncoderBlock
from sidrec.models.histories import item_rows
from sidrec.models.inputs import EventInputs, events_of
from sidrec.models.item_softmax import draw_distinct, item_log_likelihood, item_scores
from sidrec.models.layers import Norm
from sidrec.models.positions import positions


@dataclasses.dataclass(frozen=True)
class SASRecSettings:
  """The settings of `config.sasrec.model`: shapes and rates."""

  history_length: int = 200  # the most positions that a row has
  width: int = 64  # D, of states and item embeddings
  heads: int = 2  # of attention; must divide `width`
  layers: int = 2
  hidden: int = 256  # inner width of the feed-forward maps
  dropout: float = 0.2  # of embeddings, attention and feed-forward
  item_bias: bool = False  # each item's popularity
  negatives: int = 0  # sampled items of the softmax in training; 0 for all items
  dtype: str = "float32"  # of the computation; parameters and softmax stay float32
  inputs: InputsConfig = ITEMS_ALONE  # what is read beside items

  def __post_init__(self):
    if self.width % self.heads:
      raise ValueError(f"sasrec.width {self.width} must be a multiple of sasrec.heads {self.heads}")
    if self.negatives < 0:
      raise ValueError(f"sasrec.negatives must be 0 or more, not {self.negatives}")
    if self.inputs.earlier:
      raise ValueError("SASRec reads nothing before its history; set its inputs.earlier to 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SASRecConfig(SASRecSettings):
  """The settings and the size of the catalogue; hashable, so static under jit."""

  num_items: int  # N


class SASRec(nn.Module):
  """The model. `log_likelihood` trains it; `recommend` ranks the catalogue with it."""

  config: SASRecConfig

  def setup(self):  # noqa: D102
    c = self.config
    table = nn.initializers.normal(0.02)
    dtype = jnp.dtype(c.dtype)
    self.item_NxD = self.param("item", table, (c.num_items, c.width))
    self.position_SxD = self.param("position", table, (c.history_length, c.width))
    if c.item_bias:
      self.bias_N = self.param("item_bias", nn.initializers.zeros, (c.num_items,))
    shape = (c.heads, c.width // c.heads, c.width, c.hidden)
    self.blocks = [EncoderBlock(*shape, c.dropout, dtype) for _ in range(c.layers)]
    if c.inputs.any:
      self.inputs = EventInputs(c.inputs, c.width, c.heads, c.layers)
    self.norm, self.drop = Norm(dtype), Dropout(c.dropout)

  def states(
    self,
    history_BxS: jax.Array | Events,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """What each position knows of its history, itself included.

    Args:
      history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; S is at most
        `history_length`. Or events.
      segment_BxS: int32, where several histories share a row, which one each position
        belongs to; non-decreasing along a row. None for one history a row.
      train: whether to drop; needs the random stream 'dropout'.

    Returns:
      states_BxSxD in the config's dtype.
    """
    c = self.config
    events = events_of(history_BxS, c.inputs)
    row_BxS = events.item_BxS
    if segment_BxS is None:
      segment_BxS = jnp.zeros_like(row_BxS)
    real_BxS = row_BxS != NO_ITEM
    place_S = jnp.arange(row_BxS.shape[1])
    visible_BxSxS = real_BxS[:, None, :] & (place_S[:, None] >= place_S[None])[None]
    visible_BxSxS = visible_BxSxS & (segment_BxS[:, :, None] == segment_BxS[:, None, :])
    item_BxSxD = jnp.where(real_BxS[..., None], self.item_NxD[jnp.maximum(row_BxS, 0)], 0.0)
    # The table is as small as an output layer wants it; as an input it has to outweigh positions.
    x_BxSxD = item_BxSxD * c.width**0.5 + self.position_SxD[positions(segment_BxS)]
    biases = [None] * c.layers
    if c.inputs.any:
      x_BxSxD = x_BxSxD + self.inputs.embed(events, segment_BxS)
      biases = self.inputs.biases(events)
    x_BxSxD = x_BxSxD.astype(c.dtype)
    x_BxSxD = self.drop(x_BxSxD, deterministic=not train)
    for block, bias in zip(self.blocks, biases, strict=True):
      x_BxSxD = block(x_BxSxD, visible_BxSxS, train, bias, causal=True)
    return self.norm(x_BxSxD)

  def log_likelihood(
    self,
    history_BxS: jax.Array | Events,
    target_BxS: jax.Array,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """log p(target | history up to its position): float32 [B, S], 0 where there is no target.

    Args:
      history_BxS: as in `states`.
      target_BxS: int32 item rows, NO_ITEM where there is none.
      segment_BxS: as in `states`.
      train: whether to drop, and to run the softmax over the target and the
        `negatives` alone; needs the random streams 'dropout' and 'negatives'.
    """
    c = self.config
    states_BxSxD = self.states(history_BxS, segment_BxS, train)
    if train and c.negatives:
      negative_X = draw_distinct(self.make_rng("negatives"), c.num_items, c.negatives)
    else:
      negative_X = None
    return item_log_likelihood(states_BxSxD, target_BxS, self.item_NxD, self._bias(), negative_X)

  def _bias(self):
    return self.bias_N if self.config.item_bias else None

  def next_item(self, history_BxS: jax.Array | Events) -> jax.Array:
    """log p(each item comes after the history's last): float32 [B, N].

    Args:
      history_BxS: as in `states`, one history a row. Under jit it ends before the first entry
        that is no item row; outside, such entries are refused as in `histories.item_rows`.
    """
    events = events_of(history_BxS, self.config.inputs)
    history_BxS = item_rows(events.item_BxS, self.config.num_items)
    states_BxSxD = self.states(events._replace(item_BxS=history_BxS))
    last_B = jnp.maximum((history_BxS != NO_ITEM).sum(axis=1) - 1, 0)
    last_BxD = states_BxSxD[jnp.arange(len(last_B)), last_B]
    return jax.nn.log_softmax(item_scores(last_BxD, self.item_NxD, self._bias()))
