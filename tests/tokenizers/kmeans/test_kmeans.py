"""k-means: inertia, empty clusters, blocks, and scikit-learn as a second opinion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.parallel.mesh import make_mesh
from sidrec.tokenizers.base import spread_rows
from sidrec.tokenizers.kmeans import kmeans as module
from sidrec.tokenizers.kmeans.kmeans import choose_seeds, kmeans, lloyd, nearest


def mixture(seed=0, num_points=600, num_groups=20, width=8, noise=0.05):
  rng = np.random.default_rng(seed)
  centers = rng.normal(size=(num_groups, width))
  points = centers[rng.integers(num_groups, size=num_points)]
  return (points + noise * rng.normal(size=points.shape)).astype(np.float32)


def distances(points, centroids):
  difference = points[:, None].astype(np.float64) - np.asarray(centroids)[None].astype(np.float64)
  return np.square(difference).sum(-1)


def inertia(points, centroids):
  return distances(points, centroids).min(1).sum()


def test_nearest_equals_numpy_across_blocks_and_a_remainder():
  rng = np.random.default_rng(0)
  points = rng.normal(size=(2 * module.BLOCK_SIZE + 37, 5)).astype(np.float32)
  centroids = rng.normal(size=(23, 5)).astype(np.float32)
  found = nearest(points, centroids)
  assert found.dtype == np.int32
  np.testing.assert_array_equal(found, distances(points, centroids).argmin(1))


def test_nearest_is_exact_far_from_the_origin():
  # |c|² is 1e7 times the distances between centroids here.
  rng = np.random.default_rng(1)
  points = (rng.normal(size=(200, 4)) + 3000).astype(np.float32)
  centroids = points[:40] + np.float32(0.25)
  np.testing.assert_array_equal(nearest(points, centroids), distances(points, centroids).argmin(1))


def test_nearest_takes_the_first_of_equal_centroids():
  centroids = np.ones((3, 2), np.float32)
  np.testing.assert_array_equal(nearest(np.zeros((4, 2), np.float32), centroids), np.zeros(4))


def test_inertia_never_grows_and_the_assignment_is_nearest():
  points = np.random.default_rng(2).normal(size=(500, 6)).astype(np.float32)
  inertias = []
  for iterations in range(12):
    centroids, assignment = kmeans(jax.random.key(0), points, 30, iterations)
    np.testing.assert_array_equal(assignment, nearest(points, centroids))
    inertias.append(inertia(points, centroids))
  assert (np.diff(inertias) <= 1e-3).all()
  assert inertias[-1] < 0.9 * inertias[0]


def test_converged_centroids_are_the_means_of_their_points():
  points = mixture()
  centroids, assignment = kmeans(jax.random.key(0), points, 15, 100)
  for cluster in range(15):
    mean = points[np.asarray(assignment) == cluster].mean(0)
    np.testing.assert_allclose(centroids[cluster], mean, atol=1e-5)


def test_is_as_good_as_scikit_learn_on_a_mixture():
  cluster = pytest.importorskip("sklearn.cluster")
  points = mixture(num_points=1000)
  theirs = cluster.KMeans(20, n_init=3, random_state=0).fit(points).inertia_
  ours = inertia(points, kmeans(jax.random.key(0), points, 20, 50)[0])
  assert ours <= 1.05 * theirs


def test_seeds_come_from_a_sample_of_many_points(monkeypatch):
  points = mixture(num_points=2000)
  full = inertia(points, kmeans(jax.random.key(0), points, 20, 0)[0])
  monkeypatch.setattr(module, "SEED_SAMPLE", 10)
  choose_seeds.clear_cache()
  sampled = choose_seeds(jax.random.key(0), points, 20)
  choose_seeds.clear_cache()
  assert {tuple(seed) for seed in np.asarray(sampled)} <= {tuple(point) for point in points}
  assert inertia(points, sampled) < 1.5 * full


def test_an_empty_cluster_moves_to_the_farthest_point():
  points = np.array([[0.0], [1.0], [10.0]], np.float32)
  stuck = module.Clusters(
    np.array([[0.0], [99.0]], np.float32),
    np.zeros(3, np.int32),
    np.array([0.0, 1.0, 100.0], np.float32),
  )
  with jax.debug_nans(True):  # which a user may have switched on: not 0 / 0 on the way
    moved = module._means(jnp.asarray(points), jax.tree.map(jnp.asarray, stuck))
  np.testing.assert_allclose(moved, [[11 / 3], [10.0]], rtol=1e-6)


def test_blocks_change_nothing(monkeypatch):
  points = mixture(num_points=333)
  whole = lloyd(points, points[:20], 8)
  monkeypatch.setattr(module, "BLOCK_SIZE", 50)
  lloyd.clear_cache()
  blocked = lloyd(points, points[:20], 8)
  lloyd.clear_cache()
  np.testing.assert_array_equal(whole[1], blocked[1])
  np.testing.assert_allclose(whole[0], blocked[0], rtol=1e-6)


def test_lloyd_equals_numpy_iteration_by_iteration():
  points = mixture(num_points=300, noise=0.5)
  centroids = points[:12]
  for _ in range(4):
    assignment = distances(points, centroids).argmin(1)
    centroids = np.stack([points[assignment == cluster].mean(0) for cluster in range(12)])
  np.testing.assert_allclose(lloyd(points, points[:12], 4)[0], centroids, rtol=1e-4, atol=1e-5)


def test_iterations_go_on_when_every_point_moves():
  # Each cluster starts with two points at its far sides, both of which other means lie nearer to.
  angle = np.radians([80, -80, 200, 40, 320, 160])
  owner = np.eye(3)[[0, 0, 1, 1, 2, 2]]
  points = 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
  points = np.concatenate([points, 0.1 * owner], axis=1).astype(np.float32)
  seeds = np.pad(100 * np.eye(3), ((0, 0), (2, 0)))  # decided by the last three columns alone
  first, second = (np.asarray(lloyd(points, seeds, iterations)[1]) for iterations in (0, 1))
  np.testing.assert_array_equal(first, owner.argmax(1))
  assert (first != second).all()
  centroids, assignment = lloyd(points, seeds, 10)
  for cluster in range(3):
    mean = points[np.asarray(assignment) == cluster].mean(0)
    np.testing.assert_allclose(centroids[cluster], mean, atol=1e-5)


def test_padding_has_no_say():
  points = mixture(num_points=200)
  padded = np.concatenate([points, np.full((56, 8), 1e3, np.float32)])
  centroids, assignment = kmeans(jax.random.key(1), padded, 16, 20, 200)
  assert (np.asarray(assignment)[200:] == 16).all()
  np.testing.assert_array_equal(np.asarray(assignment)[:200], nearest(points, centroids))
  assert np.abs(centroids).max() <= np.abs(points).max()
  alone = kmeans(jax.random.key(1), points, 16, 20)[0]
  assert inertia(points, centroids) < 1.3 * inertia(points, alone)


def test_padded_seeds_of_a_sample_are_real_points(monkeypatch):
  monkeypatch.setattr(module, "SEED_SAMPLE", 4)
  choose_seeds.clear_cache()
  points = mixture(num_points=300)
  padded = np.concatenate([points, np.full((100, 8), 1e3, np.float32)])
  seeds = choose_seeds(jax.random.key(1), padded, 16, 300)
  choose_seeds.clear_cache()
  assert np.abs(seeds).max() <= np.abs(points).max()


def test_the_last_point_of_a_sample_is_real_where_rounding_reaches_the_end(monkeypatch):
  monkeypatch.setattr(module, "SEED_SAMPLE", 10)
  largest = np.nextafter(np.float32(1), np.float32(0))
  monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.full(shape, largest))
  points = np.arange(100, dtype=np.float32)[:, None]
  sample, _ = module._seed_sample(jax.random.key(0), jnp.asarray(points), 4, 80)
  assert sample[-1] == 79  # from 80 on it is padding


def test_what_has_no_weight_is_not_drawn_at_the_lowest_mark(monkeypatch):
  monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.zeros(shape))
  weights = np.zeros(3 * module.DRAW_WIDTH, np.float32)
  weights[module.DRAW_WIDTH + 2] = 1
  drawn = module._draw(jax.random.key(0), jnp.asarray(weights), 2)
  assert drawn.tolist() == [module.DRAW_WIDTH + 2] * 2


def test_seeds_are_drawn_by_weight():
  weights = np.zeros(256, np.float32)
  weights[[3, 200]] = [1, 3]
  drawn = np.asarray(module._draw(jax.random.key(0), jnp.asarray(weights), 4000))
  assert set(drawn) == {3, 200}
  assert abs((drawn == 200).mean() - 0.75) < 0.03


def test_seeds_reach_every_far_group():
  points = mixture(num_points=500, noise=0.01)
  seeds = choose_seeds(jax.random.key(2), points, 20)
  assert distances(points, seeds).min(1).max() < 1


@pytest.mark.parametrize(
  "points",
  [
    np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32),  # N < V
    np.repeat(np.random.default_rng(0).normal(size=(3, 3)), 4, axis=0).astype(np.float32),
    np.zeros((7, 2), np.float32),
    np.ones((1, 2), np.float32),
  ],
  ids=["few", "repeated", "equal", "one"],
)
def test_fewer_distinct_points_than_clusters_leave_no_error_and_no_nan(points):
  centroids, assignment = kmeans(jax.random.key(3), points, 16, 10)
  assert centroids.shape == (16, points.shape[1])
  np.testing.assert_array_equal(np.asarray(centroids)[assignment], points)
  # The spare centroids are points too.
  assert distances(np.asarray(centroids), points).min(1).max() == 0


def test_the_key_decides():
  points = mixture(seed=4)
  first, again = (kmeans(jax.random.key(5), points, 10, 5) for _ in range(2))
  other = kmeans(jax.random.key(6), points, 10, 5)
  np.testing.assert_array_equal(first[0], again[0])
  assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
  ("shape", "clusters", "match"),
  [((0, 3), 2, "N > 0"), ((4,), 2, r"\[N, F\]"), ((4, 3), 0, "at least one cluster")],
)
def test_refuses_what_cannot_be_clustered(shape, clusters, match):
  with pytest.raises(ValueError, match=match):
    kmeans(jax.random.key(0), np.zeros(shape, np.float32), clusters, 3)


def test_points_spread_over_devices_give_the_same_clusters(monkeypatch):
  monkeypatch.setattr(module, "BLOCK_SIZE", 50)  # every device goes through blocks of its own
  points = mixture(num_points=510)
  whole, assignment = kmeans(jax.random.key(0), points, 15, 30)
  mesh = make_mesh(jax.devices()[:4])
  spread = spread_rows(np.pad(points, ((0, 2), (0, 0))), mesh)
  centroids, spread_assignment = kmeans(jax.random.key(0), spread, 15, 30, 510, mesh)
  assert spread_assignment.sharding == spread.sharding
  np.testing.assert_allclose(centroids, whole, atol=1e-5)
  np.testing.assert_array_equal(spread_assignment[:510], assignment)
  assert spread_assignment[510:].tolist() == [15, 15]
