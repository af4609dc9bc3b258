"""What the recommender's two architectures share: the tables and the decoder.

The decoder writes the semantic ID of the next item level by level (TIGER: Rajput et al., NeurIPS
2023). The softmax of each level runs over the real continuations of the prefix only, in training
as in search, so that the model is a distribution over items; see `level_softmax.py`.

With `constrained_softmax=False` the softmax runs over all codes of a level, as in TIGER. Part of
the probability then goes to IDs that no item has, in training and in the scores of a search, which
still finds items only.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.packed_codes import PackedCodes
from sidrec.catalogue.trie.trie import Children, Trie
from sidrec.data.events import Events
from sidrec.models.decoder import DecoderBlock
from sidrec.models.dropout import Dropout
from sidrec.models.encoder import EncoderBlock
from sidrec.models.inputs import EventInputs, added
from sidrec.models.interface import NextItemModel
from sidrec.models.item_vectors import ItemVectors, embedded
from sidrec.models.layers import AbsorbedKeyValues, KeyValues, Norm
from sidrec.models.level_softmax import LevelTables
from sidrec.models.positions import RelativeBias, behind, positions
from sidrec.models.repeats import Had, HistoryScores, check_new_only
from sidrec.models.settings import CatalogueSizes, RecommenderConfig
from sidrec.models.table_params import table_param

TABLE_INIT = nn.initializers.normal(0.02)
CODE_INIT = nn.initializers.normal(0.05)
LIFT_INIT = nn.initializers.lecun_normal()  # vectors are as large as rows


class EncoderOutput(NamedTuple):
  """What the decoder needs of a history; computed once and shared by all its beams."""

  start_BxD: jax.Array  # the decoder's first input
  last_BxD: jax.Array  # the encoder's state after the newest item; unused in the tiger setting
  cross: tuple[KeyValues | AbsorbedKeyValues, ...]  # what each decoder layer attends to
  mask_BxS: jax.Array  # which encoder states are real
  again: HistoryScores | None = None  # where items of the history have a share of their own
  latest_BxA: jax.Array | None = None  # the newest items, where a search reads them


class SemanticIDModel(NextItemModel):
  """Base of `Dense` and `Tiger`: `log_likelihood` trains, `encode` and `step` serve the search."""

  config: RecommenderConfig
  sizes: CatalogueSizes
  settings: Any = None
  causal: ClassVar[bool]  # whether history position q predicts target q and sees nothing behind it

  def setup(self):  # noqa: D102
    # The order counts: Flax draws the initial values of parameters by their number.
    c, sizes = self.config, self.sizes
    self.code_LxVxD = self.param(
      "code", CODE_INIT, (sizes.num_levels, sizes.codebook_size, c.width)
    )
    if c.item_embedding:
      shape = sizes.num_items, c.item_width or c.width
      self.item_NxR = table_param(self, "item", TABLE_INIT, shape)
    if c.positions == "absolute":
      self.position_SxD = self.param("position", TABLE_INIT, (c.history_length, c.width))
      self.level_LxD = self.param("level", TABLE_INIT, (sizes.num_levels, c.width))
    else:  # attention alone tells places apart
      self.position_SxD = jnp.zeros((c.history_length, c.width))
      self.level_LxD = jnp.zeros((sizes.num_levels, c.width))
      self.encoder_bias = RelativeBias(c.heads, bidirectional=not self.causal)
      self.decoder_bias = RelativeBias(c.heads, bidirectional=False)
    self.start_D = self.param("start", TABLE_INIT, (c.width,))
    out_shape = (sizes.num_levels, c.width, sizes.codebook_size)
    self.out_LxDxV = self.param("out", nn.initializers.lecun_normal(), out_shape)
    if c.node_bias:
      self.bias_E = self.param("node_bias", nn.initializers.zeros, (sizes.num_nodes,))
    if c.node_vectors:
      self.node_ExR = self.param("node", TABLE_INIT, (sizes.num_nodes, c.node_width or c.width))
    self._make_blocks()
    if c.unseen:
      self._make_unseen()
    if c.item_embedding and c.item_width:
      self.item_lift_RxD = self.param("item_lift", LIFT_INIT, (c.item_width, c.width))
    if c.node_vectors and c.node_width:
      self.node_lift_RxD = self.param("node_lift", LIFT_INIT, (c.node_width, c.width))

  def _make_blocks(self) -> None:
    c, dtype = self.config, jnp.dtype(self.config.dtype)
    shape = (c.heads, c.head_width, c.width, c.hidden)
    encoder_block, decoder_block = EncoderBlock, DecoderBlock
    if c.remat:  # `train` and `causal` are static
      encoder_block = nn.remat(EncoderBlock, static_argnums=(3, 5))
      decoder_block = nn.remat(DecoderBlock, static_argnums=(4, 6), methods=["__call__"])
    self.encoder = [
      encoder_block(*shape, c.encoder_dropout, dtype) for _ in range(c.encoder_layers)
    ]
    self.decoder = [
      decoder_block(*shape, c.decoder_dropout, dtype) for _ in range(c.decoder_layers)
    ]
    self.encoder_norm, self.decoder_norm = Norm(dtype), Norm(dtype)
    if c.inputs.any:
      self.inputs = EventInputs(c.inputs, c.width, c.heads, c.encoder_layers)
    self.encoder_drop = Dropout(c.encoder_dropout)
    self.decoder_drop = Dropout(c.decoder_dropout)

  def _make_unseen(self) -> None:
    """The rows that `unseen.hide` and `transfer` put in place of others."""
    c, zeros, levels = self.config, nn.initializers.zeros, self.sizes.num_levels
    if c.node_vectors:
      self.unseen_node_LxD = self.param("unseen_node", zeros, (levels, c.node_width or c.width))
    if c.node_bias:
      self.unseen_node_bias_L = self.param("unseen_node_bias", zeros, (levels,))
    if c.item_embedding:
      self.unseen_item_D = self.param("unseen_item", TABLE_INIT, (c.item_width or c.width,))
    if c.item_head and c.item_embedding:
      self.unseen_item_bias = self.param("unseen_item_bias", zeros, ())

  # What `Dense` and `Tiger` define.

  def encode_states(
    self,
    history_BxS: jax.Array | Events,
    codes_NxL: jax.Array | PackedCodes,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    """The encoder's states, and which of them each target sees."""
    raise NotImplementedError

  def encode(
    self,
    history_BxS: jax.Array | Events,
    codes_NxL: jax.Array | PackedCodes,
    beams: int | None = None,
    num_items: jax.Array | int | None = None,
  ) -> EncoderOutput:
    """Encodes histories for `step`.

    Args:
      history_BxS: as in `encode_states`. Under jit a history ends before the first entry that is
        no item row; outside, such entries are refused as in `histories.item_rows`.
      codes_NxL: the semantic ID of every item.
      beams: as in `cross_attention_inputs`.
      num_items: how many rows are items; None for all rows of the codes.
    """
    raise NotImplementedError

  def log_likelihood(
    self,
    history_BxS: jax.Array | Events,
    target_BxQ: jax.Array,
    trie: Trie,
    path_NxLp1: jax.Array,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """log p(each level of the target | history, levels before): float32 [B, Q, L].

    Targets may be NO_ITEM: their values mean nothing. `segment_BxS` is as in `encode_states`.

    Raises:
      ValueError: for a model with repeats, where this is not log p; see `mixed_log_likelihood`.
    """
    check_new_only(self.config.repeats)
    states, visible = self.encode_states(history_BxS, trie.codes_NxL, segment_BxS, train)
    return self.target_log_likelihood(states, visible, target_BxQ, trie, path_NxLp1, train)

  # Encoder.

  def _embed_codes(self, codes_xL: jax.Array) -> jax.Array:
    """Embeds codes [..., l ≤ L] of the first l levels: [..., l, D]."""
    return embedded(self.code_LxVxD, codes_xL)

  def _embed_items(self, item_BxS: jax.Array) -> jax.Array:
    """The embedding of each item row by its own numbers: [B, S, D]."""
    lift_RxD = self.item_lift_RxD if self.config.item_width else None
    return ItemVectors(self.item_NxR, lift_RxD).of(item_BxS)

  def _embed_places(self, history_BxS: jax.Array, segment_BxS: jax.Array | None) -> jax.Array:
    """The embedding of each position's place within its history: [B, S, D]."""
    segment_BxS = jnp.zeros_like(history_BxS) if segment_BxS is None else segment_BxS
    return self.position_SxD[positions(segment_BxS)]

  def _run_encoder(
    self,
    x_BxSxD: jax.Array,
    visible_BxQxS: jax.Array,
    train: bool,
    biases: Sequence[jax.Array | None],
    placeless: int = 0,
  ) -> jax.Array:
    """The encoder's states; each layer has a bias of its own, or None, beside that by place.

    So many states in front stand at no place, and no bias is theirs.
    """
    x_BxSxD = self.encoder_drop(x_BxSxD.astype(self.config.dtype), deterministic=not train)
    bias_HxSxS = None
    if self.config.positions == "relative":
      bias_HxSxS = behind(self.encoder_bias(x_BxSxD.shape[1] - placeless), placeless)
    biases = [behind(bias, placeless) for bias in biases]
    for block, bias in zip(self.encoder, biases, strict=True):
      x_BxSxD = block(x_BxSxD, visible_BxQxS, train, added(bias_HxSxS, bias), self.causal)
    return self.encoder_norm(x_BxSxD)

  # Decoder, all levels of given targets at once.

  def target_log_likelihood(
    self,
    states: jax.Array,
    visible: jax.Array,
    target_BxQ: jax.Array,
    trie: Trie,
    path_NxLp1: jax.Array,
    train: bool = False,
    had: Had | None = None,
  ) -> jax.Array:
    """What `log_likelihood` returns, from the output of `encode_states`.

    With `had`, p is that among the items that were not had before a target. Targets that were had
    get a finite number that means nothing.
    """
    target_BxQ, num_levels = jnp.maximum(target_BxQ, 0), trie.num_levels
    # Where a prefix has one continuation, that has probability 1: nothing has to be computed.
    stop = trie.branching_levels if self.config.constrained_softmax else num_levels
    start_BxQxD = jnp.broadcast_to(self.start_D, (*target_BxQ.shape, self.config.width))
    in_front = states.shape[1] - target_BxQ.shape[1] if self.causal else 0  # states of users
    if self.causal:
      start_BxQxD = start_BxQxD + states[:, in_front:]
    codes_BxQxL, path_BxQxLp1 = trie.codes_NxL[target_BxQ], path_NxLp1[target_BxQ]
    codes_BxQxL, path_BxQxLp1 = codes_BxQxL[..., :stop], path_BxQxLp1[..., : stop + 1]
    hidden_BxQxLxD = self.decode(
      states, start_BxQxD, codes_BxQxL, visible, train, causal=self.causal and not in_front
    )
    tables = self.level_tables()
    logp_BxQxL = tables.log_likelihoods(hidden_BxQxLxD, codes_BxQxL, path_BxQxLp1, trie, had)
    return jnp.pad(logp_BxQxL, ((0, 0), (0, 0), (0, num_levels - stop)))

  def decode(
    self,
    states_BxSxD: jax.Array,
    start_BxQxD: jax.Array,
    codes_BxQxL: jax.Array,
    mask_BxQxS: jax.Array,
    train: bool,
    causal: bool = False,
  ) -> jax.Array:
    """Teacher-forced hidden states [B, Q, L, D]; level l sees the start and codes before l.

    L may be less than there are levels.
    """
    code_BxQxLxD = self._embed_codes(codes_BxQxL[..., :-1])
    x = jnp.concatenate([start_BxQxD[:, :, None], code_BxQxLxD.astype(start_BxQxD.dtype)], axis=2)
    num_levels = codes_BxQxL.shape[-1]
    x = (x + self.level_LxD[None, None, :num_levels]).astype(self.config.dtype)
    x = self.decoder_drop(x, deterministic=not train)
    bias_HxLxL = self._level_bias(num_levels)
    for block in self.decoder:
      x = block(x, block.cross_keys(states_BxSxD), mask_BxQxS, train, bias_HxLxL, causal)
    return self.decoder_norm(x)

  def _level_bias(self, num_levels: int) -> jax.Array | None:
    return self.decoder_bias(num_levels) if self.config.positions == "relative" else None

  def level_tables(self) -> LevelTables:
    """The parameters of the levels' softmaxes."""
    c = self.config
    return LevelTables(
      self.out_LxDxV,
      self.node_ExR if c.node_vectors else None,
      self.bias_E if c.node_bias else None,
      c.constrained_softmax,
      self.node_lift_RxD if c.node_vectors and c.node_width else None,
    )

  def child_logits(
    self,
    hidden_BxKxD: jax.Array,
    level: jax.Array | int,
    children: Children,
    temperature: float = 1.0,
  ) -> jax.Array:
    """Logits of these children, divided by the temperature: float32 [B, K, C], -inf for none.

    Log probabilities where the softmax runs over all codes.
    """
    return self.level_tables().child_logits(hidden_BxKxD, level, children, temperature)

  # Decoder, one level of many beams: what the search calls.

  def cross_attention_inputs(
    self, states_BxSxD: jax.Array, beams: int | None = None
  ) -> tuple[KeyValues | AbsorbedKeyValues, ...]:
    """What each decoder layer attends to: keys and values, or the states where that is less work.

    Keys and values cost 2·S·D·H·I products a layer. Attending to states instead costs
    2·S·H·(D - I) more for each beam and level. With `beams=None` it is keys and values.
    """
    width, head, num_levels = self.config.width, self.config.head_width, self.sizes.num_levels
    if beams is not None and beams * num_levels * (width - head) < width * head:
      return tuple(block.cross_absorbed(states_BxSxD) for block in self.decoder)
    return tuple(block.cross_keys(states_BxSxD) for block in self.decoder)

  def step(
    self,
    encoded: EncoderOutput,
    caches: tuple[KeyValues, ...],
    token_BxK: jax.Array,
    level: jax.Array | int,
    children: Children,
    temperature: float = 1.0,
  ) -> tuple[jax.Array, tuple[KeyValues, ...]]:
    """log p(each child | history, prefix) of every beam.

    Args:
      encoded: the histories.
      caches: self-attention keys and values of the levels before, [B, K, H, P, I] per layer; see
        `DecoderBlock.step`.
      token_BxK: the token chosen at the level before; unused at level 0.
      level: 0 ≤ level < L, static or traced.
      children: of every beam.
      temperature: that logits are divided by.

    Returns:
      float32 log probabilities [B, K, C], -inf where no child is, and the new caches.
    """
    c = self.config
    before = jnp.maximum(level - 1, 0)
    code_BxKxD = self.code_LxVxD.reshape(-1, c.width)[token_BxK + before * self.sizes.codebook_size]
    x_BxKxD = jnp.where(level == 0, encoded.start_BxD[:, None], code_BxKxD)
    x_BxKxD = (x_BxKxD + self.level_LxD[level][None, None]).astype(c.dtype)
    bias_HxLxL, new_caches = self._level_bias(self.sizes.num_levels), []
    for block, cache, cross in zip(self.decoder, caches, encoded.cross, strict=True):
      x_BxKxD, cache = block.step(x_BxKxD, level, cache, cross, encoded.mask_BxS, bias_HxLxL)
      new_caches.append(cache)
    logits = self.child_logits(self.decoder_norm(x_BxKxD), level, children, temperature)
    if not c.constrained_softmax:
      return logits, tuple(new_caches)
    # A beam that died has no child at all: keep its -inf free of NaN.
    total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    return logits - jnp.where(jnp.isfinite(total), total, 0.0), tuple(new_caches)

  def empty_caches(self, batch: int, beams: int, places: int = 0) -> tuple[KeyValues, ...]:
    """Caches before level 0: zeros [B, K, H, P, I] per decoder layer; without places they grow."""
    c = self.config
    zeros = jnp.zeros((batch, beams, c.heads, places, c.head_width), c.dtype)
    return tuple(KeyValues(zeros, zeros) for _ in range(c.decoder_layers))
