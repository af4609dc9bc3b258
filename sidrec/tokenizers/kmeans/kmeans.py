"""k-means on an accelerator: k-means++ seeds, Lloyd's iterations, no empty clusters.

Everything is float32; distances are squared and Euclidean. V is the number of clusters, R points
that seeds are sought among, X points tried as a seed.

With a mesh, points are spread over its 'data' axis: each device assigns its own, and what they
have in common, sums and counts of clusters, is added up between devices.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# Points whose distances to all centroids are in memory at once.
BLOCK_SIZE = 4096

# Seeds are sought among at most that many points per cluster.
SEED_SAMPLE = 64

# A squared distance below this part of the squared lengths is rounding: the points are equal.
ROUNDING = 4e-6

# Seeds are drawn in two steps, a group of that many points and then one of them.
DRAW_WIDTH = 128


class Clusters(NamedTuple):
  """Holds Lloyd's progress: the centroids and where the points stand to them."""

  centroids_VxF: jax.Array
  assignment_N: jax.Array  # int32, the nearest centroid; V for padding
  distance_N: jax.Array  # squared, to that centroid; 0 for padding


@functools.partial(jax.jit, static_argnames=("num_clusters", "mesh"))
def kmeans(
  key: jax.Array,
  points_NxF: jax.Array,
  num_clusters: int,
  num_iterations: int | jax.Array,
  num_points: int | jax.Array | None = None,
  mesh: Mesh | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Clusters points by k-means++ and Lloyd's algorithm.

  The sum of squared distances never grows from one iteration to the next. With
  fewer distinct points than clusters, the spare centroids repeat points.

  Args:
    key: decides the seeds; the same key gives the same clusters.
    points_NxF: finite float32 [N, F].
    num_clusters: V.
    num_iterations: at most that many iterations; fewer if nothing moves any more.
    num_points: the rows from here on are padding, which has no say; None for no padding.
    mesh: devices that the points are spread over; N is a multiple of their number. The clusters are
      those of one device, up to the rounding of sums. None for no mesh.

  Returns:
    centroids float32 [V, F] and each point's nearest one, int32 [N] (V for padding).

  Raises:
    ValueError: without points or clusters.
  """
  if points_NxF.ndim != 2 or not points_NxF.shape[0]:
    raise ValueError(f"k-means needs points of shape [N, F] with N > 0, not {points_NxF.shape}")
  if num_clusters < 1:
    raise ValueError(f"k-means needs at least one cluster, not {num_clusters}")
  seeds_VxF = choose_seeds(key, points_NxF, num_clusters, num_points)
  return lloyd(points_NxF, seeds_VxF, num_iterations, num_points, mesh)


@functools.partial(jax.jit, static_argnames="mesh")
def lloyd(
  points_NxF: jax.Array,
  seeds_VxF: jax.Array,
  num_iterations: int | jax.Array,
  num_points: int | jax.Array | None = None,
  mesh: Mesh | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Lloyd's algorithm from given seeds, float32 [V, F]; the rest as in `kmeans`."""
  points_NxF = points_NxF.astype(jnp.float32)
  num_clusters = len(seeds_VxF)
  nearest_to = _nearest_in_blocks
  if mesh is not None:
    spread = PartitionSpec("data")
    nearest_to = jax.shard_map(
      _nearest_in_blocks,
      mesh=mesh,
      in_specs=(spread, PartitionSpec()),
      out_specs=(spread, spread),
      check_vma=False,  # the loop over blocks starts from zeros, which are the same everywhere
    )

  def assign(centroids_VxF: jax.Array) -> Clusters:
    assignment_N, distance_N = nearest_to(points_NxF, centroids_VxF)
    if num_points is not None:
      real_N = jnp.arange(len(points_NxF)) < num_points
      assignment_N = jnp.where(real_N, assignment_N, num_clusters)
      distance_N = jnp.where(real_N, distance_N, 0)
    return Clusters(centroids_VxF, assignment_N, distance_N)

  def improve(carry: tuple[jax.Array, jax.Array, Clusters]):
    iteration, _, before = carry
    after = assign(_means(points_NxF, before))
    moved = (after.assignment_N != before.assignment_N).any()
    return iteration + 1, moved, after

  _, _, clusters = jax.lax.while_loop(
    lambda carry: (carry[0] < num_iterations) & carry[1],
    improve,
    (jnp.zeros((), jnp.int32), jnp.ones((), bool), assign(seeds_VxF.astype(jnp.float32))),
  )
  centroids_VxF = clusters.centroids_VxF
  if mesh is not None:  # whole on every device, and so in every process
    everywhere = NamedSharding(mesh, PartitionSpec())
    centroids_VxF = jax.lax.with_sharding_constraint(centroids_VxF, everywhere)
  return centroids_VxF, clusters.assignment_N


@jax.jit
def nearest(points_NxF: jax.Array, centroids_VxF: jax.Array) -> jax.Array:
  """The nearest centroid of each point, the first one on a tie: int32 [N].

  Works in blocks of points, so memory does not grow with N·V.
  """
  return _nearest_in_blocks(points_NxF, centroids_VxF)[0]


def relative_distances(
  points_BxF: jax.Array, centroids_VxF: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Squared distances without what all centroids share: float32 [V, B] and that, [B].

  The sum of the two is the squared distance, up to rounding (it may be slightly negative).
  """
  points_BxF, centroids_VxF = points_BxF.astype(jnp.float32), centroids_VxF.astype(jnp.float32)
  # Distances do not change when everything is shifted, but less is lost in |c|² - 2xc.
  origin_F = centroids_VxF.mean(0)
  centroids_VxF = centroids_VxF - origin_F[None]
  points_BxF = points_BxF - origin_F[None]
  # Clusters come first: minima over them run along whole vectors of points.
  cross_VxB = jnp.dot(-2 * centroids_VxF, points_BxF.T, precision=jax.lax.Precision.HIGHEST)
  lengths_V = jnp.square(centroids_VxF).sum(-1)
  return lengths_V[:, None] + cross_VxB, jnp.square(points_BxF).sum(-1)


def first_smallest(values_VxB: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The first smallest value over the leading axis: its index, int32 [B], and itself [B].

  Two plain minima are several times faster than `argmin` on a CPU.
  """
  least_B = values_VxB.min(0)
  index_VxB = jax.lax.broadcasted_iota(jnp.int32, values_VxB.shape, 0)
  is_least_VxB = values_VxB == least_B[None]
  return jnp.where(is_least_VxB, index_VxB, len(values_VxB) - 1).min(0), least_B


def _nearest_in_blocks(
  points_NxF: jax.Array, centroids_VxF: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Each point's nearest centroid, int32 [N], and the squared distance to it."""
  num_points = len(points_NxF)
  block_size = min(BLOCK_SIZE, num_points)

  def of_block(points_BxF: jax.Array) -> tuple[jax.Array, jax.Array]:
    relative_VxB, shared_B = relative_distances(points_BxF, centroids_VxF)
    code_B, least_B = first_smallest(relative_VxB)
    return code_B, jnp.maximum(least_B + shared_B, 0)

  def add_block(index: jax.Array, found: tuple[jax.Array, jax.Array]):
    # The last block starts early enough to be whole; the rows it shares get the same again.
    start = jnp.minimum(index * block_size, num_points - block_size)
    parts = of_block(jax.lax.dynamic_slice_in_dim(points_NxF, start, block_size))
    return jax.tree.map(
      lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0), found, parts
    )

  if block_size == num_points:
    return of_block(points_NxF)
  nothing = (jnp.zeros(num_points, jnp.int32), jnp.zeros(num_points, jnp.float32))
  return jax.lax.fori_loop(0, -(-num_points // block_size), add_block, nothing)


def _means(points_NxF: jax.Array, clusters: Clusters) -> jax.Array:
  """The clusters' means; empty ones move to the points farthest from their centroids."""
  num_clusters = len(clusters.centroids_VxF)
  sums_VxF = jax.ops.segment_sum(points_NxF, clusters.assignment_N, num_clusters)
  counts_V = jax.ops.segment_sum(
    jnp.ones_like(clusters.assignment_N), clusters.assignment_N, num_clusters
  )
  means_VxF = sums_VxF / jnp.maximum(counts_V, 1)[:, None]
  empty_V = counts_V == 0

  def fill_empty() -> jax.Array:
    num_far = min(num_clusters, len(points_NxF))
    distance_far, point_far = jax.lax.top_k(clusters.distance_N, num_far)
    # The k-th empty cluster takes the k-th farthest point, if that has a distance to gain.
    rank_V = jnp.clip(jnp.cumsum(empty_V) - 1, 0, num_far - 1)
    moved_VxF = jnp.where(
      (distance_far[rank_V] > 0)[:, None], points_NxF[point_far[rank_V]], clusters.centroids_VxF
    )
    return jnp.where(empty_V[:, None], moved_VxF, means_VxF)

  return jax.lax.cond(empty_V.any(), fill_empty, lambda: means_VxF)


@functools.partial(jax.jit, static_argnames="num_clusters")
def choose_seeds(
  key: jax.Array,
  points_NxF: jax.Array,
  num_clusters: int,
  num_points: int | jax.Array | None = None,
) -> jax.Array:
  """Greedy k-means++ (Arthur and Vassilvitskii, 2007): float32 [V, F], all of them points.

  Each seed is the best of a few points drawn by their squared distance to the
  seeds before: the one that leaves the least distance in total. Arguments as in `kmeans`.
  """
  sample_key, first_key, key = jax.random.split(key, 3)
  points_RxF, real_R = _seed_sample(sample_key, points_NxF, num_clusters, num_points)
  # Seeds are found on points around the origin, where less is lost in |x|² + |c|² - 2xc.
  mean_F = (points_RxF * real_R[:, None]).sum(0) / real_R.sum()
  centred_RxF = (points_RxF - mean_F[None]) * real_R[:, None]
  length_R = jnp.square(centred_RxF).sum(-1)
  num_tries = 2 + int(math.log(num_clusters))

  def distances(tried_X: jax.Array) -> jax.Array:
    cross_XxR = jnp.dot(centred_RxF[tried_X], centred_RxF.T, precision=jax.lax.Precision.HIGHEST)
    lengths_XxR = length_R[tried_X][:, None] + length_R[None]
    distance_XxR = lengths_XxR - 2 * cross_XxR
    equal_XxR = distance_XxR <= ROUNDING * lengths_XxR
    return jnp.where(equal_XxR, 0, distance_XxR) * real_R[None]

  def add_seed(distance_R: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    tried_X = _draw(key, distance_R, num_tries)
    left_XxR = jnp.minimum(distance_R[None], distances(tried_X))
    best = jnp.argmin(left_XxR.sum(-1))
    return left_XxR[best], tried_X[best]

  first = _draw(first_key, real_R, 1)
  _, rest = jax.lax.scan(add_seed, distances(first)[0], jax.random.split(key, num_clusters - 1))
  return points_RxF[jnp.concatenate([first, rest])]


def _seed_sample(
  key: jax.Array,
  points_NxF: jax.Array,
  num_clusters: int,
  num_points: int | jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """The points that seeds are sought among, [R, F], and float32 [R]: 1, or 0 for padding."""
  points_NxF = points_NxF.astype(jnp.float32)
  size = SEED_SAMPLE * num_clusters
  num_real = jnp.asarray(len(points_NxF) if num_points is None else num_points)
  if len(points_NxF) > size:
    # One point from each of R equal stretches of the rows.
    place_R = (jnp.arange(size) + jax.random.uniform(key, (size,))) / size
    row_R = jnp.minimum((place_R * num_real).astype(jnp.int32), num_real - 1)
    return points_NxF[row_R], jnp.ones(size)
  missing = -len(points_NxF) % DRAW_WIDTH
  real_R = (jnp.arange(len(points_NxF) + missing) < num_real).astype(jnp.float32)
  return jnp.pad(points_NxF, ((0, missing), (0, 0))), real_R


def _draw(key: jax.Array, weight_R: jax.Array, num_draws: int) -> jax.Array:
  """Draws points by weight: int32 [X]. Without any weight, it is the first one."""
  width = math.gcd(len(weight_R), DRAW_WIDTH)
  by_group = weight_R.reshape(-1, width)  # [G, width]
  upto_G = jnp.cumsum(by_group.sum(-1))
  mark_X = jax.random.uniform(key, (num_draws,)) * upto_G[-1]
  group_X = jnp.minimum((upto_G[None] <= mark_X[:, None]).sum(-1), len(upto_G) - 1)
  before_X = jnp.where(group_X > 0, upto_G[group_X - 1], 0)
  chosen = by_group[group_X]  # [X, width]
  past = jnp.cumsum(chosen, axis=-1) > (mark_X - before_X)[:, None]
  # Rounding may leave no point past the mark: then it is the heaviest of the group.
  column_X = jnp.where(past.any(-1), past.argmax(-1), chosen.argmax(-1))
  return (group_X * width + column_X).astype(jnp.int32)
