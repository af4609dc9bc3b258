"""Which children of beams lead to listed items, found from the few nodes above these items.

Beams have thousands of children, and a list a few dozen items. So no child is looked up in the
list: the nodes above the listed items are looked up once, and a child counts if it is one of them.
Of a list of forbidden items only those nodes matter below which nothing else is.

Here J counts the rows of a list, L the levels that are searched.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sidrec.catalogue.trie.trie import ROOT, Children, Trie, child_range, rows_below
from sidrec.search.filters import RowFilter

_NONE = -1  # no node


class ListedNodes(NamedTuple):
  """The nodes above a list's rows that decide which children are allowed."""

  # int32, children at each level. Those of allowed rows, or those that hold forbidden rows alone.
  node_BxLxJ: jax.Array
  allows: bool | jax.Array  # as in `RowFilter`


def listed_nodes(trie: Trie, rows: RowFilter, num_levels: int) -> ListedNodes:
  """The nodes that decide, at each of these levels: nodes of depth 1 at the first."""
  row_BxJ = rows.row_BxJ
  _, stop = rows_below(trie, jnp.int32(ROOT))
  is_row_BxJ = row_BxJ < stop  # the trie may lack some items of the catalogue
  node_BxJ, levels = jnp.zeros_like(row_BxJ) + ROOT, []
  for level in range(num_levels):
    node_BxJ = _child_above(trie, node_BxJ, row_BxJ, level)
    decides_BxJ = is_row_BxJ & (rows.allows | _is_full(trie, node_BxJ, row_BxJ))
    levels.append(jnp.where(decides_BxJ, node_BxJ, _NONE))
  return ListedNodes(jnp.stack(levels, axis=1), rows.allows)


def allowed_children(
  trie: Trie, listed: ListedNodes, node_BxK: jax.Array, children: Children, level: jax.Array | int
) -> jax.Array:
  """Which children lead to at least one item that the request may get: bool [B, K, C].

  Of what is no real child, anything.

  Args:
    trie: the catalogue.
    listed: of the requests.
    node_BxK: the beams' nodes; several beams may share one. Dead beams have the root.
    children: of these nodes.
    level: of the children's tokens, static or traced.
  """
  batch, beams, fan_out = children.node.shape
  first_BxK, stop_BxK = child_range(trie, node_BxK)
  node_BxJ = listed.node_BxLxJ[:, level]
  # A row is a child of the root, too, where that branches into rows.
  is_alive_BxK = (node_BxK != ROOT) | (jnp.asarray(level) == 0)
  stop_BxK = jnp.where(is_alive_BxK, stop_BxK, first_BxK)
  # The first beam that has the node as a child; all beams of the same node have what it has.
  is_child_BxJxK = (first_BxK[:, None] <= node_BxJ[..., None]) & (
    node_BxJ[..., None] < stop_BxK[:, None]
  )
  beam_K = jnp.arange(beams, dtype=jnp.int32)
  owner_BxJ = jnp.where(is_child_BxJxK, beam_K[None, None], beams).min(axis=2)
  slot_BxJ = node_BxJ - jnp.take_along_axis(first_BxK, jnp.minimum(owner_BxJ, beams - 1), axis=1)
  at_BxJ = jnp.where(owner_BxJ < beams, owner_BxJ * fan_out + slot_BxJ, beams * fan_out)
  none_BxX = jnp.zeros((batch, beams * fan_out), bool)
  hit_BxX = none_BxX.at[jnp.arange(batch)[:, None], at_BxJ].set(True, mode="drop")
  same_BxKxK = node_BxK[:, :, None] == node_BxK[:, None]
  like_BxK = jnp.where(same_BxKxK, beam_K[None, None], beams).min(axis=2)
  hit_BxKxC = jnp.take_along_axis(
    hit_BxX.reshape(batch, beams, fan_out), like_BxK[..., None], axis=1, mode="promise_in_bounds"
  )
  return hit_BxKxC == listed.allows


def _child_above(trie: Trie, node_BxJ: jax.Array, row_BxJ: jax.Array, level: int) -> jax.Array:
  """The child of each node that holds a row below it: int32 [B, J]."""
  of_row_BxJ, (may_be_node, _) = trie.first_row_node + row_BxJ, trie.kinds[level]
  if not may_be_node:
    return of_row_BxJ
  first_BxJ, stop_BxJ = child_range(trie, node_BxJ)
  low_BxJ, high_BxJ = first_BxJ, stop_BxJ
  for _ in range((trie.fan_outs[level] - 1).bit_length()):
    middle_BxJ = (low_BxJ + high_BxJ) // 2
    is_right_BxJ = rows_below(trie, middle_BxJ)[0] <= row_BxJ
    low_BxJ = jnp.where(is_right_BxJ, middle_BxJ, low_BxJ)
    high_BxJ = jnp.where(is_right_BxJ, high_BxJ, middle_BxJ)
  return jnp.where(first_BxJ >= trie.first_row_node, of_row_BxJ, low_BxJ)


def _is_full(trie: Trie, node_BxJ: jax.Array, row_BxJ: jax.Array) -> jax.Array:
  """Whether a node's rows all are in the sorted list, said at its first row: bool [B, J]."""
  first_BxJ, stop_BxJ = rows_below(trie, node_BxJ)
  last = row_BxJ.shape[1] - 1
  end_BxJ = jnp.arange(row_BxJ.shape[1])[None] + (stop_BxJ - first_BxJ - 1)
  # Rows are sorted, each once: the last row of the node stands there only with all between them.
  end_row_BxJ = jnp.take_along_axis(row_BxJ, jnp.clip(end_BxJ, 0, last), axis=1)
  return (row_BxJ == first_BxJ) & (end_BxJ <= last) & (end_row_BxJ == stop_BxJ - 1)
