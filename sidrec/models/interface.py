"""What training and search ask of a model of the next item, whatever is inside.

A model gives log p(child | history, prefix) for the children of a trie node: the real continuations
of a prefix of semantic IDs. Summed along a path, that is log p(item | history). Training and beam
search need nothing else, so two methods make a model: `encode` and `step`.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.packed_codes import PackedCodes
from sidrec.catalogue.trie.trie import Children, Trie
from sidrec.data.events import Events
from sidrec.models.histories import item_rows
from sidrec.models.inputs import events_of
from sidrec.models.settings import CatalogueSizes, RecommenderConfig


class NextItemModel(nn.Module):
  """Base of all models: `encode` reads histories, `step` takes beams one level down the trie.

  Attributes:
    config: the settings of `config.model`. A registered model may read or ignore them, except for
      `history_length`, `constrained_softmax` and `inputs`.
    sizes: of the catalogue.
    settings: those of a registered model, or None.
    causal: how training batches look. False: an example is a history and one target, Q = 1. True:
      windows of histories, several in a row of S positions, and a target after each, Q = S; a model
      then needs a `log_likelihood` of its own.
    reads_events: whether it reads times, ratings and actions where `config.inputs` asks for them.
    grows: whether its parameters can be carried over to a catalogue with other items: all tables
      with a row for each item or trie node are called `item`, `item_bias`, `node` or `node_bias`.
      Updates, new items and the server need that.
  """

  config: RecommenderConfig
  sizes: CatalogueSizes
  settings: Any = None
  causal: ClassVar[bool] = False
  reads_events: ClassVar[bool] = False
  grows: ClassVar[bool] = False

  def encode(
    self,
    history_BxS: jax.Array | Events,
    codes_NxL: jax.Array | PackedCodes,
    beams: int | None = None,
    num_items: jax.Array | int | None = None,
  ) -> Any:
    """What `step` needs of the histories: arrays [B, …] in any pytree.

    It may drop where `self.has_rng("dropout")` holds, which is so in training alone.

    Args:
      history_BxS: what `history_rows` and `inputs.events_of` read.
      codes_NxL: the semantic ID of every item; `codes_NxL[item_BxS]` is [B, S, L].
      beams: how many a search will have; None in training.
      num_items: how many rows are items, for `history_rows`; None for all rows of the codes.
    """
    raise NotImplementedError

  def step(
    self,
    encoded: Any,
    caches: Any,
    token_BxK: jax.Array,
    level: jax.Array | int,
    children: Children,
    temperature: float = 1.0,
  ) -> tuple[jax.Array, Any]:
    """log p(each child | history, prefix) of every beam.

    Args:
      encoded: of `encode`.
      caches: of the level before; see `empty_caches`.
      token_BxK: int32, the token chosen at the level before; any at level 0.
      level: 0 ≤ level < L, static or traced.
      children: of every beam, [B, K, C]: their `token`, their trie `node`, and which are `real`.
      temperature: that logits are divided by.

    Returns:
      float32 log probabilities [B, K, C], -inf where no child is, as `child_log_softmax` makes
      them; and the new caches, of the same shapes.
    """
    raise NotImplementedError

  def empty_caches(self, batch: int, beams: int, places: int = 0) -> Any:
    """What a beam carries from level to level, before level 0: arrays [B, K, …], or () for nothing.

    The search hands a beam's cache to those that continue it. `places` is for caches that grow.
    """
    del batch, beams, places
    return ()

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

    This one asks `step` along the path of each target, Q = 1. A model with another form of training
    replaces it; it has to agree with `step`, which is checked before a registered model is trained.

    Args:
      history_BxS: as in `encode`.
      target_BxQ: int32 item rows; where they are NO_ITEM, values mean nothing.
      trie: the catalogue.
      path_NxLp1: the trie nodes of every item, root to leaf.
      segment_BxS: which history each position belongs to, in rows of several.
      train: whether to drop.
    """
    del segment_BxS, train
    target_Bx1 = jnp.maximum(target_BxQ, 0)
    codes_Bx1xL, path_Bx1xLp1 = trie.codes_NxL[target_Bx1], path_NxLp1[target_Bx1]
    encoded = self.encode(history_BxS, trie.codes_NxL)
    caches = self.empty_caches(target_Bx1.shape[0], 1)
    token_Bx1, levels = jnp.zeros_like(target_Bx1), []
    for level in range(trie.num_levels):
      children = trie_lib.children(trie, path_Bx1xLp1[..., level], trie.fan_outs[level], level)
      logp_Bx1xC, caches = self.step(encoded, caches, token_Bx1, level, children)
      slot_Bx1 = path_Bx1xLp1[..., level + 1] - children.node[..., 0]
      levels.append(jnp.take_along_axis(logp_Bx1xC, slot_Bx1[..., None], axis=-1)[..., 0])
      token_Bx1 = codes_Bx1xL[..., level]
    return jnp.stack(levels, axis=-1)

  def history_rows(self, history_BxS: jax.Array | Events, num_items: jax.Array | int) -> jax.Array:
    """The item rows of histories, oldest first, NO_ITEM after the newest: int32 [B, S]."""
    return item_rows(events_of(history_BxS, self.config.inputs).item_BxS, num_items)


def child_log_softmax(
  logits_BxKxC: jax.Array, children: Children, temperature: float = 1.0
) -> jax.Array:
  """log p of the real children of every beam, from any logits: float32 [B, K, C].

  A beam that died has no child; all of its values are -inf, and none is NaN.
  """
  logits_BxKxC = logits_BxKxC.astype(jnp.float32) / temperature
  logits_BxKxC = jnp.where(children.real, logits_BxKxC, -jnp.inf)
  total = jax.nn.logsumexp(logits_BxKxC, axis=-1, keepdims=True)
  return logits_BxKxC - jnp.where(jnp.isfinite(total), total, 0.0)
