"""A level of a tree of clusters: each item moves from its node to the nearest child of that node.

Only nodes that exist are stored. Items of one node stand together in tiles, so that one compiled
program serves many nodes, and memory grows neither with N·V nor with a copy of the items.

Letters: N items, F vector width, M nodes of a level, C their children (the nodes of the next
level), V children of a node at most; X tiles, G of them in one call, T items of a tile, K children
that a tile has room for.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.tokenizers.base import Params
from sidrec.tokenizers.kmeans.balanced import nearest_accepting
from sidrec.tokenizers.kmeans.kmeans import relative_distances

TILE_ROWS = 4096  # G·T
TILE_SIZE = 1024  # T at most
TILE_DIFFERENCES = 2**19  # G·T·K at most where distances are sums of squared differences


class Level(NamedTuple):
  """The nodes of a level and their children; those of node m are first_M[m] + 0, 1, 2, …"""

  first_M: np.ndarray  # int32
  size_M: np.ndarray  # int32, the number of children
  exact_M: np.ndarray  # bool: children are single vectors, so equal ones must be at distance 0
  centroids_CxF: np.ndarray  # float32
  radius_C: np.ndarray  # float32, squared: which items a child accepts


class Tiles(NamedTuple):
  """Tiles that go through one program."""

  exact: bool  # how distances are computed
  room: int  # K
  size: int  # T
  node_X: np.ndarray  # of each tile
  start_X: np.ndarray  # where its items start among those sorted by node
  count_X: np.ndarray  # how many there are, at most T


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
    missing_N = codes_N >= level.size_M[node_N]
    if missing_N.any():
      row = int(missing_N.argmax())
      raise ValueError(
        f"codes {codes_NxL[row].tolist()} in row {row} lead to no cluster; give codes that this "
        "tokenizer made"
      )
    node_N = level.first_M[node_N] + codes_N
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
  several_N = level.size_M[node_N] > 1
  for at, (code_X, distance_X) in _in_tiles(
    _choose, level, vectors_NxF, node_N, rows_N, np.flatnonzero(several_N)
  ):
    code_N[at], distance_N[at] = code_X, distance_X
  return code_N, distance_N


def child_distances(
  level: Level, vectors_NxF: np.ndarray, node_N: np.ndarray, num_codes: int
) -> np.ndarray:
  """Squared distances to the children of each item's node: float32 [N, V], inf for no child."""
  distance_NxV = np.full((len(node_N), num_codes), np.inf, np.float32)
  for at, found_XxK in _in_tiles(
    _distances, level, vectors_NxF, node_N, None, np.arange(len(node_N))
  ):
    width = min(num_codes, found_XxK.shape[1])
    distance_NxV[at, :width] = found_XxK[:, :width]
  return distance_NxV


def sorted_groups(node_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Items by node: their order int64 [N], where each node's start, and how many it has."""
  order_N = np.argsort(node_N, kind="stable")
  start_G = np.flatnonzero(np.diff(node_N[order_N], prepend=-1))
  return order_N, start_G, np.diff(start_G, append=len(node_N))


def _in_tiles(
  f: Callable[..., Any],
  level: Level,
  vectors_NxF: np.ndarray,
  node_N: np.ndarray,
  rows_N: np.ndarray | None,
  wanted: np.ndarray,
) -> Iterator[tuple[np.ndarray, Any]]:
  """Yields places in node_N and what `f` gives for the items there; `wanted` are the places."""
  order, start_G, count_G = sorted_groups(node_N[wanted])
  order = wanted[order]
  for tiles in _plan(level, node_N[order[start_G]], start_G, count_G):
    num_tiles = TILE_ROWS // tiles.size
    if tiles.exact:
      num_tiles = max(1, min(num_tiles, TILE_DIFFERENCES // (tiles.size * tiles.room)))
    for first in range(0, len(tiles.node_X), num_tiles):
      some = slice(first, first + num_tiles)
      missing = num_tiles - len(tiles.node_X[some])
      node_G, start_G, count_G = (
        np.pad(x[some], (0, missing)) for x in (tiles.node_X, tiles.start_X, tiles.count_X)
      )
      real_GxT = np.arange(tiles.size) < count_G[:, None]
      at_GxT = order[np.where(real_GxT, start_G[:, None] + np.arange(tiles.size), 0)]
      exists_GxK = np.arange(tiles.room) < level.size_M[node_G][:, None]
      # Room without a child repeats the first one, which changes no nearest child.
      child_GxK = level.first_M[node_G][:, None] + np.where(exists_GxK, np.arange(tiles.room), 0)
      found = f(
        tiles.exact,
        vectors_NxF[at_GxT if rows_N is None else rows_N[at_GxT]],
        level.centroids_CxF[child_GxK],
        level.radius_C[child_GxK],
        exists_GxK,
      )
      yield at_GxT[real_GxT], jax.tree.map(lambda x, real=real_GxT: np.asarray(x)[real], found)


def _plan(
  level: Level, node_G: np.ndarray, start_G: np.ndarray, count_G: np.ndarray
) -> Iterator[Tiles]:
  """Cuts each node's items into tiles and sorts these by program.

  The program depends on the node alone, not on how many items stand there, so that an item gets
  the same code alone and among others.
  """
  # Powers of four keep the programs few.
  room_G = 4 ** np.ceil(np.log2(np.maximum(level.size_M[node_G], 4)) / 2).astype(np.int64)
  for exact in (False, True):
    for room in np.unique(room_G[level.exact_M[node_G] == exact]):
      here = np.flatnonzero((room_G == room) & (level.exact_M[node_G] == exact))
      size = int(min(room, TILE_SIZE)) if exact else TILE_SIZE
      tiles_G = -(-count_G[here] // size)
      group_X = np.repeat(here, tiles_G)
      place_X = np.arange(len(group_X)) - np.repeat(np.cumsum(tiles_G) - tiles_G, tiles_G)
      count_X = np.minimum(count_G[group_X] - place_X * size, size)
      start_X = start_G[group_X] + place_X * size
      yield Tiles(exact, int(room), size, node_G[group_X], start_X, count_X)


@functools.partial(jax.jit, static_argnames="exact")
def _choose(
  exact: bool,
  points_GxTxF: jax.Array,
  centroids_GxKxF: jax.Array,
  radius_GxK: jax.Array,
  exists_GxK: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Each item's child and the squared distance to it: int32 and float32 [G, T]."""
  distance_GxKxT = _tile_distances(exact, points_GxTxF, centroids_GxKxF, exists_GxK)
  return jax.vmap(nearest_accepting)(distance_GxKxT, radius_GxK)


@functools.partial(jax.jit, static_argnames="exact")
def _distances(
  exact: bool,
  points_GxTxF: jax.Array,
  centroids_GxKxF: jax.Array,
  radius_GxK: jax.Array,
  exists_GxK: jax.Array,
) -> jax.Array:
  """Squared distances to all children: float32 [G, T, K]."""
  del radius_GxK
  distance_GxKxT = _tile_distances(exact, points_GxTxF, centroids_GxKxF, exists_GxK)
  return jnp.maximum(distance_GxKxT, 0).swapaxes(1, 2)


def _tile_distances(
  exact: bool, points_GxTxF: jax.Array, centroids_GxKxF: jax.Array, exists_GxK: jax.Array
) -> jax.Array:
  """Squared distances: float32 [G, K, T], inf for children that do not exist."""
  if exact:

    def add(distance_GxKxT: jax.Array, x: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
      points_GxT, centroids_GxK = x
      return distance_GxKxT + jnp.square(points_GxT[:, None] - centroids_GxK[:, :, None]), None

    shape = (*centroids_GxKxF.shape[:2], points_GxTxF.shape[1])
    by_width = (jnp.moveaxis(points_GxTxF, 2, 0), jnp.moveaxis(centroids_GxKxF, 2, 0))
    distance_GxKxT, _ = jax.lax.scan(add, jnp.zeros(shape), by_width, unroll=8)
  else:

    def one_tile(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
      relative_KxT, shared_T = relative_distances(*tile)
      return relative_KxT + shared_T[None]

    distance_GxKxT = jax.lax.map(one_tile, (points_GxTxF, centroids_GxKxF))
  return jnp.where(exists_GxK[:, :, None], distance_GxKxT, jnp.inf)
