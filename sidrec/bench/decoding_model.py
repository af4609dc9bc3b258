"""A recommender of random parameters over random semantic IDs, for measuring searches.

The default sizes are those of TIGER's T5: 4 + 4 layers of width 128, 6 heads of 64, feed-forward
1,024. Nothing is by item or trie node, so one model serves catalogues of all sizes.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.trie import Children
from sidrec.models.base import EncoderOutput, SemanticIDModel
from sidrec.models.dense import Dense
from sidrec.models.settings import CatalogueSizes, RecommenderConfig
from sidrec.models.tiger import Tiger

SIZES: dict[str, Any] = {
  "width": 128,
  "heads": 6,
  "head_width": 64,
  "hidden": 1024,
  "encoder_layers": 4,
  "decoder_layers": 4,
}


class AllCodes(SemanticIDModel):
  """A recommender whose `step` also scores codes that continue no item."""

  def child_logits(
    self,
    hidden_BxKxD: jax.Array,
    level: jax.Array | int,
    children: Children | jax.Array | None,
    temperature: float = 1.0,
  ) -> jax.Array:
    """Logits of the children; or of all codes, or of those that a mask [B, K, V] allows."""
    if isinstance(children, Children):
      return super().child_logits(hidden_BxKxD, level, children, temperature)
    logits_BxKxV = self.level_tables().code_logits(hidden_BxKxD, level, temperature)
    return logits_BxKxV if children is None else jnp.where(children, logits_BxKxV, -jnp.inf)


class AllCodesTiger(AllCodes, Tiger):
  """The same of the tiger setting."""


class MeasuredModel(AllCodes, Dense):
  """The dense recommender as other searches than ours need it."""

  given_states: bool = False  # whether histories come encoded: float [B, S, D], all of them real

  def encode(
    self,
    history_BxS: Any,
    codes_NxL: Any,
    beams: int | None = None,
    num_items: jax.Array | int | None = None,
  ) -> EncoderOutput:
    """Encodes histories, or takes their encoder states."""
    if not self.given_states:
      return super().encode(history_BxS, codes_NxL, beams, num_items)
    states_BxSxD = history_BxS
    last_BxD = states_BxSxD[:, -1]
    cross = self.cross_attention_inputs(states_BxSxD, beams)
    return EncoderOutput(
      self.start_D[None] + last_BxD, last_BxD, cross, jnp.ones(states_BxSxD.shape[:2], bool)
    )


def make_model(
  num_items: int, num_levels: int, codebook_size: int, positions: int, **sizes: Any
) -> MeasuredModel:
  """Each of S items is one encoder position; relative positions, as in T5."""
  config = RecommenderConfig(
    history_length=positions,
    positions="relative",
    item_embedding=False,
    node_bias=False,
    node_vectors=False,
    **{**SIZES, **sizes},
  )
  return MeasuredModel(config, CatalogueSizes(num_items, num_levels, codebook_size, num_nodes=0))


def make_params(model: MeasuredModel) -> dict:
  """Random parameters; they do not depend on the catalogue."""
  return jax.jit(_initialiser(model))(*_example(model))["params"]


def param_shapes(model: MeasuredModel) -> dict:
  """The shapes of `make_params`, for which nothing is compiled."""
  return jax.eval_shape(_initialiser(model), *_example(model))["params"]


def _initialiser(model: MeasuredModel) -> Callable[..., Any]:
  return functools.partial(model.init, method="log_likelihood")


def _example(model: MeasuredModel) -> tuple[Any, ...]:
  """What the parameters are initialised with."""
  trie = trie_lib.build_trie(np.zeros((1, model.sizes.num_levels), np.int32))
  item = jnp.zeros((1, 1), jnp.int32)
  return jax.random.key(0), item, item, trie, trie_lib.paths(trie)


def random_histories(model: MeasuredModel, batch: int, seed: int = 1) -> jax.Array:
  """Full histories of random items: int32 [B, S]."""
  shape = (batch, model.config.history_length)
  return jax.random.randint(jax.random.key(seed), shape, 0, model.sizes.num_items)


def make_encode(model: MeasuredModel) -> Callable[..., jax.Array]:
  """(params, trie, history_BxS) → encoder states [B, S, D], compiled."""
  return jax.jit(
    lambda params, trie, history_BxS: model.apply(
      {"params": params}, history_BxS, trie.codes_NxL, method="encode_states"
    )[0]
  )


def random_codes(num_items: int, num_levels: int, codebook_size: int) -> np.ndarray:
  """Different random IDs, each as likely as the others: uint16 [N, L]."""
  rng = np.random.default_rng(0)
  kept = np.zeros((0, num_levels), np.uint16)
  if codebook_size**num_levels < 2 * num_items:
    raise ValueError(
      f"{num_items} random IDs do not fit well into {codebook_size}^{num_levels}; give more codes"
    )
  while len(kept) < num_items:
    drawn = rng.integers(
      0, codebook_size, (num_items - len(kept) + 16, num_levels), dtype=np.uint16
    )
    drawn = np.concatenate([kept, drawn])
    key_N = np.zeros(len(drawn), np.uint64)
    for level in range(num_levels):  # what wraps around is lost: an ID more may be dropped
      key_N = key_N * np.uint64(codebook_size + 1) + drawn[:, level]
    first = np.unique(key_N, return_index=True)[1]
    kept = drawn[np.sort(first)]
  return kept[:num_items]
