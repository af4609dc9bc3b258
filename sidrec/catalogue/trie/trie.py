"""The catalogue as a trie over sorted semantic IDs, in flat arrays.

Here W counts words of a packed ID.

The code table is sorted lexicographically. Row r of the sorted table is the
r-th leaf, every node covers a contiguous range of rows, and the children of a
node are contiguous. A node id is all that a beam needs to carry: ids below E
are stored nodes, id E + r is row r alone.

A node is stored for every prefix that has siblings. Below it there are two ways on:

  child_E[n] = c ≥ 0: its children are nodes c … of the next depth, up to those of node n + 1;
  child_E[n] < 0: its children are its rows, so nothing below it needs a node.

A row alone has one child at each level, itself: tails without branching cost no node. The
children's tokens stand in token_E for nodes, and in the code table for rows. Rows below node n:
row_E[n] ≤ r < row_E[n + 1].

Ids are in breadth-first order. Each depth, and each family of siblings that the next one does not
adjoin in rows, ends with a closing node, whose only use is to close the ranges of the node
before it. The last depth that can have nodes is L - 1, whose children are rows always.

A trie of every prefix keeps nodes for tails, too. That is what a model with parameters per
node is trained on: it numbers every prefix of every item apart. Without, tails share the row's id,
which changes no probability: the parameters of an only child cancel in the softmax.
"""

import dataclasses
import itertools
import zlib
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from sidrec.catalogue.trie import packed_codes
from sidrec.catalogue.trie.packed_codes import AnyArray, PackedCodes
from sidrec.core.item_rows import is_known

ROOT = 0


@flax.struct.dataclass
class Trie:
  """Holds the catalogue's semantic IDs."""

  codes_NxL: PackedCodes  # by item row of the catalogue
  token_E: AnyArray  # token on the edge that leads to the node; 8 or 16 bits where they do
  child_E: AnyArray  # int32, first child; negative where the rows below are the children
  row_E: AnyArray  # int32, first row below
  item_N: AnyArray  # int32, row → item row of the catalogue; shorter in a trie of some items
  used: AnyArray  # int32 [], item rows that are items; those behind are room for more
  numbering: AnyArray  # uint32 [], checksum of what each node id stands for
  # Static: known when a search is compiled.
  fan_outs: tuple[int, ...] = flax.struct.field(pytree_node=False)  # [L], most children per depth
  # [L], whether children at a level may be nodes, and whether they may be rows.
  kinds: tuple[tuple[bool, bool], ...] = flax.struct.field(pytree_node=False)
  every_prefix: bool = flax.struct.field(pytree_node=False)  # whether tails have nodes
  # Checksums of the codes and of the numbering, as built; with items that come and go, they stay.
  origin: tuple[int, int] = flax.struct.field(pytree_node=False)
  # Item rows and row nodes that fill up to a multiple of the devices; see `shard_trie`.
  filling: tuple[int, int] = flax.struct.field(pytree_node=False, default=(0, 0))

  @property
  def row_of_N(self) -> jax.Array:
    """Item row of the catalogue → row; behind all rows of the trie for items not in it."""
    return self.codes_NxL.row_of_N

  @property
  def num_items(self) -> int:
    """N, with room for more if there is."""
    return self.codes_NxL.shape[0]

  @property
  def num_levels(self) -> int:
    """L."""
    return self.codes_NxL.shape[1]

  @property
  def first_row_node(self) -> int:
    """E, the id of row 0."""
    return self.token_E.shape[0]

  @property
  def num_nodes(self) -> int:
    """Ids of nodes, closing ones included."""
    return self.first_row_node + self.item_N.shape[0] + 1

  @property
  def branching_levels(self) -> int:
    """The levels before the tail on which no node has two children, at least one."""
    last = self.num_levels
    while last > 1 and self.fan_outs[last - 1] == 1:
      last -= 1
    return last

  @property
  def depth_offsets(self) -> tuple[int, ...]:
    """First node of each depth, on the host: [L + 1]; the last is that of the rows."""
    child_E, offsets = np.asarray(self.child_E), [ROOT]
    for _ in range(self.num_levels - 1):
      first = int(child_E[offsets[-1]])
      offsets.append(~first if first < 0 else first)
    return *offsets, self.first_row_node

  @property
  def num_bytes(self) -> int:
    """Bytes of all arrays."""
    return sum(x.nbytes for x in jax.tree.leaves(self))


def build_trie(
  codes_NxL: np.ndarray,
  among_N: np.ndarray | None = None,
  every_prefix: bool = True,
  codebook_size: int | None = None,
) -> Trie:
  """Builds the trie of a catalogue, or of some of its items.

  Args:
    codes_NxL: one semantic ID per item, integers ≥ 0.
    among_N: bool, which items the trie leads to; None for all. The others, whose
      `row_of_N` lies behind all rows, may stand in histories only.
    every_prefix: whether tails get nodes, as models with parameters per node are trained on.
    codebook_size: V; None for the largest token and 1.

  Raises:
    ValueError: for an empty catalogue, a token out of range, or two items that share an ID.
  """
  trie = build_on_host(codes_NxL, among_N, every_prefix, codebook_size)
  return jax.tree.map(jnp.asarray, trie)


def build_on_host(
  codes_NxL: np.ndarray,
  among_N: np.ndarray | None = None,
  every_prefix: bool = True,
  codebook_size: int | None = None,
) -> Trie:
  """`build_trie` with numpy arrays."""
  codes_NxL = np.asarray(codes_NxL)
  if codes_NxL.ndim != 2 or 0 in codes_NxL.shape:
    raise ValueError(f"a trie needs at least one item and level, got shape {codes_NxL.shape}")
  least, most = int(codes_NxL.min()), int(codes_NxL.max())
  if least < 0:
    raise ValueError(f"token {least} is negative; semantic IDs count from 0")
  if most >= (2**31 if codebook_size is None else codebook_size):
    raise ValueError(f"token {most} is not below the codebook's size, {codebook_size or 2**31}")
  bits = packed_codes.bits_of(codebook_size or most + 1)
  num_levels = codes_NxL.shape[1]
  word_NxW = packed_codes.pack(codes_NxL, bits)
  order_N = packed_codes.sort(word_NxW).astype(np.int32)
  num_rows = len(order_N)
  if among_N is not None:
    among_N = np.asarray(among_N)[order_N]
    order_N = np.concatenate([order_N[among_N], order_N[~among_N]])
    num_rows = int(among_N.sum())
  if not num_rows:
    raise ValueError("a trie of no items leads nowhere; give at least one")
  word_NxW = word_NxW[order_N]
  row_of_N = np.empty_like(order_N)
  row_of_N[order_N] = np.arange(len(order_N), dtype=np.int32)
  codes = PackedCodes(word_NxW, row_of_N, bits, num_levels)
  shared_R = _shared_with_row_before(word_NxW[:num_rows], bits, num_levels)
  if (shared_R == num_levels).any():
    row = int((shared_R == num_levels).argmax())
    first, second = sorted(order_N[row - 1 : row + 1].tolist())
    raise ValueError(
      f"items {first} and {second} share the semantic ID {codes_NxL[first].tolist()}; "
      "resolve collisions first"
    )
  trie = _lay_out(codes, order_N[:num_rows], shared_R, every_prefix)
  numbering = numbering_of(trie, codes_NxL)
  origin = checksum(codes_NxL), int(numbering)
  return dataclasses.replace(trie, numbering=numbering, origin=origin)


def numbering_of(trie: Trie, codes_NxL: np.ndarray) -> np.ndarray:
  """A checksum of the prefix and the items that each node id stands for, on the host: uint32 [].

  Tries of equal sizes differ in it, unless parameters by node fit both.
  """
  item_R = np.asarray(trie.item_N)[: int(trie.row_E[1])]
  arrays = trie.token_E, trie.child_E, trie.row_E, item_R, np.asarray(codes_NxL)[item_R]
  return np.array(checksum(*arrays), np.uint32)


def checksum(*arrays: AnyArray) -> int:
  """CRC-32 of integer arrays, whatever their types."""
  total = 0
  for array in arrays:
    total = zlib.crc32(np.asarray(array, "<i4").tobytes(), total)
  return total


def _shared_with_row_before(word_RxW: np.ndarray, bits: int, num_levels: int) -> np.ndarray:
  """How many tokens each row shares with the row before it: int8 [R], 0 in the first."""
  shared_R = np.zeros(len(word_RxW), np.int8)
  same_R = np.ones(len(word_RxW) - 1, bool)
  for level in range(num_levels):
    token_R = packed_codes.unpack_level(word_RxW, bits, level)
    same_R &= token_R[1:] == token_R[:-1]
    shared_R[1:] += same_R
  return shared_R


def _lay_out(codes: PackedCodes, item_R: np.ndarray, shared_R: np.ndarray, every_prefix) -> Trie:
  """Goes down depth by depth; `row` and `real` are of the stored nodes of one depth."""
  num_rows, num_levels = len(item_R), codes.num_levels
  row, real = np.array([0, num_rows], np.int32), np.array([True, False])
  tokens, children, rows = [np.zeros(2, np.int64)], [], [row]
  fan_outs, kinds, offset = [], [], 0
  for depth in range(num_levels - 1):
    offset += len(row)
    # Children, as numbers in the list of all rows that open a prefix of the next depth.
    opens = np.flatnonzero(shared_R <= depth).astype(np.int32)
    at = np.flatnonzero(real)
    start, stop = row[at], row[at + 1]
    first = np.searchsorted(opens, start)
    count = np.searchsorted(opens, stop) - first
    fan_outs.append(int(count.max(initial=1)))
    parent = np.full(len(at), True) if every_prefix else count < stop - start
    by_rows = bool((~parent).any()) or any(by_rows for _, by_rows in kinds)
    kinds.append((bool(parent.any()), by_rows))
    first, count, start, stop = (x[parent] for x in (first, count, start, stop))
    gap = np.append(stop[:-1] != start[1:], True) if len(stop) else np.zeros(0, bool)
    # Where each family begins among the nodes of the next depth, and where all of them end.
    begin = np.concatenate([[0], np.cumsum(count + gap)])
    # A node without family points behind the families before it, closing nodes left out.
    family = np.full(len(row), -1)
    family[at[parent]] = np.arange(len(first))
    before = np.maximum.accumulate(family)
    ends = np.append(begin[:-1] + count, 0)  # before = -1: no family yet
    child = offset + np.where(family >= 0, begin[family], ends[before])
    child[at[~parent]] = ~child[at[~parent]]
    children.append(child)
    size = int(begin[-1]) or 1
    row, real = np.full(size, num_rows, np.int32), np.zeros(size, bool)
    inside = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    here = np.repeat(begin[:-1], count) + inside
    row[here], real[here] = opens[np.repeat(first, count) + inside], True
    row[(begin[:-1] + count)[gap]] = stop[gap]
    token = np.zeros(size, np.int64)
    token[here] = packed_codes.unpack_level(codes.word_NxW[row[here]], codes.bits, depth)
    tokens.append(token)
    rows.append(row)
  at = np.flatnonzero(real)
  fan_outs.append(int((row[at + 1] - row[at]).max(initial=1)))
  kinds.append((False, True))
  children.append(offset + len(row) + row)
  small = np.uint8 if codes.bits <= 8 else np.uint16 if codes.bits <= 16 else np.int32
  return Trie(
    codes_NxL=codes,
    token_E=np.concatenate(tokens).astype(small),
    child_E=np.concatenate(children).astype(np.int32),
    row_E=np.concatenate(rows),
    item_N=item_R,
    used=np.array(codes.shape[0], np.int32),
    numbering=np.array(0, np.uint32),
    fan_outs=tuple(fan_outs),
    kinds=tuple(kinds),
    every_prefix=every_prefix,
    origin=(0, 0),
  )


class Children(NamedTuple):
  """The children of nodes [...], padded to a fan-out of C: [..., C] each."""

  token: jax.Array  # int32
  node: jax.Array  # int32
  real: jax.Array  # bool, False for padding


def children(
  trie: Trie, node: jax.Array, fan_out: int, level: jax.Array | int | None = None
) -> Children:
  """The children of each node, padded to a static fan-out.

  Args:
    trie: the catalogue.
    node: int32 [...], nodes above the last level.
    fan_out: C, at least the number of children of any of them.
    level: of their tokens, static or traced. None will do in a trie of every prefix, which has
      rows at the last level alone.
  """
  first, stop = child_range(trie, node)
  offset_xC = jnp.arange(fan_out, dtype=jnp.int32).reshape((1,) * node.ndim + (-1,))
  child = first[..., None] + offset_xC
  real = child < stop[..., None]
  child = jnp.minimum(child, trie.num_nodes - 1)
  if isinstance(level, int):
    may_be_node, may_be_row = trie.kinds[level]
  else:
    may_be_node, may_be_row = map(any, zip(*trie.kinds, strict=True))
  base, last = trie.first_row_node, trie.item_N.shape[0] - 1
  token = jnp.int32(0)
  if may_be_node:
    token = _at(jnp, trie.token_E, jnp.minimum(child, base - 1)).astype(jnp.int32)
  if may_be_row:
    row_token = trie.codes_NxL.token(
      jnp.clip(child - base, 0, last), trie.num_levels - 1 if level is None else level
    )
    token = jnp.where(child < base, token, row_token) if may_be_node else row_token
  return Children(token, child, real)


def child_range(trie: Trie, node: AnyArray) -> tuple[AnyArray, AnyArray]:
  """The first child of each node above the last level, and what follows its last: integers.

  NumPy arrays of nodes are looked up on the host, where no number of them compiles anything.
  """
  xp = _numpy_of(trie, node)
  stored, at = node < trie.first_row_node, _stored(xp, trie, node)
  child, after = _at(xp, trie.child_E, at), _at(xp, trie.child_E, at + 1)
  first_row, stop_row = _at(xp, trie.row_E, at), _at(xp, trie.row_E, at + 1)
  by_row = child < 0
  first = xp.where(by_row, trie.first_row_node + first_row, child)
  stop = xp.where(by_row, trie.first_row_node + stop_row, xp.where(after < 0, ~after, after))
  return xp.where(stored, first, node), xp.where(stored, stop, node + 1)


def rows_below(trie: Trie, node: AnyArray) -> tuple[AnyArray, AnyArray]:
  """The first row below each node, and what follows its last, as `child_range`."""
  xp = _numpy_of(trie, node)
  stored, at = node < trie.first_row_node, _stored(xp, trie, node)
  row = node - trie.first_row_node
  first, stop = _at(xp, trie.row_E, at), _at(xp, trie.row_E, at + 1)
  return xp.where(stored, first, row), xp.where(stored, stop, row + 1)


def _numpy_of(trie: Trie, node: AnyArray) -> Any:
  """NumPy for what the host knows, else JAX."""
  return np if isinstance(node, np.ndarray) and is_known(trie.row_E) else jnp


def _at(xp: Any, array: AnyArray, index: AnyArray) -> Any:
  """array[index] of indices that are in bounds, which spares the check."""
  if xp is np:
    return np.asarray(array)[index]
  return jnp.asarray(array).at[index].get(mode="promise_in_bounds")


def _stored(xp: Any, trie: Trie, node: AnyArray) -> Any:
  return xp.minimum(node, trie.first_row_node - 2)


def paths(trie: Trie) -> jax.Array:
  """Each item's node at every depth, root to leaf: int32 [N, L + 1], by item row.

  The trie must lead to all items in use; rows that are room for more have the root alone.
  """
  used = int(trie.used)
  path_NxLp1 = np.full((trie.num_items, trie.num_levels + 1), ROOT, np.int32)
  path_NxLp1[:used] = row_paths(trie)[np.asarray(trie.row_of_N)[:used]]
  return jnp.asarray(path_NxLp1)


def row_paths(trie: Trie) -> np.ndarray:
  """Each row's node at every depth, root to leaf, on the host: int32 [R, L + 1]."""
  row_E, child_E = np.asarray(trie.row_E), np.asarray(trie.child_E)
  row_R = np.arange(row_E[1], dtype=np.int32)
  base, path = trie.first_row_node, [np.zeros_like(row_R)]
  for start, stop in itertools.pairwise(trie.depth_offsets[1:]):
    # A row that has no node at this depth is found below another one, but not asked for.
    among = start + np.searchsorted(row_E[start:stop], row_R, side="right") - 1
    parent = path[-1]
    by_node = (parent < base) & (child_E[np.minimum(parent, base - 1)] >= 0)
    path.append(np.where(by_node, among, base + row_R).astype(np.int32))
  return np.stack([*path, base + row_R], axis=1)
