"""A catalogue larger than one device: the trie's rows spread over a mesh axis.

Here W counts words of a packed ID, and P devices along the axis.

Semantic IDs, the order of rows and the items of rows grow with the catalogue, 4·(W + 2) bytes an
item; they are cut into P equal stretches of rows. Nodes stay whole on every device. A search looks
up rows by index: each device gives what it has, and a sum over the axis brings the rest, so no
device ever holds all rows.
"""

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sidrec.catalogue.trie.trie import Trie


def shard_trie(trie: Trie, mesh: Mesh, axis: str = "model") -> Trie:
  """The same trie with rows spread over `axis`; searches with it find the same.

  Rows are filled up to a multiple of P; nothing leads to the rows that fill up. Every process
  calls this with the same trie and puts its own parts on its devices.

  Args:
    trie: the catalogue.
    mesh: the devices.
    axis: name of the axis that rows are spread over.
  """
  parts = mesh.shape[axis]
  rows, whole = NamedSharding(mesh, PartitionSpec(axis)), NamedSharding(mesh, PartitionSpec())

  def put(x: np.ndarray, sharding: NamedSharding) -> jax.Array:
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

  def spread(x: np.ndarray, fill: np.ndarray) -> jax.Array:
    return put(np.concatenate([x, fill]), rows)

  codes, missing = trie.codes_NxL, -trie.num_items % parts
  word_NxW, row_of_N, item_N = map(np.asarray, (codes.word_NxW, codes.row_of_N, trie.item_N))
  free_row = np.arange(len(row_of_N), len(row_of_N) + missing, dtype=np.int32)
  return dataclasses.replace(
    trie,
    codes_NxL=dataclasses.replace(
      codes,
      word_NxW=spread(word_NxW, np.zeros((missing, word_NxW.shape[1]), word_NxW.dtype)),
      row_of_N=spread(row_of_N, free_row),
    ),
    item_N=spread(item_N, np.full(-len(item_N) % parts, -1, np.int32)),
    token_E=put(trie.token_E, whole),
    child_E=put(trie.child_E, whole),
    row_E=put(trie.row_E, whole),
    used=put(trie.used, whole),
    numbering=put(trie.numbering, whole),
    filling=(missing, -len(item_N) % parts),
  )
