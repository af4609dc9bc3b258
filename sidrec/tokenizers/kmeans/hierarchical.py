"""Hierarchical k-means: every cluster is clustered again, so that prefixes of codes are clusters.

As the semantic IDs of DSI (Tay et al., NeurIPS 2022, https://arxiv.org/abs/2202.06991). A
cluster of at most V items is not clustered: each of its distinct vectors becomes a child.

Letters: N items, S sampled items of a node, F vector width, L levels, V codes per level, M nodes of
a level, C their children, G nodes of one call.
"""

import functools

import jax
import numpy as np

from sidrec.tokenizers.base import Array, Params, Tokenizer, check_codes, check_vectors
from sidrec.tokenizers.kmeans import balanced
from sidrec.tokenizers.kmeans.cluster_tree import (
  Level,
  child_distances,
  choose_children,
  levels_of,
  sorted_groups,
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
  num_levels: int,
  codebook_size: int,
  iterations: int = 25,
  balance_slack: float | None = None,
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
      `balanced` for equal vectors. At least 1; None or 0 for no such bound.

  Returns:
    A tokenizer whose functions raise ValueError for vectors that `check_vectors` refuses, for codes
    that are no integers in [0, V) of shape [N, L], and for prefixes that are no node.

  Raises:
    ValueError: for a setting that makes no sense.
  """
  check_settings(num_levels, codebook_size, iterations, balance_slack)
  grow_tree = functools.partial(
    grow,
    num_levels=num_levels,
    codebook_size=codebook_size,
    iterations=iterations,
    balance_slack=balance_slack,
  )
  return Tokenizer(
    name="hierarchical_kmeans",
    num_levels=num_levels,
    codebook_size=codebook_size,
    fit=lambda key, vectors_NxF: grow_tree(key, vectors_NxF)[0],
    encode=_encode,
    decode=functools.partial(_decode, codebook_size),
    costs=functools.partial(_costs, codebook_size),
  )


def grow(
  key: jax.Array,
  vectors_NxF: Array,
  num_levels: int,
  codebook_size: int,
  iterations: int = 25,
  balance_slack: float | None = None,
) -> tuple[Params, np.ndarray]:
  """Fits the tree level by level: the parameters, and the items' codes, int32 [N, L]."""
  items_NxF = check_vectors(vectors_NxF)
  codes_NxL = np.zeros((len(items_NxF), num_levels), np.int32)
  node_N = np.zeros(len(items_NxF), np.int32)
  params = {}
  for depth, level_key in enumerate(jax.random.split(key, num_levels)):
    level = _split_nodes(
      level_key, items_NxF, node_N, codebook_size, iterations, balance_slack or 0
    )
    level, codes_N = _without_unused(level, items_NxF, node_N)
    codes_NxL[:, depth] = codes_N
    node_N = level.first_M[node_N] + codes_N
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
  order_N, start_M, count_M = sorted_groups(node_N)
  small_M = count_M <= codebook_size
  size_M = np.where(small_M, count_M, codebook_size).astype(np.int32)
  first_M = (np.cumsum(size_M) - size_M).astype(np.int32)
  centroids_CxF = np.empty((int(size_M.sum()), items_NxF.shape[1]), np.float32)
  radius_C = np.full(len(centroids_CxF), np.inf, np.float32)

  child_is_item_C = np.flatnonzero(np.repeat(small_M, size_M))
  items = order_N[np.repeat(small_M, count_M)]
  for begin in range(0, len(items), COPY_ROWS):
    some = slice(begin, begin + COPY_ROWS)
    centroids_CxF[child_is_item_C[some]] = items_NxF[items[some]]

  for nodes, found_GxVxF in _cluster_nodes(
    key, items_NxF, order_N, start_M, count_M, np.flatnonzero(~small_M), codebook_size, iterations
  ):
    for node, found_VxF in zip(nodes, found_GxVxF, strict=True):
      children = slice(first_M[node], first_M[node] + codebook_size)
      rows = order_N[start_M[node] : start_M[node] + count_M[node]]
      if slack:
        found_VxF, radius_C[children] = _balance(key, items_NxF, rows, found_VxF, slack)
      centroids_CxF[children] = found_VxF
  return Level(first_M, size_M, small_M, centroids_CxF, radius_C)


def _cluster_nodes(
  key: jax.Array,
  items_NxF: np.ndarray,
  order_N: np.ndarray,
  start_M: np.ndarray,
  count_M: np.ndarray,
  nodes: np.ndarray,
  codebook_size: int,
  iterations: int,
):
  """Yields nodes and their centroids [G, V, F]: k-means of nodes of like size in one call."""
  wanted = np.minimum(count_M[nodes], NODE_SAMPLE * codebook_size)
  # Steps of four from 2V keep the programs few.
  steps = np.ceil(np.log2(np.maximum(wanted / (2 * codebook_size), 1)) / 2)
  room = 2 * codebook_size * 4 ** steps.astype(np.int64)
  room = np.minimum(room, NODE_SAMPLE * codebook_size)
  for size in np.unique(room):
    alike = nodes[room == size]
    num_nodes = max(1, CALL_ROWS // int(size))
    for begin in range(0, len(alike), num_nodes):
      some = alike[begin : begin + num_nodes]
      points_GxSxF = np.zeros((num_nodes, size, items_NxF.shape[1]), np.float32)
      count_G = np.ones(num_nodes, np.int32)
      for place, node in enumerate(some):
        sampled = sample_rows(int(count_M[node]), int(size), jax.random.fold_in(key, node))
        points_GxSxF[place, : len(sampled)] = items_NxF[order_N[start_M[node] + sampled]]
        count_G[place] = len(sampled)
      keys_G = jax.vmap(functools.partial(jax.random.fold_in, key))(
        np.pad(some, (0, num_nodes - len(some)))
      )
      found = _kmeans_of_nodes(keys_G, points_GxSxF, codebook_size, iterations, count_G)
      yield some, np.asarray(found)[: len(some)]


@functools.partial(jax.jit, static_argnames="num_clusters")
def _kmeans_of_nodes(
  keys_G: jax.Array,
  points_GxSxF: jax.Array,
  num_clusters: int,
  num_iterations: int,
  count_G: jax.Array,
) -> jax.Array:
  """Centroids [G, V, F] of several nodes; rows from count_G[g] on are padding."""

  def one_node(key: jax.Array, points_SxF: jax.Array, count: jax.Array) -> jax.Array:
    return kmeans(key, points_SxF, num_clusters, num_iterations, count)[0]

  if len(points_GxSxF) == 1:  # the plain program is faster than a batch of one
    return one_node(keys_G[0], points_GxSxF[0], count_G[0])[None]
  return jax.vmap(one_node)(keys_G, points_GxSxF, count_G)


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
    num_children = len(level.centroids_CxF)
    used_C = np.bincount(level.first_M[node_N] + codes_N, minlength=num_children) > 0
    if used_C.all():
      return level, codes_N
    parent_C = np.repeat(np.arange(len(level.first_M)), level.size_M)
    size_M = np.bincount(parent_C[used_C], minlength=len(level.first_M)).astype(np.int32)
    changed_N = (size_M != level.size_M)[node_N]
    level = Level(
      first_M=(np.cumsum(size_M) - size_M).astype(np.int32),
      size_M=size_M,
      exact_M=level.exact_M,
      centroids_CxF=level.centroids_CxF[used_C],
      radius_C=level.radius_C[used_C],
    )
    # Chosen anew rather than renumbered: the codes are then those that `encode` gives.
    rows = np.flatnonzero(changed_N)
    codes_N[rows], _ = choose_children(level, items_NxF, node_N[rows], rows)


def _encode(params: Params, vectors_NxF: Array) -> np.ndarray:
  levels = levels_of(params)
  items_NxF = check_vectors(vectors_NxF, levels[0].centroids_CxF.shape[1])
  node_N = np.zeros(len(items_NxF), np.int32)
  codes_NxL = np.zeros((len(items_NxF), len(levels)), np.int32)
  for depth, level in enumerate(levels):
    codes_NxL[:, depth], _ = choose_children(level, items_NxF, node_N)
    node_N = level.first_M[node_N] + codes_NxL[:, depth]
  return codes_NxL


def _decode(codebook_size: int, params: Params, codes_NxL: Array) -> np.ndarray:
  """The centroids of the deepest nodes."""
  levels = levels_of(params)
  checked_NxL = check_codes(codes_NxL, len(levels), codebook_size)
  return levels[-1].centroids_CxF[walk(levels, checked_NxL, len(levels))]


def _costs(
  codebook_size: int, params: Params, vectors_NxF: Array, codes_NxL: Array, level: int
) -> np.ndarray:
  """Squared distances to the children of each item's prefix: float32 [N, V], inf for no child."""
  levels = levels_of(params)
  items_NxF = check_vectors(vectors_NxF, levels[0].centroids_CxF.shape[1])
  checked_NxL = check_codes(codes_NxL, len(levels), codebook_size)
  node_N = walk(levels, checked_NxL, level)
  return child_distances(levels[level], items_NxF, node_N, codebook_size)
