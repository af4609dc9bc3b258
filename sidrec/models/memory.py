"""What a recommender costs in memory, all of its parameters counted, as bytes an item."""

import re
from typing import Any, NamedTuple

import jax
import numpy as np

from sidrec.catalogue.trie.trie import Trie
from sidrec.models.counted import COUNTED, UNTRAINED
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import ITEM_TABLES, MARK, NODE_TABLES

_TRAINED_COPIES = 4  # parameters, their gradients, and Adam's two moments
_LEVEL_TABLES = ("code", "out", "item_code")  # a row or a column for each code of each level

# Kinds of parameters, and what a sentence calls them.
KINDS = {
  "encoder": "in {} encoder layer(s)",
  "decoder": "in {} decoder layer(s)",
  "levels": "in tables by level and code",
  "items": "by item",
  "nodes": "by trie node",
  "other": "elsewhere (places, further inputs)",
}


class Memory(NamedTuple):
  """Of a model and its catalogue."""

  parameters: int  # numbers
  by_item: int  # numbers in tables that have a row for each item or trie node
  served: float  # bytes an item of parameters, counted tables and the trie
  trained: float  # bytes an item of parameters, gradients, moments and, where kept, the average


def memory_of(
  params: dict, trie: Trie, sizes: CatalogueSizes, averaged: bool = False, lazy: bool = False
) -> Memory:
  """The memory of a model, from its parameters or their shapes alone.

  Args:
    params: arrays, or what `jax.eval_shape` makes of them; marked or not.
    trie: the catalogue.
    sizes: of the model.
    averaged: whether training keeps an average of the parameters, too.
    lazy: whether its steps change some rows of the tables by item alone.
  """
  counted = {name: params[name] for name in COUNTED if name in params}
  params = {name: part for name, part in params.items() if name not in (MARK, *counted)}
  leaves = jax.tree.leaves(params)
  by_item = sum(params[name].size for name in (*NODE_TABLES, *ITEM_TABLES) if name in params)
  of_params, of_others = (
    sum(map(_num_bytes, jax.tree.leaves(tree))) for tree in (params, (trie, counted))
  )
  copies = _TRAINED_COPIES + averaged
  of_lazy = sum(_num_bytes(params[name]) for name in ITEM_TABLES if lazy and name in params)
  trained = of_params * copies - of_lazy  # whose gradients are of some rows
  return Memory(
    sum(x.size for x in leaves),
    by_item,
    (of_params + of_others) / sizes.num_items,
    trained / sizes.num_items,
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


def counts_by_kind(params: dict) -> dict[str, int]:
  """How many numbers are of each of `KINDS`, of the recommender's parameters or their shapes."""
  counts = dict.fromkeys(KINDS, 0)
  for name, part in params.items():
    if name not in (MARK, *UNTRAINED):  # these are counted, not trained
      counts[_kind_of(name)] += sum(x.size for x in jax.tree.leaves(part))
  return counts


def _kind_of(name: str) -> str:
  """The kind of a top-level entry; what no kind names, such as a plugin's, is 'other'."""
  tables = {"items": ITEM_TABLES, "nodes": NODE_TABLES, "levels": _LEVEL_TABLES}
  for kind, names in tables.items():
    if name in names:
      return kind
  stack = name.partition("_")[0]
  return stack if stack in ("encoder", "decoder") else "other"


def described_kinds(params: dict) -> str:
  """'parameters: 98,624 in 2 encoder layer(s), …', of kinds that there are."""
  layers = {
    stack: sum(bool(re.fullmatch(rf"{stack}_\d+", name)) for name in params)
    for stack in ("encoder", "decoder")
  }
  parts = [
    f"{count:,} {KINDS[kind].format(layers.get(kind))}"
    for kind, count in counts_by_kind(params).items()
    if count
  ]
  return f"parameters: {', '.join(parts)}"
