"""Tries that items come to and go from, while compiled searches stay.

A search is compiled for the shapes of a trie's arrays. With room in them, for powers of two of
items and of nodes, another catalogue fits the same shapes; when it does not, the room grows to the
next power of two and the search is compiled once more. Item rows never move: new items take the
next rows, or those of items that went, if nothing names these any more.

Nodes are numbered anew. A model with parameters by node needs them carried over to each trie that
is made here, by `sidrec.models.transfer`; a search refuses parameters of another numbering.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie.trie import Trie, build_on_host, numbering_of


def with_room(trie: Trie, items: int | None = None, rows: int = 0) -> Trie:
  """The same trie with room for powers of two of items and nodes, and for more children.

  Item rows from the catalogue's size on are free: nothing leads there.

  Args:
    trie: with room already, or without.
    items: so many new ones fit at least, unless they crowd below one prefix: there is room for an
      eighth more children than any prefix has now, or for four times as many as new ones spread
      like those that are there would need; or unless, in a trie without nodes for tails, many tails
      need nodes at once. A search looks at all children that there is room for, so that is a
      multiple of 8. None for a power of two of children, and as many items and nodes as powers of
      two give.
    rows: item rows that there are at least, for catalogues whose items make way for new ones and
      keep their rows. A row costs its codes and parameters, and no time in a search.

  Raises:
    ValueError: for a negative number.
  """
  if items is not None and items < 0:
    raise ValueError(f"room for {items} items; give 0 or more")
  on_host, used, new = jax.tree.map(np.asarray, trie), int(trie.used), items or 0
  more, most = max(1 / 8, 4 * new / used), 1 << trie.codes_NxL.bits
  fan_outs = tuple(
    _room(now) if items is None else min(most, math.ceil(now * (1 + more) / 8) * 8)
    for now in trie.fan_outs
  )
  count = max(_room(max(used + new, rows)), trie.num_items)
  sizes = _Sizes(
    count,
    count,
    _room(trie.first_row_node + new * _nodes_each(trie)),
    tuple(map(max, fan_outs, trie.fan_outs)),
  )
  return jax.tree.map(jnp.asarray, _padded(on_host, sizes, trie.origin, _codes(trie)))


def with_room_apart(trie: Trie, items: int, rows: int = 0) -> tuple[Trie, Trie]:
  """The same trie without room, and one with room for new items alone, of one catalogue.

  Args:
    trie: of the items that are there, without room.
    items: so many new ones fit at least, as in `with_room`.
    rows: item rows that there are at least, as in `with_room`.

  Returns:
    The trie, in which items may go and come back, and which knows the codes of new ones; and the
    trie for these, which leads to the first item until it is `rebuilt`.
  """
  roomy, used = with_room(trie, items, rows), int(trie.used)
  on_host = jax.tree.map(np.asarray, trie)
  of_known = _Sizes(roomy.num_items, len(on_host.item_N), trie.first_row_node, trie.fan_outs)
  count = roomy.num_items - used
  of_new = _Sizes(roomy.num_items, count, roomy.first_row_node, roomy.fan_outs)
  first = build_on_host(_codes(trie), np.arange(used) < 1, trie.every_prefix, _codebook_size(trie))
  padded = (
    _padded(on_host, of_known, trie.origin, _codes(trie)),
    _padded(first, of_new, trie.origin, _codes(trie)),
  )
  known, new = (jax.tree.map(jnp.asarray, one) for one in padded)
  return known, new


def alike(*tries: Trie) -> tuple[Trie, ...]:
  """The same tries in equal shapes, which tries of about their sizes share.

  Sizes go up in steps of at most a seventh, fan-outs in steps of at most a third. What is compiled
  for one of these tries fits all of them, whatever catalogue they are of: their `origin` is (0, 0),
  so only `numbering` tells them apart.

  Args:
    tries: of IDs of one length and codebook size, all with nodes for tails or all without.
  """
  count = _in_steps(max(trie.num_items for trie in tries), 8)
  sizes = _Sizes(
    count,
    count,
    _in_steps(max(trie.first_row_node for trie in tries), 8),
    tuple(
      min(1 << tries[0].codes_NxL.bits, _in_steps(max(fan_outs), 4))
      for fan_outs in zip(*(trie.fan_outs for trie in tries), strict=True)
    ),
  )
  padded = (_padded(jax.tree.map(np.asarray, trie), sizes, (0, 0), _codes(trie)) for trie in tries)
  return tuple(jax.tree.map(jnp.asarray, trie) for trie in padded)


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
  return rebuilt(trie, codes_NxL, np.append(_among(trie), np.ones(len(codes_MxL), bool)))


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
  return rebuilt(trie, _codes(trie), among_N)


def _codes(trie: Trie) -> np.ndarray:
  return np.asarray(trie.codes_NxL)[: int(trie.used)]


def _among(trie: Trie) -> np.ndarray:
  """Which items in use the trie leads to: bool [N]."""
  return np.asarray(trie.row_of_N)[: int(trie.used)] < int(np.asarray(trie.row_E)[1])


def rebuilt(trie: Trie, codes_NxL: np.ndarray, among_N: np.ndarray) -> Trie:
  """The trie of a catalogue that this one has become, in its shapes if it fits them.

  Args:
    trie: of the catalogue before or after, whose room is kept.
    codes_NxL: the ID of every item row in use.
    among_N: bool, which of them the trie leads to.

  Raises:
    ValueError: if two of the items that it leads to share an ID, or it leads to none.
  """
  codebook_size = max(_codebook_size(trie), int(codes_NxL.max()) + 1)
  built = build_on_host(codes_NxL, among_N, trie.every_prefix, codebook_size)
  fan_outs = zip(built.fan_outs, trie.fan_outs, strict=True)
  sizes = _Sizes(
    _enough(built.num_items, trie.num_items),
    _enough(len(built.item_N), trie.item_N.shape[0]),
    _enough(built.first_row_node, trie.first_row_node),
    tuple(_enough(needed, given) for needed, given in fan_outs),
  )
  return jax.tree.map(jnp.asarray, _padded(built, sizes, trie.origin, codes_NxL))


def _codebook_size(trie: Trie) -> int:
  return 1 << trie.codes_NxL.bits


class _Sizes(NamedTuple):
  """Room for so many."""

  items: int
  rows: int  # items that the trie leads to
  nodes: int
  fan_outs: tuple[int, ...]


def _padded(trie: Trie, sizes: _Sizes, origin: tuple[int, int], codes_NxL: np.ndarray) -> Trie:
  """Pads a trie to some sizes.

  Where the catalogue began stays known: a search that was compiled for it takes what comes later.
  """
  codes, num_items, num_nodes = trie.codes_NxL, trie.num_items, trie.first_row_node
  free_row_F = np.arange(num_items, sizes.items, dtype=np.int32)

  def pad(x: np.ndarray, size: int, fill: int = 0) -> np.ndarray:
    return np.concatenate([x, np.full((size - len(x), *x.shape[1:]), fill, x.dtype)])

  # Rows have moved behind the room for nodes.
  child_E = trie.child_E.copy()
  child_E[trie.depth_offsets[-2] :] += sizes.nodes - num_nodes
  resized = dataclasses.replace(
    trie,
    codes_NxL=dataclasses.replace(
      codes,
      word_NxW=pad(codes.word_NxW, sizes.items),
      row_of_N=np.concatenate([codes.row_of_N, free_row_F]),
    ),
    token_E=pad(trie.token_E, sizes.nodes),
    child_E=pad(child_E, sizes.nodes),
    row_E=pad(trie.row_E, sizes.nodes, trie.row_E[1]),
    item_N=pad(trie.item_N, sizes.rows, -1),
    fan_outs=sizes.fan_outs,
    # Any trie may come to be: rows under any node, unless every prefix is one.
    kinds=(*[(True, not trie.every_prefix)] * (trie.num_levels - 1), (False, True)),
    origin=origin,
  )
  return dataclasses.replace(resized, numbering=numbering_of(resized, codes_NxL))


def _room(needed: int) -> int:
  """The next power of two."""
  return 1 << (needed - 1).bit_length()


def _in_steps(needed: int, steps: int) -> int:
  """The next number that has so many steps, or more, between it and twice itself."""
  step = max(1, (1 << needed.bit_length()) // (2 * steps))
  return -(-needed // step) * step


def _enough(needed: int, given: int) -> int:
  """What is given, if it suffices; else the next power of two."""
  return given if given >= needed else _room(needed)


def room_left(trie: Trie, unused: int = 0) -> int:
  """New items that fit in the shapes of a trie with room; see `with_room` for what may need more.

  So many of the rows in use may be used again. It counts on new nodes for each of an item's tokens;
  items that share them need fewer.
  """
  # What lies behind the last node has no children.
  used = int(np.flatnonzero(np.asarray(trie.child_E)).max(initial=0)) + 1
  nodes_each = _nodes_each(trie)
  of_nodes = (trie.first_row_node - used) // nodes_each if nodes_each else trie.num_items
  return min(trie.num_items - int(trie.used) + unused, of_nodes)


def _nodes_each(trie: Trie) -> int:
  """Nodes that a new item may need."""
  # Without nodes for tails, it may also part an item from a tail that they share.
  return (trie.num_levels - 1) * (1 if trie.every_prefix else 3)
