"""What a recommender costs in memory, all of its parameters counted, as bytes an item."""

from typing import Any, NamedTuple

import jax
import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import ITEM_TABLES, NODE_TABLES

_TRAINED_COPIES = 4  # parameters, their gradients, and Adam's two moments


class Memory(NamedTuple):
  """Of a model and its catalogue."""

  parameters: int  # numbers
  by_item: int  # numbers in tables that have a row for each item or trie node
  served: float  # bytes an item of parameters and trie
  trained: float  # bytes an item of parameters, gradients, moments and, where kept, the average


def memory_of(params: dict, trie: Trie, sizes: CatalogueSizes, averaged: bool = False) -> Memory:
  """The memory of a model, from its parameters or their shapes alone.

  Args:
    params: arrays, or what `jax.eval_shape` makes of them.
    trie: the catalogue.
    sizes: of the model.
    averaged: whether training keeps an average of the parameters, too.
  """
  leaves = jax.tree.leaves(params)
  by_item = sum(params[name].size for name in (*NODE_TABLES, *ITEM_TABLES) if name in params)
  of_params, of_trie = (sum(map(_num_bytes, jax.tree.leaves(tree))) for tree in (params, trie))
  copies = _TRAINED_COPIES + averaged
  return Memory(
    sum(x.size for x in leaves),
    by_item,
    (of_params + of_trie) / sizes.num_items,
    of_params * copies / sizes.num_items,
  )


def _num_bytes(x: Any) -> int:
  return x.size * np.dtype(x.dtype).itemsize


def described(memory: Memory) -> str:
  """One sentence."""
  share = memory.by_item / max(memory.parameters, 1)
  return (
    f"{memory.parameters:,} parameters, {share:.0%} of them in tables by item or trie node; "
    f"{memory.served:,.0f} bytes an item in a search, {memory.trained:,.0f} in training"
  )
