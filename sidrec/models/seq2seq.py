"""The recommender: a transformer encoder-decoder over semantic IDs.

The encoder reads the history, the decoder writes the semantic ID of the next
item level by level (TIGER: Rajput et al., NeurIPS 2023). Two settings:

  tiger  the history is S·L tokens, read in both directions; one target per
         example, after the last item.
  dense  each history item is one position (the sum of its level embeddings,
         and an item embedding), the encoder is causal, and every position
         predicts its next item in the same pass.

The softmax of each level runs over the real continuations of the prefix only,
in training as in search, so that the model is a distribution over items. A
child's logit has three parts: its token's, shared by all prefixes, and a vector
and a bias of its trie node alone, which tell items apart that share most of
their ID and hold their popularity. With `constrained_softmax=False` it runs over
all codes of a level, as in TIGER: part of the probability then goes to IDs that
no item has, in training and in the scores of a search, which still finds items only.

With `user_tokens`, histories are [B, 1 + S]: column 0 holds the user's token, which
the encoder reads before the history.

With the item head, the encoder of the dense setting also predicts the next item
itself, by a softmax over its item table, as SASRec does. What the two read in a
history differs, so that their scores together rank better than either's: the
search re-scores the items that its beams found.

Letters: B batch, S history length (items), Q targets decoded side by side,
L levels, V codes per level, D model width, H heads, I width of a head, N items,
E trie nodes, F fan-out (children of a node, padded), U user tokens.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.packed_codes import PackedCodes
from sidrec.catalogue.trie.trie import Trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.dropout import Dropout
from sidrec.models.item_softmax import draw_distinct, item_log_likelihood
from sidrec.models.layers import DecoderBlock, EncoderBlock, KeyValues, Norm, States
from sidrec.models.positions import RelativeBias, positions
from sidrec.models.seq2seq_config import Seq2SeqConfig


class Memory(NamedTuple):
  """Holds what the decoder needs of a history; computed once, shared by all its beams."""

  start_BxD: jax.Array  # the decoder's first input
  last_BxD: jax.Array  # the encoder's state after the newest item (dense setting)
  cross: tuple[KeyValues | States, ...]  # what each decoder layer looks at
  mask_BxS: jax.Array  # which encoder states are real


class Seq2Seq(nn.Module):
  """The encoder-decoder. `log_likelihood` trains it; `remember` and `step` serve the search."""

  config: Seq2SeqConfig

  def setup(self):  # noqa: D102
    c = self.config
    table = nn.initializers.normal(0.02)
    code = nn.initializers.normal(0.05)
    dtype = jnp.dtype(c.dtype)
    self.code_LxVxD = self.param("code", code, (c.num_levels, c.codebook_size, c.width))
    if c.item_embedding:
      self.item_NxD = self.param("item", table, (c.num_items, c.width))
    if c.positions == "absolute":
      self.position_SxD = self.param("position", table, (c.history_length, c.width))
      self.level_LxD = self.param("level", table, (c.num_levels, c.width))
    else:  # attention alone tells places apart
      self.position_SxD = jnp.zeros((c.history_length, c.width))
      self.level_LxD = jnp.zeros((c.num_levels, c.width))
      self.encoder_bias = RelativeBias(c.heads, bidirectional=c.setting == "tiger")
      self.decoder_bias = RelativeBias(c.heads, bidirectional=False)
    self.start_D = self.param("start", table, (c.width,))
    self.out_LxDxV = self.param(
      "out", nn.initializers.lecun_normal(), (c.num_levels, c.width, c.codebook_size)
    )
    if c.node_bias:
      self.bias_E = self.param("node_bias", nn.initializers.zeros, (c.num_nodes,))
    if c.node_vectors:
      self.node_ExD = self.param("node", table, (c.num_nodes, c.width))
    if c.item_head:
      self.item_bias_N = self.param("item_bias", nn.initializers.zeros, (c.num_items,))
    if c.user_tokens:
      self.user_UxD = self.param("user", code, (c.user_tokens, c.width))
    shape = (c.heads, c.head_width, c.width, c.hidden)
    reader, writer = EncoderBlock, DecoderBlock
    if c.remat:  # `train` and `causal` are static
      reader = nn.remat(EncoderBlock, static_argnums=(3, 5))
      writer = nn.remat(DecoderBlock, static_argnums=(4, 6), methods=["__call__"])
    self.encoder = [reader(*shape, c.encoder_dropout, dtype) for _ in range(c.encoder_layers)]
    self.decoder = [writer(*shape, c.decoder_dropout, dtype) for _ in range(c.decoder_layers)]
    self.encoder_norm, self.decoder_norm = Norm(dtype), Norm(dtype)
    self.encoder_drop = Dropout(c.encoder_dropout)
    self.decoder_drop = Dropout(c.decoder_dropout)

  # Encoder.

  def encode(
    self,
    history_BxS: jax.Array,
    codes_NxL: jax.Array | PackedCodes,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    """Encodes histories.

    Args:
      history_BxS: int32 item rows, oldest first, NO_ITEM after the newest; a user's token
        before them where the config has any.
      codes_NxL: the semantic ID of every item.
      segment_BxS: dense setting only: int32, where several histories share a row,
        which one each position belongs to; non-decreasing along a row.
      train: whether to drop.

    Returns:
      States, and which of them each target sees: [B, S, D] and [B, S, S] in the
      dense setting, [B, S·L, D] and [B, 1, S·L] in the tiger setting, where a user's
      token adds one state in front.
    """
    c = self.config
    first = c.input_length - c.history_length
    user_BxP, history_BxS = history_BxS[:, :first], history_BxS[:, first:]
    B, S = history_BxS.shape
    real_BxS = history_BxS != NO_ITEM
    item_BxS = jnp.maximum(history_BxS, 0)
    if segment_BxS is None:
      segment_BxS = jnp.zeros_like(history_BxS)
    x_BxSxLxD = self._embed_codes(codes_NxL[item_BxS])
    shared_BxSxD = self.position_SxD[positions(segment_BxS)]
    if c.item_embedding:
      # As an output, the table is small; as an input it has to outweigh positions.
      scale = c.width**0.5 if c.item_head else 1.0
      shared_BxSxD = shared_BxSxD + self.item_NxD[item_BxS] * scale
    if c.setting == "dense":
      x = x_BxSxLxD.sum(axis=2) + shared_BxSxD
      visible = real_BxS[:, None, :] & jnp.tril(jnp.ones((S, S), bool))[None]
      visible = visible & (segment_BxS[:, :, None] == segment_BxS[:, None, :])
    else:
      x = x_BxSxLxD + shared_BxSxD[:, :, None] + self.level_LxD[None, None]
      x = x.reshape(B, S * c.num_levels, c.width)
      visible = jnp.repeat(real_BxS, c.num_levels, axis=1)[:, None]
      if c.user_tokens:
        x = jnp.concatenate([self.user_UxD[user_BxP], x], axis=1)
        visible = jnp.pad(visible, ((0, 0), (0, 0), (1, 0)), constant_values=True)
    x = self.encoder_drop(x.astype(c.dtype), deterministic=not train)
    bias = self.encoder_bias(x.shape[1]) if c.positions == "relative" else None
    for block in self.encoder:
      x = block(x, visible, train, bias, c.setting == "dense")
    return self.encoder_norm(x), visible

  def _embed_codes(self, codes_xL: jax.Array) -> jax.Array:
    """Embeds codes [..., l ≤ L] of the first l levels: [..., l, D]."""
    c = self.config
    levels = jnp.arange(codes_xL.shape[-1]) * c.codebook_size
    flat = codes_xL + levels.reshape((1,) * (codes_xL.ndim - 1) + (-1,))
    return self.code_LxVxD.reshape(-1, c.width)[flat]

  # Decoder, all levels of given targets at once.

  def log_likelihood(
    self,
    history_BxS: jax.Array,
    target_BxQ: jax.Array,
    trie: Trie,
    path_NxLp1: jax.Array,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """log p(each level of the target | history, levels before): float32 [B, Q, L].

    In the dense setting Q = S and target q follows history position q; in the
    tiger setting Q = 1. Targets may be NO_ITEM: their values mean nothing.
    `segment_BxS` is as in `encode`.
    """
    states, visible = self.encode(history_BxS, trie.codes_NxL, segment_BxS, train)
    return self._target_log_likelihood(states, visible, target_BxQ, trie, path_NxLp1, train)

  def joint_log_likelihood(
    self,
    history_BxS: jax.Array,
    target_BxS: jax.Array,
    trie: Trie,
    path_NxLp1: jax.Array,
    segment_BxS: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    """What `log_likelihood` returns, and the item head's log p(target): float32 [B, S].

    The item head gives 0 where there is no target. In training its softmax runs over the
    target and `item_negatives` others alone, if that is not 0; needs the random stream
    'negatives' then.
    """
    c = self.config
    states, visible = self.encode(history_BxS, trie.codes_NxL, segment_BxS, train)
    level_BxSxL = self._target_log_likelihood(states, visible, target_BxS, trie, path_NxLp1, train)
    negative_C = None
    if train and c.item_negatives:
      negative_C = draw_distinct(self.make_rng("negatives"), c.num_items, c.item_negatives)
    item_BxS = item_log_likelihood(states, target_BxS, self.item_NxD, self.item_bias_N, negative_C)
    return level_BxSxL, item_BxS

  def _target_log_likelihood(self, states, visible, target_BxQ, trie, path_NxLp1, train):
    c = self.config
    target_BxQ = jnp.maximum(target_BxQ, 0)
    start_BxQxD = jnp.broadcast_to(self.start_D, (*target_BxQ.shape, c.width))
    if c.setting == "dense":
      start_BxQxD = start_BxQxD + states
    codes_BxQxL, path_BxQxLp1 = trie.codes_NxL[target_BxQ], path_NxLp1[target_BxQ]
    hidden_BxQxLxD = self._decode(
      states, start_BxQxD, codes_BxQxL, visible, train, causal=c.setting == "dense"
    )
    levels = [
      self._level_log_likelihood(
        hidden_BxQxLxD[:, :, level], codes_BxQxL[..., level], path_BxQxLp1, level, trie
      )
      for level in range(c.num_levels)
    ]
    return jnp.stack(levels, axis=-1)

  def _decode(self, states, start_BxQxD, codes_BxQxL, mask_BxQxS, train, causal=False):
    """Teacher-forced hidden states [B, Q, L, D]; level l sees the start and codes before l."""
    code_BxQxLxD = self._embed_codes(codes_BxQxL[..., :-1])
    x = jnp.concatenate([start_BxQxD[:, :, None], code_BxQxLxD.astype(start_BxQxD.dtype)], axis=2)
    x = (x + self.level_LxD[None, None]).astype(self.config.dtype)
    x = self.decoder_drop(x, deterministic=not train)
    bias_HxLxL = self._level_bias()
    for block in self.decoder:
      x = block(x, block.cross_keys(states), mask_BxQxS, train, bias_HxLxL, causal)
    return self.decoder_norm(x)

  def _level_bias(self):
    relative = self.config.positions == "relative"
    return self.decoder_bias(self.config.num_levels) if relative else None

  def _level_log_likelihood(self, hidden_BxQxD, token_BxQ, path_BxQxLp1, level, trie):
    node_BxQ, next_BxQ = path_BxQxLp1[..., level], path_BxQxLp1[..., level + 1]
    if not self.config.constrained_softmax:
      logp_BxQxV = self._code_logits(hidden_BxQxD, level)
      return jnp.take_along_axis(logp_BxQxV, token_BxQ[..., None], axis=-1)[..., 0]
    if level == 0:  # every target starts at the root, whose children are gathered once
      root = jnp.int32(trie_lib.ROOT)
      token_F, child_F, real_F = trie_lib.children(trie, root, trie.fan_outs[0], 0)
      weights_DxF = self.out_LxDxV[0][:, token_F]
      if self.config.node_vectors:
        weights_DxF = weights_DxF + self.node_ExD[child_F].T
      logits = self._to_float32_logits(hidden_BxQxD, weights_DxF)
      if self.config.node_bias:
        logits = logits + self.bias_E[child_F][None, None]
      logits = jnp.where(real_F[None, None], logits, -jnp.inf)
      slot_BxQ = next_BxQ - child_F[0]
    else:
      token, child, real = trie_lib.children(trie, node_BxQ, trie.fan_outs[level], level)
      logits = self._child_logits(hidden_BxQxD, level, token, child, real)
      slot_BxQ = next_BxQ - child[..., 0]
    chosen_BxQ = jnp.take_along_axis(logits, slot_BxQ[..., None], axis=-1)[..., 0]
    return chosen_BxQ - jax.nn.logsumexp(logits, axis=-1)

  def _child_logits(
    self, hidden_BxQxD, level, token_BxQxF, child_BxQxF, real_BxQxF, temperature=1.0
  ):
    logits_BxQxV = self._code_logits(hidden_BxQxD, level, temperature)
    logits_BxQxF = jnp.take_along_axis(logits_BxQxV, token_BxQxF, axis=-1, mode="promise_in_bounds")
    if self.config.node_bias:
      logits_BxQxF = logits_BxQxF + self.bias_E.at[child_BxQxF].get(mode="promise_in_bounds")
    if self.config.node_vectors:
      # A batched product of gathered rows: fused into the gather, it would run without vectors.
      node_BxQxFxD = self.node_ExD.at[child_BxQxF].get(mode="promise_in_bounds")
      logits_BxQxF = logits_BxQxF + jnp.einsum(
        "bqd,bqfd->bqf",
        *(hidden_BxQxD, node_BxQxFxD.astype(hidden_BxQxD.dtype)),
        preferred_element_type=jnp.float32,
      )
    if self.config.constrained_softmax:
      logits_BxQxF = logits_BxQxF / temperature
    return jnp.where(real_BxQxF, logits_BxQxF, -jnp.inf)

  def _code_logits(self, hidden_BxQxD, level, temperature=1.0):
    """Of all codes of a level; log probabilities where the softmax runs over all of them."""
    logits_BxQxV = self._to_float32_logits(hidden_BxQxD, self.out_LxDxV[level])
    if self.config.constrained_softmax:
      return logits_BxQxV
    return jax.nn.log_softmax(logits_BxQxV / temperature)

  def _to_float32_logits(self, hidden, weights_DxV):
    flat = hidden.reshape(-1, hidden.shape[-1])
    logits = jnp.dot(flat, weights_DxV.astype(flat.dtype), preferred_element_type=jnp.float32)
    return logits.reshape(*hidden.shape[:-1], -1)

  # Decoder, one level of many beams: what the search calls.

  def remember(
    self, history_BxS: jax.Array, codes_NxL: jax.Array | PackedCodes, beams: int | None = None
  ) -> Memory:
    """Encodes histories and computes what every beam of a history shares."""
    states, visible = self.encode(history_BxS, codes_NxL)
    batch_B = jnp.arange(history_BxS.shape[0])
    start_BxD = jnp.broadcast_to(self.start_D, (history_BxS.shape[0], self.config.width))
    last_B = jnp.zeros_like(batch_B)
    if self.config.setting == "dense":
      last_B = jnp.maximum((history_BxS != NO_ITEM).sum(axis=1) - 1, 0)
      start_BxD = start_BxD + states[batch_B, last_B]
    cross = self.cross_memory(states, beams)
    return Memory(start_BxD, states[batch_B, last_B], cross, visible[batch_B, last_B])

  def cross_memory(
    self, states_BxSxD: jax.Array, beams: int | None = None
  ) -> tuple[KeyValues | States, ...]:
    """What each decoder layer looks at: keys and values, or the states where that is less work.

    Making keys and values costs 2·S·D·H·I products a layer, and looking at states instead
    2·S·H·(D - I) more for each beam and level. Without `beams` they are made.
    """
    c = self.config
    width, head = c.width, c.head_width
    if beams is not None and beams * c.num_levels * (width - head) < width * head:
      return tuple(block.cross_states(states_BxSxD) for block in self.decoder)
    return tuple(block.cross_keys(states_BxSxD) for block in self.decoder)

  def item_scores(self, memory: Memory, item_BxK: jax.Array) -> jax.Array:
    """The item head's log p of some items, up to a constant of the history: float32 [B, K]."""
    item_BxKxD = self.item_NxD[item_BxK]
    score_BxK = jnp.einsum("bd,bkd->bk", memory.last_BxD.astype(jnp.float32), item_BxKxD)
    return score_BxK + self.item_bias_N[item_BxK]

  def step(
    self,
    memory: Memory,
    caches: tuple[KeyValues, ...],
    token_BxK: jax.Array,
    level: jax.Array | int,
    child_token_BxKxF: jax.Array,
    child_BxKxF: jax.Array,
    real_BxKxF: jax.Array,
    temperature: float = 1.0,
  ) -> tuple[jax.Array, tuple[KeyValues, ...]]:
    """log p(each child | history, prefix) of every beam.

    Args:
      memory: of the histories.
      caches: self-attention keys and values of the levels before, [B, K, H, P, I] per layer; see
        `DecoderBlock.step`.
      token_BxK: the token chosen at the level before; unused at level 0.
      level: 0 ≤ level < L, static or traced.
      child_token_BxKxF, child_BxKxF, real_BxKxF: from `trie.children`.
      temperature: that logits are divided by.

    Returns:
      float32 log probabilities [B, K, F], -inf where no child is, and the new caches.
    """
    c = self.config
    before = jnp.maximum(level - 1, 0)
    code_BxKxD = self.code_LxVxD.reshape(-1, c.width)[token_BxK + before * c.codebook_size]
    x_BxKxD = jnp.where(level == 0, memory.start_BxD[:, None], code_BxKxD)
    x_BxKxD = (x_BxKxD + self.level_LxD[level][None, None]).astype(c.dtype)
    bias_HxLxL, new_caches = self._level_bias(), []
    for block, cache, cross in zip(self.decoder, caches, memory.cross, strict=True):
      x_BxKxD, cache = block.step(x_BxKxD, level, cache, cross, memory.mask_BxS, bias_HxLxL)
      new_caches.append(cache)
    hidden_BxKxD = self.decoder_norm(x_BxKxD)
    children = (child_token_BxKxF, child_BxKxF, real_BxKxF)
    logits = self._child_logits(hidden_BxKxD, level, *children, temperature)
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
