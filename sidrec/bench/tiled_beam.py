"""Beam search in the layout of T5X and Flax's examples: beams are rows of the batch.

Encoder states are repeated for each beam, every level runs with K beams and all V codes, and codes
that continue no item are masked by a dense table of next states. T5X computes the cross-attention
keys of every beam anew at every level; by default they are computed once here, from the repeated
states, and kept, which is faster. The model and its parameters are ours, and so are the results.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.bench.decoding_model import MeasuredModel
from sidrec.models.base import EncoderOutput
from sidrec.models.layers import KeyValues
from sidrec.search.results import Recommendations


class TiledState(NamedTuple):
  """Holds K prefixes per history."""

  level: jax.Array
  prefix_BK: jax.Array  # int32, row of the table of next states; the item behind the last level
  score_BxK: jax.Array
  token_BK: jax.Array
  caches: tuple[KeyValues, ...]  # [B · K, 1, H, L, I] per layer


def next_states(codes_NxL: np.ndarray, codebook_size: int) -> np.ndarray:
  """For each prefix and code the prefix that follows, the item at the end, or -1: int32 [E, V].

  Takes 4 · E · V bytes: fit for small catalogues only.
  """
  order_N = np.lexsort(codes_NxL.T[::-1])
  sorted_NxL = codes_NxL[order_N].astype(np.int64)
  prefix_N, offset, rows = np.zeros(len(order_N), np.int64), 1, []
  for level in range(codes_NxL.shape[1]):
    last = level == codes_NxL.shape[1] - 1
    edge_N = prefix_N * codebook_size + sorted_NxL[:, level]
    edges, child_N = np.unique(edge_N, return_inverse=True)
    rows.append((edges, order_N if last else offset + np.arange(len(edges))))
    prefix_N = offset + child_N
    offset += 0 if last else len(edges)
  table_ExV = np.full((offset, codebook_size), -1, np.int32)
  for edges, child in rows:
    table_ExV.reshape(-1)[edges] = child
  return table_ExV


def tiled_search(
  model: MeasuredModel,
  params: dict,
  next_ExV: jax.Array,
  history: jax.Array,
  codes_NxL: jax.Array,
  beams: int,
  keep_cross_keys: bool = True,
) -> Recommendations:
  """The K best items for each history.

  Args:
    model: with `given_states`, `history` is float [B, S, D].
    params: its parameters.
    next_ExV: of `next_states`.
    history: int32 [B, S].
    codes_NxL: of all items, for the encoder.
    beams: K.
    keep_cross_keys: False to compute them anew at every level, as T5X does.
  """
  sizes = model.sizes
  batch = history.shape[0]

  def call(method: str, *args: Any) -> Any:
    return model.apply({"params": params}, *args, method=method)

  if model.given_states:
    states_BxSxD = history
  else:
    states_BxSxD, _ = call("encode_states", history, codes_NxL)
  tiled_BKxSxD = jnp.repeat(states_BxSxD, beams, axis=0)

  def encode(states_BKxSxD: jax.Array) -> Any:
    from_states = model.clone(given_states=True)
    return from_states.apply({"params": params}, states_BKxSxD, None, method="encode")

  kept: EncoderOutput | None = encode(tiled_BKxSxD) if keep_cross_keys else None

  def grow(state: TiledState) -> TiledState:
    encoded = encode(tiled_BKxSxD) if kept is None else kept
    next_BKx1xV = next_ExV[state.prefix_BK][:, None]
    token_BKx1, is_real = state.token_BK[:, None], next_BKx1xV >= 0
    logp_BKx1xV, caches = call("step", encoded, state.caches, token_BKx1, state.level, is_real)
    score_BxKxV = state.score_BxK[..., None] + logp_BKx1xV.reshape(batch, beams, -1)
    score_BxK, best_BxK = jax.lax.top_k(score_BxKxV.reshape(batch, -1), beams)
    alive_BxK = jnp.isfinite(score_BxK)
    parent_BxK, token_BxK = best_BxK // sizes.codebook_size, best_BxK % sizes.codebook_size
    parent_BK = (parent_BxK + beams * jnp.arange(batch)[:, None]).reshape(-1)
    prefix_BK = next_BKx1xV[parent_BK, 0, token_BxK.reshape(-1)]
    return TiledState(
      state.level + 1,
      jnp.where(alive_BxK.reshape(-1), prefix_BK, 0),
      score_BxK,
      token_BxK.reshape(-1),
      jax.tree.map(lambda x: x[parent_BK], caches),
    )

  first_K = jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf)
  state = TiledState(
    jnp.int32(0),
    jnp.zeros(batch * beams, jnp.int32),
    jnp.broadcast_to(first_K, (batch, beams)),
    jnp.zeros(batch * beams, jnp.int32),
    call("empty_caches", batch * beams, 1, sizes.num_levels),
  )
  state = jax.lax.while_loop(lambda s: s.level < sizes.num_levels, grow, state)
  valid_BxK = jnp.isfinite(state.score_BxK)
  item_BxK = jnp.where(valid_BxK, state.prefix_BK.reshape(batch, beams), -1)
  return Recommendations(item_BxK, state.score_BxK, valid_BxK)
