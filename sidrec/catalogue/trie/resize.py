"""Tries that items come to and go from, while compiled searches stay.

A search is compiled for the shapes of a trie's arrays. With room in them, for powers of two of
items and of nodes, another catalogue fits the same shapes; when it does not, the room doubles and
the search is compiled once more. Item rows never move: new items take the next rows, and items
that went may still stand in histories.

Nodes are numbered anew. A model with parameters by node needs them carried over to each trie that
is made here, by `sidrec.models.transfer`; a search refuses parameters of another numbering.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.trie import Trie, build_on_host, numbering_of


def with_room(trie: Trie) -> Trie:
  """The same trie with room for powers of two of items, nodes and children.

  Item rows from the catalogue's size on are free: nothing leads there.
  """
  on_host = jax.tree.map(np.asarray, trie)
  return jax.tree.map(jnp.asarray, _in_shapes_of(on_host, trie, _codes(trie)))


def with_items(trie: Trie, codes_MxL: np.ndarray) -> Trie:
  """Leads to new items, too, which take the next item rows in use: `trie.used` and on.

  Raises:
    ValueError: for IDs of another length, or that items of the trie have already.
  """
  codes_MxL = np.asarray(codes_MxL)
  if codes_MxL.ndim != 2 or codes_MxL.shape[1] != trie.num_levels:
    raise ValueError(
      f"new items need IDs of {trie.num_levels} tokens each, got shape {codes_MxL.shape}"
    )
  codes_NxL = np.concatenate([_codes(trie), codes_MxL])
  return _rebuilt(trie, codes_NxL, np.append(_among(trie), np.ones(len(codes_MxL), bool)))


def without_items(trie: Trie, item_M: np.ndarray) -> Trie:
  """Leads no longer to these item rows.

  Raises:
    ValueError: if an item is not there, or none would be left.
  """
  among_N = _among(trie)
  item_M = np.asarray(item_M, np.int64)
  known_M = (item_M >= 0) & (item_M < len(among_N))
  known_M[known_M] = among_N[item_M[known_M]]
  if not known_M.all():
    raise ValueError(f"item row {item_M[~known_M][0]} is not in the trie; remove what it has")
  among_N[item_M] = False
  return _rebuilt(trie, _codes(trie), among_N)


def _codes(trie: Trie) -> np.ndarray:
  return np.asarray(trie.codes_NxL)[: int(trie.used)]


def _among(trie: Trie) -> np.ndarray:
  """Which items in use the trie leads to: bool [N]."""
  return np.asarray(trie.row_of_N)[: int(trie.used)] < int(np.asarray(trie.row_E)[1])


def _rebuilt(trie: Trie, codes_NxL: np.ndarray, among_N: np.ndarray) -> Trie:
  codebook_size = max(1 << trie.codes_NxL.bits, int(codes_NxL.max()) + 1)
  built = build_on_host(codes_NxL, among_N, trie.every_prefix, codebook_size)
  return jax.tree.map(jnp.asarray, _in_shapes_of(built, trie, codes_NxL))


def _in_shapes_of(trie: Trie, model: Trie, codes_NxL: np.ndarray) -> Trie:
  """Pads a trie to the shapes of another one, or to more where it does not fit them.

  Where the catalogue began stays known: a search that was compiled for it takes what comes later.
  """
  num_items, num_nodes = trie.num_items, trie.first_row_node
  items, nodes = _room(num_items, model.num_items), _room(num_nodes, model.first_row_node)
  codes = trie.codes_NxL
  free_row_F = np.arange(num_items, items, dtype=np.int32)

  def pad(x: np.ndarray, size: int, fill: int = 0) -> np.ndarray:
    return np.concatenate([x, np.full((size - len(x), *x.shape[1:]), fill, x.dtype)])

  # Rows have moved behind the room for nodes.
  child_E = trie.child_E.copy()
  child_E[trie.depth_offsets[-2] :] += nodes - num_nodes
  resized = dataclasses.replace(
    trie,
    codes_NxL=dataclasses.replace(
      codes,
      word_NxW=pad(codes.word_NxW, items),
      row_of_N=np.concatenate([codes.row_of_N, free_row_F]),
    ),
    token_E=pad(trie.token_E, nodes),
    child_E=pad(child_E, nodes),
    row_E=pad(trie.row_E, nodes, trie.row_E[1]),
    item_N=pad(trie.item_N, items, -1),
    fan_outs=tuple(map(_room, trie.fan_outs, model.fan_outs)),
    # Any trie may come to be: rows under any node, unless every prefix is one.
    kinds=(*[(True, not trie.every_prefix)] * (trie.num_levels - 1), (False, True)),
    origin=model.origin,
  )
  return dataclasses.replace(resized, numbering=numbering_of(resized, codes_NxL))


def _room(needed: int, given: int) -> int:
  """What is given, if it is a power of two that suffices; else the next one."""
  if given >= needed and given.bit_count() == 1:
    return given
  return 1 << (needed - 1).bit_length()
