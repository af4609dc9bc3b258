"""What the beams of a search carry from level to level.

Here X counts the beams that are chosen.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import ROOT
from sidrec.models.layers import KeyValues


class BeamState(NamedTuple):
  """Holds K prefixes per history."""

  level: jax.Array  # int32 scalar, tokens chosen so far
  node_BxK: jax.Array  # int32, the prefix's trie node
  score_BxK: jax.Array  # float32, log p(prefix | history); -inf for no prefix
  token_BxK: jax.Array  # int32, its last token
  caches: tuple[KeyValues, ...]  # self-attention, [B, K, H, P, I] per layer, P ≤ L levels
  prefix_BxK: jax.Array | None  # int32, node of the first tokens, where their number is limited
  noisy_BxK: jax.Array | None  # float32, perturbed score, where beams are drawn
  # float32, the best score of a continuation that became no beam so far, where lists are certified
  missed_B: jax.Array | None = None


def with_places(caches: tuple[KeyValues, ...], places: int) -> tuple[KeyValues, ...]:
  """The caches with room for so many levels."""

  def widen(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0),) * 3 + ((0, places - x.shape[3]), (0, 0)))

  def widened(cache: Any) -> Any:  # those of a plugin's model have their size
    return jax.tree.map(widen, cache) if isinstance(cache, KeyValues) else cache

  return jax.tree.map(widened, caches, is_leaf=lambda cache: isinstance(cache, KeyValues))


def keep(state: BeamState, alive_BxX: jax.Array, best_BxX: jax.Array, beams: int) -> BeamState:
  """Makes beams of the chosen continuations; missing ones become dead beams.

  Takes a state of all continuations, [B, K, C], but for the caches, which are the parents'.
  """
  dead = ((0, 0), (0, beams - best_BxX.shape[1]))
  batch, _, fan_out = state.node_BxK.shape

  def pick(x_BxKxC: jax.Array, fill: float) -> jax.Array:
    x_BxX = jnp.take_along_axis(
      x_BxKxC.reshape(batch, -1), best_BxX, axis=1, mode="promise_in_bounds"
    )
    return jnp.pad(jnp.where(alive_BxX, x_BxX, fill), dead, constant_values=fill)

  parent_BxK = jnp.pad(best_BxX // fan_out, dead)

  def of_parent(x: jax.Array) -> jax.Array:
    at = parent_BxK.reshape(*parent_BxK.shape, *(1,) * (x.ndim - 2))
    return jnp.take_along_axis(x, at, axis=1, mode="promise_in_bounds")

  return BeamState(
    level=jnp.int32(state.level + 1),
    node_BxK=pick(state.node_BxK, ROOT),  # must not point below the leaves
    score_BxK=pick(state.score_BxK, -jnp.inf),
    token_BxK=pick(state.token_BxK, 0),
    caches=jax.tree.map(of_parent, state.caches),
    prefix_BxK=None if state.prefix_BxK is None else pick(state.prefix_BxK, ROOT),
    noisy_BxK=None if state.noisy_BxK is None else pick(state.noisy_BxK, -jnp.inf),
    missed_B=state.missed_B,
  )
