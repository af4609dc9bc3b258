"""A level of a tree of clusters: each item moves from its node to the nearest child of that node.

Only nodes that exist are stored. Items of one node stand together in tiles, so that one compiled
program serves many nodes, and memory grows neither with N·V nor with a copy of the items.

E are the nodes of a level, X all their children (the nodes of the next level), G tiles, R items of
a tile, C children that a tile has room for.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.core.codes import Groups, group
from sidrec.tokenizers.base import Params
from sidrec.tokenizers.kmeans.balanced import nearest_accepting
from sidrec.tokenizers.kmeans.kmeans import relative_distances

TILE_ROWS = 4096  # G·R
TILE_SIZE = 1024  # R at most
TILE_DIFFERENCES = 2**19  # G·R·C at most where distances are sums of squared differences


class Level(NamedTuple):
  """The nodes of a level and their children; those of node e are first_E[e] + 0, 1, 2, …"""

  first_E: np.ndarray  # int32
  size_E: np.ndarray  # int32, the number of children
  exact_E: np.ndarray  # bool: children are single vectors, so equal ones must be at distance 0
  centroids_XxF: np.ndarray  # float32
  radius_X: np.ndarray  # float32, squared: which items a child accepts


class Tiles(NamedTuple):
  """Tiles that go through one program."""

  exact: bool  # how distances are computed
  room: int  # C
  size: int  # R
  node_G: np.ndarray  # of each tile
  start_G: np.ndarray  # where its items start among those sorted by node
  count_G: np.ndarray  # how many there are, at most R


def levels_of(params: Params) -> list[Level]:
  """The levels as NumPy arrays, from the root down."""
  return [
    Level(**{name: np.asarray(x) for name, x in params[f"level_{depth}"].items()})
    for depth in range(len(params))
  ]


def walk(levels: list[Level], codes_NxL: np.ndarray, depth: int) -> np.ndarray:
  """The nodes that the first `depth` codes lead to; ValueError where there is none."""
  node_N = np.zeros(len(codes_NxL), np.int32)
  for level, codes_N in zip(levels[:depth], codes_NxL.T, strict=False):
    missing_N = codes_N >= level.size_E[node_N]
    if missing_N.any():
      row = int(missing_N.argmax())
      raise ValueError(
        f"codes {codes_NxL[row].tolist()} in row {row} lead to no cluster; give codes that this "
        "tokenizer made"
      )
    node_N = level.first_E[node_N] + codes_N
  return node_N


def choose_children(
  level: Level, vectors_NxF: np.ndarray, node_N: np.ndarray, rows_N: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """The nearest child that accepts the item, of each item's node; if none, the nearest.

  Args:
    level: the nodes and their children.
    vectors_NxF: float32, memory-mapped or not.
    node_N: the node of each item.
    rows_N: the items' rows of the vectors; None for all rows.

  Returns:
    The children's places in their node, int32 [N], and squared distances to them, float32 [N] (0
    for an only child, which needs none).
  """
  code_N, distance_N = np.zeros(len(node_N), np.int32), np.zeros(len(node_N), np.float32)
  several_N = level.size_E[node_N] > 1
  for at, (code_R, distance_R) in _in_tiles(
    _choose, level, vectors_NxF, node_N, rows_N, np.flatnonzero(several_N)
  ):
    code_N[at], distance_N[at] = code_R, distance_R
  return code_N, distance_N


def child_distances(
  level: Level, vectors_NxF: np.ndarray, node_N: np.ndarray, num_codes: int
) -> np.ndarray:
  """Squared distances to the children of each item's node: float32 [N, V], inf for no child."""
  distance_NxV = np.full((len(node_N), num_codes), np.inf, np.float32)
  for at, found_RxC in _in_tiles(
    _distances, level, vectors_NxF, node_N, None, np.arange(len(node_N))
  ):
    width = min(num_codes, found_RxC.shape[1])
    distance_NxV[at, :width] = found_RxC[:, :width]
  return distance_NxV


def items_by_node(node_N: np.ndarray) -> Groups:
  """Items by the node that they are in; only nodes with items."""
  return group(node_N[:, None])


def _in_tiles(
  f: Callable[..., Any],
  level: Level,
  vectors_NxF: np.ndarray,
  node_N: np.ndarray,
  rows_N: np.ndarray | None,
  wanted: np.ndarray,
) -> Iterator[tuple[np.ndarray, Any]]:
  """Yields places in node_N and what `f` gives for the items there; `wanted` are the places."""
  nodes = items_by_node(node_N[wanted])
  order = wanted[nodes.order_N]
  for tiles in _plan(level, node_N[order[nodes.start_G]], nodes):
    num_tiles = TILE_ROWS // tiles.size
    if tiles.exact:
      num_tiles = max(1, min(num_tiles, TILE_DIFFERENCES // (tiles.size * tiles.room)))
    for first in range(0, len(tiles.node_G), num_tiles):
      some = slice(first, first + num_tiles)
      missing = num_tiles - len(tiles.node_G[some])
      node_G, start_G, count_G = (
        np.pad(x[some], (0, missing)) for x in (tiles.node_G, tiles.start_G, tiles.count_G)
      )
      real_GxR = np.arange(tiles.size) < count_G[:, None]
      at_GxR = order[np.where(real_GxR, start_G[:, None] + np.arange(tiles.size), 0)]
      exists_GxC = np.arange(tiles.room) < level.size_E[node_G][:, None]
      # Room without a child repeats the first one, which changes no nearest child.
      child_GxC = level.first_E[node_G][:, None] + np.where(exists_GxC, np.arange(tiles.room), 0)
      found = f(
        vectors_NxF[at_GxR if rows_N is None else rows_N[at_GxR]],
        level.centroids_XxF[child_GxC],
        level.radius_X[child_GxC],
        exists_GxC,
        exact=tiles.exact,
      )
      yield at_GxR[real_GxR], jax.tree.map(lambda x, real=real_GxR: np.asarray(x)[real], found)


def _plan(level: Level, node_E: np.ndarray, items: Groups) -> Iterator[Tiles]:
  """Cuts each node's items into tiles and sorts these by program.

  The program depends on the node alone, not on how many items stand there, so that an item gets
  the same code alone and among others.

  Args:
    level: all nodes.
    node_E: those with items.
    items: the items of each of these.
  """
  # Powers of four keep the programs few.
  room_E = 4 ** np.ceil(np.log2(np.maximum(level.size_E[node_E], 4)) / 2).astype(np.int64)
  for exact in (False, True):
    for room in np.unique(room_E[level.exact_E[node_E] == exact]).tolist():
      here = np.flatnonzero((room_E == room) & (level.exact_E[node_E] == exact))
      size = min(room, TILE_SIZE) if exact else TILE_SIZE
      tiles_E = -(-items.size_G[here] // size)
      owner_G = np.repeat(here, tiles_E)
      place_G = np.arange(len(owner_G)) - np.repeat(np.cumsum(tiles_E) - tiles_E, tiles_E)
      count_G = np.minimum(items.size_G[owner_G] - place_G * size, size)
      start_G = items.start_G[owner_G] + place_G * size
      yield Tiles(exact, room, size, node_E[owner_G], start_G, count_G)


@functools.partial(jax.jit, static_argnames="exact")
def _choose(
  points_GxRxF: jax.Array,
  centroids_GxCxF: jax.Array,
  radius_GxC: jax.Array,
  exists_GxC: jax.Array,
  *,
  exact: bool,
) -> tuple[jax.Array, jax.Array]:
  """Each item's child and the squared distance to it: int32 and float32 [G, R]."""
  distance_GxCxR = _tile_distances(points_GxRxF, centroids_GxCxF, exists_GxC, exact=exact)
  return jax.vmap(nearest_accepting)(distance_GxCxR, radius_GxC)


@functools.partial(jax.jit, static_argnames="exact")
def _distances(
  points_GxRxF: jax.Array,
  centroids_GxCxF: jax.Array,
  radius_GxC: jax.Array,
  exists_GxC: jax.Array,
  *,
  exact: bool,
) -> jax.Array:
  """Squared distances to all children: float32 [G, R, C]."""
  del radius_GxC
  distance_GxCxR = _tile_distances(points_GxRxF, centroids_GxCxF, exists_GxC, exact=exact)
  return jnp.maximum(distance_GxCxR, 0).swapaxes(1, 2)


def _tile_distances(
  points_GxRxF: jax.Array, centroids_GxCxF: jax.Array, exists_GxC: jax.Array, *, exact: bool
) -> jax.Array:
  """Squared distances: float32 [G, C, R], inf for children that do not exist."""
  if exact:

    def add(distance_GxCxR: jax.Array, x: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
      points_GxR, centroids_GxC = x
      return distance_GxCxR + jnp.square(points_GxR[:, None] - centroids_GxC[:, :, None]), None

    shape = (*centroids_GxCxF.shape[:2], points_GxRxF.shape[1])
    by_width = (jnp.moveaxis(points_GxRxF, 2, 0), jnp.moveaxis(centroids_GxCxF, 2, 0))
    distance_GxCxR, _ = jax.lax.scan(add, jnp.zeros(shape), by_width, unroll=8)
  else:

    def one_tile(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
      relative_CxR, shared_R = relative_distances(*tile)
      return relative_CxR + shared_R[None]

    distance_GxCxR = jax.lax.map(one_tile, (points_GxRxF, centroids_GxCxF))
  return jnp.where(exists_GxC[:, :, None], distance_GxCxR, jnp.inf)
