"""Hierarchical k-means: every cluster is clustered again, so that prefixes of codes are clusters.

As the semantic IDs of DSI (Tay et al., NeurIPS 2022, https://arxiv.org/abs/2202.06991). A
cluster of at most V items is not clustered: each of its distinct vectors becomes a child.

E are the nodes of a level, R sampled items of a node, G nodes of one call, X all children of a
level's nodes.
"""

import functools
from collections.abc import Iterator

import jax
import numpy as np

from sidrec.core.codes import Groups
from sidrec.tokenizers.base import Params, Tokenizer, checked
from sidrec.tokenizers.kmeans import balanced
from sidrec.tokenizers.kmeans.cluster_tree import (
  Level,
  child_distances,
  choose_children,
  items_by_node,
  levels_of,
  walk,
)
from sidrec.tokenizers.kmeans.kmeans import kmeans
from sidrec.tokenizers.kmeans.residual import balanced_kmeans, check_settings, sample_rows

# A node's children are learnt from at most that many of its items per code; then all choose theirs.
NODE_SAMPLE = 128

# Items in the k-means of one call: several small nodes, padded to one size.
CALL_ROWS = 8192

# Rows that are copied at once.
COPY_ROWS = 65_536


def hierarchical_kmeans(
  num_levels: int, codebook_size: int, iterations: int, balance_slack: float = 0.0
) -> Tokenizer:
  """Hierarchical k-means as a tokenizer.

  Its parameters hold 'level_0' … 'level_{L-1}', each the arrays of a `Level`, whose nodes are the
  children of the level above. The last level holds at most N centroids. Unseen items go to the
  nearest existing child at every level, so they share their code with training items.

  Args:
    num_levels: L.
    codebook_size: V.
    iterations: of Lloyd's algorithm, at most, per node.
    balance_slack: a child gets at most this times n / V of its node's n > V items, rounded up; see
      `balanced` for equal vectors. At least 1, or 0 for no such bound.

  Returns:
    A tokenizer whose functions raise ValueError as `checked` says, and for prefixes that are no
    node.

  Raises:
    ValueError: for a setting that makes no sense.
  """
  check_settings(num_levels, codebook_size, iterations, balance_slack)

  def fit(key: jax.Array, vectors_NxF: np.ndarray) -> Params:
    return grow(key, vectors_NxF, num_levels, codebook_size, iterations, balance_slack)[0]

  tokenizer = Tokenizer(
    name="hierarchical_kmeans",
    num_levels=num_levels,
    codebook_size=codebook_size,
    fit=fit,
    encode=_encode,
    decode=_decode,
    costs=functools.partial(_costs, codebook_size),
  )
  return checked(tokenizer, width=lambda params: params["level_0"]["centroids_XxF"].shape[1])


def grow(
  key: jax.Array,
  items_NxF: np.ndarray,
  num_levels: int,
  codebook_size: int,
  iterations: int,
  balance_slack: float = 0.0,
) -> tuple[Params, np.ndarray]:
  """Fits the tree level by level: the parameters, and the items' codes, int32 [N, L]."""
  codes_NxL = np.zeros((len(items_NxF), num_levels), np.int32)
  node_N = np.zeros(len(items_NxF), np.int32)
  params = {}
  for depth, level_key in enumerate(jax.random.split(key, num_levels)):
    level = _split_nodes(level_key, items_NxF, node_N, codebook_size, iterations, balance_slack)
    level, codes_N = _without_unused(level, items_NxF, node_N)
    codes_NxL[:, depth] = codes_N
    node_N = level.first_E[node_N] + codes_N
    params[f"level_{depth}"] = level._asdict()
  return params, codes_NxL


def _split_nodes(
  key: jax.Array,
  items_NxF: np.ndarray,
  node_N: np.ndarray,
  codebook_size: int,
  iterations: int,
  slack: float,
) -> Level:
  """Gives children to all nodes of a level, each of which has items; some may turn out unused."""
  nodes = items_by_node(node_N)
  small_E = nodes.size_G <= codebook_size
  size_E = np.where(small_E, nodes.size_G, codebook_size).astype(np.int32)
  first_E = (np.cumsum(size_E) - size_E).astype(np.int32)
  centroids_XxF = np.empty((int(size_E.sum()), items_NxF.shape[1]), np.float32)
  radius_X = np.full(len(centroids_XxF), np.inf, np.float32)

  child_is_item = np.flatnonzero(np.repeat(small_E, size_E))
  items = nodes.order_N[np.repeat(small_E, nodes.size_G)]
  for begin in range(0, len(items), COPY_ROWS):
    some = slice(begin, begin + COPY_ROWS)
    centroids_XxF[child_is_item[some]] = items_NxF[items[some]]

  large = np.flatnonzero(~small_E)
  for some, found_GxVxF in _cluster_nodes(key, items_NxF, nodes, large, codebook_size, iterations):
    for node, found_VxF in zip(some, found_GxVxF, strict=True):
      children = slice(first_E[node], first_E[node] + codebook_size)
      if slack:
        rows = _rows_of(nodes, node)
        found_VxF, radius_X[children] = _balance(key, items_NxF, rows, found_VxF, slack)
      centroids_XxF[children] = found_VxF
  return Level(first_E, size_E, small_E, centroids_XxF, radius_X)


def _rows_of(nodes: Groups, node: int) -> np.ndarray:
  """The items of a node, int64."""
  start = nodes.start_G[node]
  return nodes.order_N[start : start + nodes.size_G[node]]


def _cluster_nodes(
  key: jax.Array,
  items_NxF: np.ndarray,
  nodes: Groups,
  wanted: np.ndarray,
  codebook_size: int,
  iterations: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields nodes and their centroids [G, V, F]: k-means of nodes of like size in one call."""
  most = NODE_SAMPLE * codebook_size
  sampled = np.minimum(nodes.size_G[wanted], most)
  # Steps of four from 2V keep the programs few.
  steps = np.ceil(np.log2(np.maximum(sampled / (2 * codebook_size), 1)) / 2)
  room = np.minimum(2 * codebook_size * 4 ** steps.astype(np.int64), most)
  for size in np.unique(room).tolist():
    alike = wanted[room == size]
    num_nodes = max(1, CALL_ROWS // size)
    for begin in range(0, len(alike), num_nodes):
      some = alike[begin : begin + num_nodes]
      points_GxRxF = np.zeros((num_nodes, size, items_NxF.shape[1]), np.float32)
      count_G = np.ones(num_nodes, np.int32)
      for place, node in enumerate(some):
        rows = _rows_of(nodes, node)
        rows = rows[sample_rows(len(rows), size, jax.random.fold_in(key, node))]
        points_GxRxF[place, : len(rows)] = items_NxF[rows]
        count_G[place] = len(rows)
      keys_G = jax.vmap(functools.partial(jax.random.fold_in, key))(
        np.pad(some, (0, num_nodes - len(some)))
      )
      found = _kmeans_of_nodes(keys_G, points_GxRxF, codebook_size, iterations, count_G)
      yield some, np.asarray(found)[: len(some)]


@functools.partial(jax.jit, static_argnames="num_clusters")
def _kmeans_of_nodes(
  keys_G: jax.Array,
  points_GxRxF: jax.Array,
  num_clusters: int,
  num_iterations: int,
  count_G: jax.Array,
) -> jax.Array:
  """Centroids [G, V, F] of several nodes; rows from count_G[g] on are padding."""

  def one_node(key: jax.Array, points_RxF: jax.Array, count: jax.Array) -> jax.Array:
    return kmeans(key, points_RxF, num_clusters, num_iterations, count)[0]

  if len(points_GxRxF) == 1:  # the plain program is faster than a batch of one
    return one_node(keys_G[0], points_GxRxF[0], count_G[0])[None]
  return jax.vmap(one_node)(keys_G, points_GxRxF, count_G)


def _balance(
  key: jax.Array, items_NxF: np.ndarray, rows: np.ndarray, found_VxF: np.ndarray, slack: float
) -> tuple[np.ndarray, np.ndarray]:
  """Centroids [V, F] and squared radii [V] that bound a node's children."""
  num_codes = len(found_VxF)
  sample = rows[sample_rows(len(rows), NODE_SAMPLE * num_codes, key)]
  centroids_VxF = balanced_kmeans(found_VxF, items_NxF[sample], slack)
  whole = np.array([num_codes], np.int32)

  def propose(places: np.ndarray, radius_V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    alone = Level(np.zeros_like(whole), whole, np.zeros(1, bool), centroids_VxF, radius_V)
    return choose_children(alone, items_NxF, np.zeros(len(places), np.int32), rows[places])

  most = balanced.capacity(len(rows), num_codes, slack)
  return centroids_VxF, balanced.fill(propose, len(rows), num_codes, most)[0]


def _without_unused(
  level: Level, items_NxF: np.ndarray, node_N: np.ndarray
) -> tuple[Level, np.ndarray]:
  """Drops children that no item chooses; also the items' codes, int32 [N]."""
  codes_N, _ = choose_children(level, items_NxF, node_N)
  while True:
    num_children = len(level.centroids_XxF)
    used_X = np.bincount(level.first_E[node_N] + codes_N, minlength=num_children) > 0
    if used_X.all():
      return level, codes_N
    parent_X = np.repeat(np.arange(len(level.first_E)), level.size_E)
    size_E = np.bincount(parent_X[used_X], minlength=len(level.first_E)).astype(np.int32)
    changed_N = (size_E != level.size_E)[node_N]
    level = Level(
      first_E=(np.cumsum(size_E) - size_E).astype(np.int32),
      size_E=size_E,
      exact_E=level.exact_E,
      centroids_XxF=level.centroids_XxF[used_X],
      radius_X=level.radius_X[used_X],
    )
    # Chosen anew rather than renumbered: the codes are then those that `encode` gives.
    rows = np.flatnonzero(changed_N)
    codes_N[rows], _ = choose_children(level, items_NxF, node_N[rows], rows)


def _encode(params: Params, items_NxF: np.ndarray) -> np.ndarray:
  levels = levels_of(params)
  node_N = np.zeros(len(items_NxF), np.int32)
  codes_NxL = np.zeros((len(items_NxF), len(levels)), np.int32)
  for depth, level in enumerate(levels):
    codes_NxL[:, depth], _ = choose_children(level, items_NxF, node_N)
    node_N = level.first_E[node_N] + codes_NxL[:, depth]
  return codes_NxL


def _decode(params: Params, codes_NxL: np.ndarray) -> np.ndarray:
  """The centroids of the deepest nodes."""
  levels = levels_of(params)
  return levels[-1].centroids_XxF[walk(levels, codes_NxL, len(levels))]


def _costs(
  codebook_size: int, params: Params, items_NxF: np.ndarray, codes_NxL: np.ndarray, level: int
) -> np.ndarray:
  """Squared distances to the children of each item's prefix: float32 [N, V], inf for no child."""
  levels = levels_of(params)
  return child_distances(levels[level], items_NxF, walk(levels, codes_NxL, level), codebook_size)
