"""Items that nobody has met yet: training hides some of those it knows, so that their IDs must do.

The tables by item and by trie node know nothing of an item that comes later. So each batch draws
some items, as targets and in histories alike, and replaces their rows, and those of nodes that lead
to them alone, by one row that all hidden ones share: for nodes one at each level. What is left of
an item is its semantic ID, which is what a new item has. `transfer` gives these rows to new ones.
That is dropout of whole items, as DropoutNet does it (Volkovs et al., NeurIPS 2017).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.packed_codes import AnyArray
from sidrec.catalogue.trie.trie import Trie, rows_below

# Tables and the row that stands for what is hidden; of nodes, a row for each level.
OF_NODES = {"node": "unseen_node", "node_bias": "unseen_node_bias"}
OF_ITEMS = {"item": "unseen_item", "item_bias": "unseen_item_bias"}


def hide(
  params: dict[str, Any], trie: Trie, path_NxLp1: jax.Array, share: float, key: jax.Array
) -> dict[str, Any]:
  """The parameters with a random share of the items hidden.

  Args:
    params: of a model with `config.unseen`.
    trie: the catalogue.
    path_NxLp1: int32, the trie nodes of every item, root to leaf.
    share: the probability that an item is hidden.
    key: of the draw.
  """
  hidden_N = jax.random.bernoulli(key, share, (path_NxLp1.shape[0],))
  hidden_E = nodes_of(hidden_N, trie)
  level_E = levels_of(path_NxLp1, trie.num_nodes)
  params = dict(params)
  for name, row in OF_NODES.items():
    if name in params:
      params[name] = _replaced(params[name], hidden_E, params[row][level_E])
  for name, row in OF_ITEMS.items():
    if name in params:
      params[name] = _replaced(params[name], hidden_N, params[row][None])
  return params


def nodes_of(hidden_N: jax.Array, trie: Trie) -> jax.Array:
  """Which nodes lead to hidden items alone: bool [E]."""
  hidden_R = hidden_N[trie.item_N].astype(jnp.int32)
  before_Rp1 = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(hidden_R)])
  first_E, stop_E = rows_below(trie, jnp.arange(trie.num_nodes))
  return (stop_E > first_E) & (before_Rp1[stop_E] - before_Rp1[first_E] == stop_E - first_E)


def levels_of(path_RxLp1: AnyArray, num_nodes: int) -> AnyArray:
  """The level whose token leads to each node, the first of its tail; 0 for the root: int32 [E].

  Args:
    path_RxLp1: int32, the nodes of items or rows, root to leaf; NumPy makes NumPy.
    num_nodes: E.
  """
  if isinstance(path_RxLp1, np.ndarray):
    level_E = np.zeros(num_nodes, np.int32)
    for level in reversed(range(path_RxLp1.shape[1] - 1)):
      level_E[path_RxLp1[:, level + 1]] = level
    return level_E
  level_E = jnp.zeros(num_nodes, jnp.int32)
  for level in reversed(range(path_RxLp1.shape[1] - 1)):
    level_E = level_E.at[path_RxLp1[:, level + 1]].set(level)
  return level_E


def _replaced(rows: jax.Array, hidden: jax.Array, by: jax.Array) -> jax.Array:
  return jnp.where(hidden.reshape(-1, *[1] * (rows.ndim - 1)), by, rows)
