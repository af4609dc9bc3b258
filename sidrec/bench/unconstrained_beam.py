"""Our beam search without a catalogue: any code may follow any other. What a constraint costs is
measured against it.

The model, the beams' layout and the first level of one beam are as in `sidrec.search.beam`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from sidrec.bench.decoding_model import AllCodes


def unconstrained_search(
  model: AllCodes, params: dict, codes_NxL: Any, history: jax.Array, beams: int
) -> tuple[jax.Array, jax.Array]:
  """The K best codes of those that grow from the best ones of each level.

  Args:
    model: with `given_states`, `history` is float [B, S, D].
    params: its parameters.
    codes_NxL: of all items, for the encoder.
    history: int32 [B, S].
    beams: K, at most V.

  Returns:
    Codes int32 [B, K, L] and their log probabilities [B, K].
  """
  batch = history.shape[0]

  def call(method: str, *args: Any) -> Any:
    return model.apply({"params": params}, *args, method=method)

  encoded = call("encode", history, codes_NxL, beams)
  caches, score_BxK = call("empty_caches", batch, 1), jnp.zeros((batch, 1))
  code_BxKxl = jnp.zeros((batch, 1, 0), jnp.int32)
  for level in range(model.sizes.num_levels):
    token_BxK = code_BxKxl[..., -1] if level else jnp.zeros((batch, 1), jnp.int32)
    logp_BxKxV, caches = call("step", encoded, caches, token_BxK, level, None)
    score_BxKV = (score_BxK[..., None] + logp_BxKxV).reshape(batch, -1)
    score_BxK, best_BxK = jax.lax.top_k(score_BxKV, beams)
    parent_BxK, token_BxK = jnp.divmod(best_BxK, model.sizes.codebook_size)
    code_BxKxl = jnp.concatenate(
      [jnp.take_along_axis(code_BxKxl, parent_BxK[..., None], axis=1), token_BxK[..., None]], axis=2
    )
    caches = jax.tree.map(
      lambda x, at=parent_BxK: jnp.take_along_axis(x, at[:, :, None, None, None], axis=1), caches
    )
  return code_BxKxl, score_BxK
