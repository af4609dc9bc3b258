"""The softmax of each level, over the real continuations of a prefix or over all codes.

A child's logit has three parts: one of its token, shared by all prefixes, and a vector and a bias
of its trie node. The last two tell items apart that share most of their ID, and hold their
popularity.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.trie import Children, Trie
from sidrec.models.repeats import Had, without_had


class LevelTables(NamedTuple):
  """The parameters of the softmaxes, and over what they run."""

  out_LxDxV: jax.Array  # of tokens
  node_ExR: jax.Array | None  # of trie nodes; R is D without a lift
  bias_E: jax.Array | None
  constrained: bool  # over the real continuations; else over all codes of a level
  lift_RxD: jax.Array | None = None  # from narrow rows of nodes to the width of states

  def log_likelihoods(
    self,
    hidden_BxQxLxD: jax.Array,
    codes_BxQxL: jax.Array,
    path_BxQxLp1: jax.Array,
    trie: Trie,
    had: Had | None = None,
  ) -> jax.Array:
    """log p of the target's token at each level: float32 [B, Q, L].

    Args:
      hidden_BxQxLxD: from `SemanticIDModel.decode`.
      codes_BxQxL: the targets' semantic IDs.
      path_BxQxLp1: the targets' trie nodes, root to leaf.
      trie: the catalogue.
      had: as in `target_log_likelihood`; needs the softmax over real continuations.
    """
    levels = []
    for level in range(hidden_BxQxLxD.shape[2]):
      hidden_BxQxD = hidden_BxQxLxD[:, :, level]
      if self.constrained:
        step_BxQx2 = path_BxQxLp1[..., level : level + 2]
        levels.append(self._over_children(hidden_BxQxD, step_BxQx2, level, trie, had))
      else:
        logp_BxQxV = self.code_logits(hidden_BxQxD, level)
        token_BxQx1 = codes_BxQxL[..., level, None]
        levels.append(jnp.take_along_axis(logp_BxQxV, token_BxQx1, axis=-1)[..., 0])
    return jnp.stack(levels, axis=-1)

  def _over_children(
    self, hidden_BxQxD: jax.Array, step_BxQx2: jax.Array, level: int, trie: Trie, had: Had | None
  ) -> jax.Array:
    """log p of the second of two nodes, a child of the first: [B, Q]."""
    node_BxQ, next_BxQ = step_BxQx2[..., 0], step_BxQx2[..., 1]
    if level == 0:  # every target starts at the root, whose children are gathered once
      logits_BxQxC, first_child = self._root_logits(hidden_BxQxD, trie)
    else:
      children = trie_lib.children(trie, node_BxQ, trie.fan_outs[level], level)
      logits_BxQxC = self.child_logits(hidden_BxQxD, level, children)
      first_child = children.node[..., 0]
    slot_BxQ = next_BxQ - first_child
    if had is not None:
      logits_BxQxC = without_had(logits_BxQxC, first_child, level, slot_BxQ, had, trie)
    chosen_BxQ = jnp.take_along_axis(logits_BxQxC, slot_BxQ[..., None], axis=-1)[..., 0]
    return chosen_BxQ - jax.nn.logsumexp(logits_BxQxC, axis=-1)

  def _root_logits(self, hidden_BxQxD: jax.Array, trie: Trie) -> tuple[jax.Array, jax.Array]:
    """Logits of the root's children [B, Q, C], and the first of these children, a scalar."""
    root = jnp.int32(trie_lib.ROOT)
    token_C, node_C, real_C = trie_lib.children(trie, root, trie.fan_outs[0], 0)
    weights_DxC = self.out_LxDxV[0][:, token_C]
    if self.node_ExR is not None:
      node_CxR = self.node_ExR[node_C]
      node_CxD = node_CxR if self.lift_RxD is None else node_CxR @ self.lift_RxD
      weights_DxC = weights_DxC + node_CxD.T
    logits_BxQxC = _float32_product(hidden_BxQxD, weights_DxC)
    if self.bias_E is not None:
      logits_BxQxC = logits_BxQxC + self.bias_E[node_C][None, None]
    return jnp.where(real_C[None, None], logits_BxQxC, -jnp.inf), node_C[0]

  def child_logits(
    self,
    hidden_BxKxD: jax.Array,
    level: jax.Array | int,
    children: Children,
    temperature: float = 1.0,
  ) -> jax.Array:
    """Logits of these children: float32 [B, K, C]; see `SemanticIDModel.child_logits`."""
    logits_BxKxV = self.code_logits(hidden_BxKxD, level, temperature)
    logits_BxKxC = jnp.take_along_axis(
      logits_BxKxV, children.token, axis=-1, mode="promise_in_bounds"
    )
    if self.bias_E is not None:
      logits_BxKxC = logits_BxKxC + self.bias_E.at[children.node].get(mode="promise_in_bounds")
    if self.node_ExR is not None:
      query_BxKxR = hidden_BxKxD
      if self.lift_RxD is not None:  # R products a child in place of D
        query_BxKxR = hidden_BxKxD @ self.lift_RxD.T.astype(hidden_BxKxD.dtype)
      # A batched product of gathered rows: fused into the gather, it would run without vectors.
      node_BxKxCxR = self.node_ExR.at[children.node].get(mode="promise_in_bounds")
      logits_BxKxC = logits_BxKxC + jnp.einsum(
        "bqr,bqfr->bqf",
        query_BxKxR,
        node_BxKxCxR.astype(hidden_BxKxD.dtype),
        preferred_element_type=jnp.float32,
      )
    if self.constrained:
      logits_BxKxC = logits_BxKxC / temperature
    return jnp.where(children.real, logits_BxKxC, -jnp.inf)

  def code_logits(
    self, hidden_BxKxD: jax.Array, level: jax.Array | int, temperature: float = 1.0
  ) -> jax.Array:
    """Logits of all codes of a level; log probabilities where the softmax runs over all codes."""
    logits_BxKxV = _float32_product(hidden_BxKxD, self.out_LxDxV[level])
    if self.constrained:
      return logits_BxKxV
    return jax.nn.log_softmax(logits_BxKxV / temperature)


def _float32_product(x: jax.Array, weights_DxV: jax.Array) -> jax.Array:
  """x [..., D] @ weights in the dtype of x, added up in float32: [..., V]."""
  flat = x.reshape(-1, x.shape[-1])
  logits = jnp.dot(flat, weights_DxV.astype(flat.dtype), preferred_element_type=jnp.float32)
  return logits.reshape(*x.shape[:-1], -1)
