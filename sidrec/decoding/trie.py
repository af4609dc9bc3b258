"""The catalogue as a trie over sorted semantic IDs, in flat arrays.

Letters: N items, L levels, E nodes of all depths (with one closing node per
depth), F fan-out.

The code table is sorted lexicographically. Row r of the sorted table is the
r-th leaf, every node covers a contiguous range of rows, and the children of a
node are contiguous nodes of the next depth. So three arrays over nodes say
everything, and a node id is all that a beam needs to carry:

  children of node n: child_E[n] ≤ c < child_E[n + 1], reached by token_E[c]
  rows below node n:  row_E[n] ≤ r < row_E[n + 1]

Each depth ends with a closing node, whose only use is to close the ranges of
the node before it.
"""

import itertools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

ROOT = 0


@flax.struct.dataclass
class Trie:
  """Holds the catalogue's semantic IDs; all arrays int32."""

  codes_NxL: jax.Array  # by item row of the catalogue
  token_E: jax.Array  # token on the edge that leads to the node
  child_E: jax.Array  # first child
  row_E: jax.Array  # first row below
  item_N: jax.Array  # row → item row of the catalogue; shorter in a trie of some items
  row_of_N: jax.Array  # item row of the catalogue → row
  # Static: known when a search is compiled.
  depth_offsets: tuple[int, ...] = flax.struct.field(pytree_node=False)  # [L + 1], first node
  fan_outs: tuple[int, ...] = flax.struct.field(pytree_node=False)  # [L], most children per depth

  @property
  def num_items(self) -> int:
    """N."""
    return self.codes_NxL.shape[0]

  @property
  def num_levels(self) -> int:
    """L."""
    return self.codes_NxL.shape[1]

  @property
  def num_nodes(self) -> int:
    """E, closing nodes included."""
    return self.token_E.shape[0]


def build_trie(codes_NxL: np.ndarray, among_N: np.ndarray | None = None) -> Trie:
  """Builds the trie of a catalogue, or of some of its items, on the host.

  Args:
    codes_NxL: one semantic ID per item, integers ≥ 0.
    among_N: bool, which items the trie leads to; None for all. The others, whose
      `row_of_N` lies behind all rows, may stand in histories only.

  Raises:
    ValueError: for an empty catalogue, a negative token, or two items that share an ID.
  """
  codes_NxL = np.ascontiguousarray(codes_NxL, np.int32)
  if codes_NxL.ndim != 2 or 0 in codes_NxL.shape:
    raise ValueError(f"a trie needs at least one item and level, got shape {codes_NxL.shape}")
  if codes_NxL.min() < 0:
    raise ValueError(f"token {codes_NxL.min()} is negative; semantic IDs count from 0")
  num_levels = codes_NxL.shape[1]
  order_N = np.lexsort(codes_NxL.T[::-1]).astype(np.int32)
  if among_N is not None:
    order_N = order_N[np.asarray(among_N)[order_N]]
  num_items = len(order_N)
  if not num_items:
    raise ValueError("a trie of no items leads nowhere; give at least one")
  sorted_NxL = codes_NxL[order_N]

  # A row opens a node at depth d + 1 where its prefix differs from the row before.
  differs_NxL = np.ones((num_items, num_levels), bool)
  differs_NxL[1:] = np.logical_or.accumulate(sorted_NxL[1:] != sorted_NxL[:-1], axis=1)
  if not differs_NxL[:, -1].all():
    row = int(np.flatnonzero(~differs_NxL[:, -1])[0])
    first, second = sorted(order_N[row - 1 : row + 1].tolist())
    raise ValueError(
      f"items {first} and {second} share the semantic ID {sorted_NxL[row].tolist()}; "
      "resolve collisions first"
    )
  rows = [np.zeros(1, np.int64), *(np.flatnonzero(d) for d in differs_NxL.T)]
  depth_offsets = np.concatenate([[0], np.cumsum([len(r) + 1 for r in rows])])

  token, child, row_start, fan_outs = [], [], [], []
  for depth, rows_n in enumerate(rows):
    token.append(sorted_NxL[rows_n, depth - 1] if depth else np.zeros(1, np.int32))
    token.append(np.zeros(1, np.int32))
    row_start.append(np.append(rows_n, num_items))
    if depth < num_levels:
      first = np.append(np.searchsorted(rows[depth + 1], rows_n), len(rows[depth + 1]))
      child.append(depth_offsets[depth + 1] + first)
      fan_outs.append(int(np.diff(first).max()))
    else:
      child.append(np.zeros(num_items + 1, np.int64))  # leaves have no children
  row_of_N = np.full(len(codes_NxL), num_items, np.int32)
  row_of_N[order_N] = np.arange(num_items, dtype=np.int32)
  as_array = lambda parts: jnp.asarray(np.concatenate(parts).astype(np.int32))
  return Trie(
    codes_NxL=jnp.asarray(codes_NxL),
    token_E=as_array(token),
    child_E=as_array(child),
    row_E=as_array(row_start),
    item_N=jnp.asarray(order_N),
    row_of_N=jnp.asarray(row_of_N),
    depth_offsets=tuple(depth_offsets[: num_levels + 1].tolist()),
    fan_outs=tuple(fan_outs),
  )


def children(trie: Trie, node: jax.Array, fan_out: int) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The children of each node, padded to a static fan-out.

  Args:
    node: int32 [...], nodes above the leaves.
    fan_out: F, at least the number of children of any of them.

  Returns:
    tokens [..., F], child nodes [..., F] (both int32), and which are real [..., F] (bool).
  """
  offset_xF = jnp.arange(fan_out, dtype=jnp.int32).reshape((1,) * node.ndim + (-1,))
  child = trie.child_E[node][..., None] + offset_xF
  real = child < trie.child_E[node + 1][..., None]
  child = jnp.minimum(child, trie.num_nodes - 1)
  return trie.token_E[child], child, real


def paths(trie: Trie) -> jax.Array:
  """Each item's node at every depth, root to leaf: int32 [N, L + 1], by item row.

  The trie must lead to all items.
  """
  row_E = np.asarray(trie.row_E)
  offsets = [*trie.depth_offsets, trie.num_nodes]
  at_depth = [
    start + np.searchsorted(row_E[start : stop - 1], np.asarray(trie.row_of_N), side="right") - 1
    for start, stop in itertools.pairwise(offsets)
  ]
  return jnp.asarray(np.stack(at_depth, axis=1).astype(np.int32))
