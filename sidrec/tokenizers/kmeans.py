"""k-means on an accelerator: k-means++ seeds, Lloyd's iterations, no empty clusters.

Letters: N points, F their width, V clusters. Everything is float32; distances
are squared and Euclidean.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Points whose distances to all centroids are in memory at once.
BLOCK_SIZE = 1024

# Seeds are sought among at most that many points per cluster.
SEED_SAMPLE = 64


class Clusters(NamedTuple):
  """Holds Lloyd's progress: the centroids and where the points stand to them."""

  centroids_VxF: jax.Array
  assignment_N: jax.Array  # int32, the nearest centroid
  distance_N: jax.Array  # squared, to that centroid


def nearest(points_NxF: jax.Array, centroids_VxF: jax.Array) -> jax.Array:
  """The nearest centroid of each point, the first one on a tie: int32 [N].

  Works in blocks of points, so memory does not grow with N·V.
  """
  return _nearest(points_NxF, centroids_VxF)[0]


@functools.partial(jax.jit, static_argnames="num_clusters")
def kmeans(
  key: jax.Array, points_NxF: jax.Array, num_clusters: int, num_iterations: int
) -> tuple[jax.Array, jax.Array]:
  """Clusters points by k-means++ and Lloyd's algorithm.

  The sum of squared distances never grows from one iteration to the next. With
  fewer distinct points than clusters, the spare centroids repeat points.

  Args:
    key: decides the seeds; the same key gives the same clusters.
    points_NxF: finite float32 [N, F].
    num_clusters: V.
    num_iterations: at most that many iterations; fewer if nothing moves any more.

  Returns:
    centroids float32 [V, F] and each point's nearest one, int32 [N].

  Raises:
    ValueError: without points or clusters.
  """
  if points_NxF.ndim != 2 or not points_NxF.shape[0]:
    raise ValueError(f"k-means needs points of shape [N, F] with N > 0, not {points_NxF.shape}")
  if num_clusters < 1:
    raise ValueError(f"k-means needs at least one cluster, not {num_clusters}")
  points_NxF = points_NxF.astype(jnp.float32)

  def improve(carry: tuple[jax.Array, jax.Array, Clusters]):
    iteration, _, before = carry
    centroids_VxF = _means(points_NxF, before)
    after = Clusters(centroids_VxF, *_nearest(points_NxF, centroids_VxF))
    moved = (after.assignment_N != before.assignment_N).any()
    return iteration + 1, moved, after

  seeds_VxF = _seeds(key, points_NxF, num_clusters)
  start = Clusters(seeds_VxF, *_nearest(points_NxF, seeds_VxF))
  _, _, clusters = jax.lax.while_loop(
    lambda carry: (carry[0] < num_iterations) & carry[1],
    improve,
    (jnp.zeros((), jnp.int32), jnp.ones((), bool), start),
  )
  return clusters.centroids_VxF, clusters.assignment_N


def _seeds(key: jax.Array, points_NxF: jax.Array, num_clusters: int) -> jax.Array:
  """Greedy k-means++ (Arthur and Vassilvitskii, 2007): float32 [V, F], all of them points.

  Each seed is the best of a few points drawn by their squared distance to the
  seeds before: the one that leaves the least distance in total.
  """
  sample_key, key = jax.random.split(key)
  if len(points_NxF) > SEED_SAMPLE * num_clusters:
    shape = (SEED_SAMPLE * num_clusters,)
    points_NxF = jax.random.choice(sample_key, points_NxF, shape, replace=False)
  num_tries = 2 + int(math.log(num_clusters))

  def add_seed(distance_N: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    def left_by(candidate: jax.Array) -> jax.Array:
      # Differences first: a point that equals a seed is at distance 0 exactly.
      difference_NxF = points_NxF - points_NxF[candidate][None, :]
      return jnp.minimum(distance_N, jnp.square(difference_NxF).sum(-1))

    # The floor makes the draw uniform once every point is a seed, and else changes nothing.
    logits_N = jnp.log(jnp.maximum(distance_N, 1e-30))
    candidates = jax.random.categorical(key, logits_N, shape=(num_tries,))
    distances = jax.lax.map(left_by, candidates)
    best = jnp.argmin(distances.sum(-1))
    return distances[best], points_NxF[candidates[best]]

  # Every point is equally far before the first seed.
  anywhere_N = jnp.full(len(points_NxF), jnp.finfo(jnp.float32).max)
  _, seeds_VxF = jax.lax.scan(add_seed, anywhere_N, jax.random.split(key, num_clusters))
  return seeds_VxF


def _means(points_NxF: jax.Array, clusters: Clusters) -> jax.Array:
  """The clusters' means; empty ones move to the points farthest from their centroids."""
  num_clusters = len(clusters.centroids_VxF)
  sums_VxF = jax.ops.segment_sum(points_NxF, clusters.assignment_N, num_clusters)
  counts_V = jnp.bincount(clusters.assignment_N, length=num_clusters)
  empty_V = counts_V == 0
  num_far = min(num_clusters, len(points_NxF))
  distance_far, point_far = jax.lax.top_k(clusters.distance_N, num_far)
  # The k-th empty cluster takes the k-th farthest point, if that has a distance to gain.
  rank_V = jnp.clip(jnp.cumsum(empty_V) - 1, 0, num_far - 1)
  moved_VxF = jnp.where(
    (distance_far[rank_V] > 0)[:, None], points_NxF[point_far[rank_V]], clusters.centroids_VxF
  )
  means_VxF = sums_VxF / jnp.maximum(counts_V, 1)[:, None]
  return jnp.where(empty_V[:, None], moved_VxF, means_VxF)


@jax.jit
def _nearest(points_NxF: jax.Array, centroids_VxF: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Each point's nearest centroid, int32 [N], and the squared distance to it."""
  # Distances do not change when everything is shifted, but less is lost in |c|² - 2xc.
  origin_F = centroids_VxF.mean(0)
  centroids_VxF = centroids_VxF - origin_F[None, :]
  lengths_V = jnp.square(centroids_VxF).sum(-1)

  def of_point(point_F: jax.Array) -> tuple[jax.Array, jax.Array]:
    point_F = point_F - origin_F
    cross_V = jnp.dot(centroids_VxF, point_F, precision=jax.lax.Precision.HIGHEST)
    distance_V = lengths_V - 2 * cross_V
    best = jnp.argmin(distance_V).astype(jnp.int32)
    return best, jnp.maximum(distance_V[best] + jnp.square(point_F).sum(), 0)

  return jax.lax.map(of_point, points_NxF, batch_size=BLOCK_SIZE)
