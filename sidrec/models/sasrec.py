"""SASRec: a causal transformer whose output layer is its item table.

Kang and McAuley, 'Self-Attentive Sequential Recommendation', ICDM 2018,
arXiv:1808.09781. As there, every position predicts its next item in one pass and
an item's score is the product of the position's state and the item's embedding.
Unlike there, the loss is the softmax over the whole catalogue (or over many
sampled items), which does much better than one binary negative (Klenitskiy and
Vasilev, RecSys 2023, arXiv:2309.07602), and the blocks are this package's own.

With a frequency filter next to attention the model is BSARec; see `frequency`.

Here X counts sampled items.
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.core.settings import check_choices
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.data.inputs import ITEMS_ALONE, InputsConfig
from sidrec.models.dropout import Dropout
from sidrec.models.encoder import EncoderBlock
from sidrec.models.filtered_block import FilteredBlock, taken
from sidrec.models.frequency import BSAREC_FILTER, NO_FILTER, FilterConfig
from sidrec.models.histories import item_rows
from sidrec.models.inputs import EventInputs, events_of
from sidrec.models.item_softmax import draw_distinct, item_log_likelihood, item_scores
from sidrec.models.item_vectors import ItemVectors
from sidrec.models.layers import Norm
from sidrec.models.positions import positions
from sidrec.models.table_params import table_param


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
  norms: Literal["before", "after"] = "before"  # of what a block adds, or of the sum
  counted_from: Literal["oldest", "newest"] = "oldest"  # item, the places in a history
  filter: FilterConfig = NO_FILTER  # with a share above 0 this is BSARec
  inputs: InputsConfig = ITEMS_ALONE  # what is read beside items

  def __post_init__(self):
    if self.width % self.heads:
      raise ValueError(f"sasrec.width {self.width} must be a multiple of sasrec.heads {self.heads}")
    if self.negatives < 0:
      raise ValueError(f"sasrec.negatives must be 0 or more, not {self.negatives}")
    if self.inputs.earlier:
      raise ValueError("SASRec reads nothing before its history; set its inputs.earlier to 0")
    if self.inputs.user_attributes:
      raise ValueError(
        "SASRec reads nothing of users; set its inputs.user_attributes to (); config.model keeps "
        "its own"
      )
    if self.filter.share and self.norms == "before":
      raise ValueError("sasrec.filter.share needs sasrec.norms='after', as BSARec has them")
    check_choices(self)

  @property
  def one_target(self) -> bool:
    """Whether a position's state depends on what comes later, so that only the last may predict."""
    return self.filter.sees_ahead or self.counted_from == "newest"


@dataclasses.dataclass(frozen=True)
class BSARecSettings(SASRecSettings):
  """The settings of `config.bsarec.model`: those of BSARec's paper for Amazon Beauty."""

  history_length: int = 50
  heads: int = 1
  dropout: float = 0.5
  norms: Literal["before", "after"] = "after"
  counted_from: Literal["oldest", "newest"] = "newest"
  filter: FilterConfig = BSAREC_FILTER


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
    self.item_NxD = table_param(self, "item", table, (c.num_items, c.width))
    self.position_SxD = self.param("position", table, (c.history_length, c.width))
    if c.item_bias:
      self.bias_N = table_param(self, "item_bias", nn.initializers.zeros, (c.num_items,))
    shape = (c.heads, c.width // c.heads, c.width, c.hidden)
    if c.norms == "before":
      self.blocks = [EncoderBlock(*shape, c.dropout, dtype) for _ in range(c.layers)]
    else:
      block = FilteredBlock(c.heads, c.hidden, c.history_length, c.dropout, c.filter, dtype)
      self.blocks = [block.clone() for _ in range(c.layers)]
    if c.inputs.any:
      self.inputs = EventInputs(c.inputs, c.width, c.heads, c.layers)
    self.norm, self.drop = Norm(dtype), Dropout(c.dropout)

  def states(
    self,
    history_BxS: jax.Array | Events,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
    at_BxQ: jax.Array | None = None,
  ) -> jax.Array:
    """What each position knows of its history, itself included.

    Args:
      history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; S is at most
        `history_length`. Or events.
      segment_BxS: int32, where several histories share a row, which one each position
        belongs to; non-decreasing along a row. None for one history a row.
      train: whether to drop; needs the random stream 'dropout'.
      at_BxQ: int32, the positions to return; None for all.

    Returns:
      states_BxSxD or states_BxQxD in the config's dtype.
    """
    c = self.config
    events = events_of(history_BxS, c.inputs)
    row_BxS = events.item_BxS
    if segment_BxS is None:
      segment_BxS = jnp.zeros_like(row_BxS)
    real_BxS = row_BxS != NO_ITEM
    place_S = jnp.arange(row_BxS.shape[1])
    visible_BxSxS = real_BxS[:, None, :] & (place_S[:, None] >= place_S[None])[None]
    same_BxSxS = segment_BxS[:, :, None] == segment_BxS[:, None, :]
    visible_BxSxS = visible_BxSxS & same_BxSxS
    item_BxSxD = jnp.where(real_BxS[..., None], self.item_NxD[jnp.maximum(row_BxS, 0)], 0.0)
    # The table is as small as an output layer wants it; as an input it has to outweigh positions.
    x_BxSxD = item_BxSxD * c.width**0.5 + self.position_SxD[self._places(segment_BxS, real_BxS)]
    biases = [None] * c.layers
    if c.inputs.any:
      x_BxSxD = x_BxSxD + self.inputs.embed(events, segment_BxS)
      biases = self.inputs.biases(events)
    x_BxSxD = x_BxSxD.astype(c.dtype)
    if c.norms == "after":
      x_BxSxD = self.norm(x_BxSxD)
    x_BxSxD = self.drop(x_BxSxD, deterministic=not train)
    filtered_BxSxS = same_BxSxS & real_BxS[:, None, :] if c.filter.ahead else visible_BxSxS
    for number, (block, bias) in enumerate(zip(self.blocks, biases, strict=True)):
      if isinstance(block, FilteredBlock):
        at = at_BxQ if number == c.layers - 1 else None
        x_BxSxD = block(x_BxSxD, visible_BxSxS, filtered_BxSxS, train, bias, at)
      else:
        x_BxSxD = block(x_BxSxD, visible_BxSxS, train, bias, causal=True)
    if c.norms == "after":
      return x_BxSxD
    return self.norm(x_BxSxD if at_BxQ is None else taken(x_BxSxD, at_BxQ))

  def _places(self, segment_BxS: jax.Array, real_BxS: jax.Array) -> jax.Array:
    """Where each position stands in its history: int32 [B, S]."""
    if self.config.counted_from == "oldest":
      return positions(segment_BxS)
    # What follows the newest item is not of its history.
    apart_BxS = jnp.where(real_BxS, segment_BxS, segment_BxS.shape[1])
    return positions(apart_BxS[:, ::-1])[:, ::-1]

  def log_likelihood(
    self,
    history_BxS: jax.Array | Events,
    target_BxQ: jax.Array,
    segment_BxS: jax.Array | None = None,
    at_BxQ: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """log p(target | history up to its position): float32 [B, Q], 0 where there is no target.

    Args:
      history_BxS: as in `states`.
      target_BxQ: int32 item rows, NO_ITEM where there is none.
      segment_BxS: as in `states`.
      at_BxQ: int32, the positions that the targets follow; None for each in turn, where Q is S.
      train: whether to drop, and to run the softmax over the target and the
        `negatives` alone; needs the random streams 'dropout' and 'negatives'.
    """
    c = self.config
    if c.one_target and at_BxQ is None:
      raise ValueError(
        "states that depend on later positions would see their targets: give one target for each "
        "prefix of a history (train.predicts='last')"
      )
    states_BxQxD = self.states(history_BxS, segment_BxS, train, at_BxQ)
    if train and c.negatives:
      negative_X = draw_distinct(self.make_rng("negatives"), c.num_items, c.negatives)
    else:
      negative_X = None
    items = ItemVectors(self.item_NxD)
    return item_log_likelihood(states_BxQxD, target_BxQ, items, self._bias(), negative_X)

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
    last_Bx1 = jnp.maximum((history_BxS != NO_ITEM).sum(axis=1, keepdims=True) - 1, 0)
    last_BxD = self.states(events._replace(item_BxS=history_BxS), at_BxQ=last_Bx1)[:, 0]
    return jax.nn.log_softmax(item_scores(last_BxD, ItemVectors(self.item_NxD), self._bias()))
