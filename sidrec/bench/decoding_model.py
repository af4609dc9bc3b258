"""A recommender of random parameters over random semantic IDs, for measuring searches.

Letters: B batch, S encoder positions, K beams, N items, L levels, V codes per level, D width.

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
from sidrec.models.seq2seq import Memory, Seq2Seq
from sidrec.models.seq2seq_config import Seq2SeqConfig

SIZES = {
  "width": 128,
  "heads": 6,
  "head_width": 64,
  "hidden": 1024,
  "encoder_layers": 4,
  "decoder_layers": 4,
}


class MeasuredModel(Seq2Seq):
  """The recommender as other searches than ours, and other starts than histories, need it."""

  given_states: bool = False  # whether histories come encoded: float [B, S, D], all of them real
  all_codes: bool = False  # whether `step` scores all codes, less those a mask hides

  def remember(self, history_BxS: jax.Array, codes_NxL: Any, beams: int | None = None) -> Memory:
    """The memory of histories, or of their encoder states."""
    if not self.given_states:
      return super().remember(history_BxS, codes_NxL, beams)
    states_BxSxD = history_BxS
    last_BxD = states_BxSxD[:, -1]
    cross = self.cross_memory(states_BxSxD, beams)
    return Memory(
      self.start_D[None] + last_BxD, last_BxD, cross, jnp.ones(states_BxSxD.shape[:2], bool)
    )

  def _child_logits(
    self, hidden_BxQxD, level, token_BxQxF, child_BxQxF, real_BxQxF, temperature=1.0
  ):
    if not self.all_codes:
      children = (token_BxQxF, child_BxQxF, real_BxQxF)
      return super()._child_logits(hidden_BxQxD, level, *children, temperature)
    logits_BxQxV = self._code_logits(hidden_BxQxD, level, temperature)
    return logits_BxQxV if real_BxQxF is None else jnp.where(real_BxQxF, logits_BxQxV, -jnp.inf)


def make_config(
  num_items: int, num_levels: int, codebook_size: int, positions: int, **sizes: Any
) -> Seq2SeqConfig:
  """Each of S items is one encoder position; relative positions, as in T5."""
  settings: dict[str, Any] = {
    "num_items": num_items,
    "num_levels": num_levels,
    "codebook_size": codebook_size,
    "num_nodes": 0,
    "history_length": positions,
    "positions": "relative",
    "item_embedding": False,
    "node_bias": False,
    "node_vectors": False,
    **SIZES,
    **sizes,
  }
  return Seq2SeqConfig(**settings)


def make_params(config: Seq2SeqConfig) -> dict:
  """Random parameters; they do not depend on the catalogue."""
  model = Seq2Seq(config)
  trie = trie_lib.build_trie(np.zeros((1, config.num_levels), np.int32))
  item = jnp.zeros((1, 1), jnp.int32)
  init = functools.partial(model.init, method="log_likelihood")
  return jax.jit(init)(jax.random.key(0), item, item, trie, trie_lib.paths(trie))["params"]


def random_histories(config: Seq2SeqConfig, batch: int, seed: int = 1) -> jax.Array:
  """Full histories of random items: int32 [B, S]."""
  shape = (batch, config.history_length)
  return jax.random.randint(jax.random.key(seed), shape, 0, config.num_items)


def make_encode(model: Seq2Seq) -> Callable[..., jax.Array]:
  """(params, trie, history_BxS) → encoder states [B, S, D], compiled."""
  return jax.jit(
    lambda params, trie, history_BxS: model.apply(
      {"params": params}, history_BxS, trie.codes_NxL, method="encode"
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
