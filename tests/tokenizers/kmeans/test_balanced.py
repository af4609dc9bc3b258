"""Bounded clusters: capacities, stability, radii that give the codes back, equal points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.tokenizers.kmeans import balanced

nearest_accepting = jax.jit(balanced.nearest_accepting)


def squared_distances(points, centroids):
  return np.square(points[:, None] - centroids[None]).sum(-1)


def proposer(distance_NxV):
  def propose(rows, radius_V):
    # Of all points, whatever the rows, so that one shape is compiled.
    found = nearest_accepting(distance_NxV.T, radius_V)
    return tuple(np.asarray(x)[rows] for x in found)

  return propose


def filled(distance_NxV, most):
  return balanced.fill(proposer(distance_NxV), *distance_NxV.shape, most)


def random_distances(seed, num_points=200, num_clusters=10):
  rng = np.random.default_rng(seed)
  points = rng.normal(size=(num_points, 3)).astype(np.float32)
  return squared_distances(points, rng.normal(size=(num_clusters, 3)).astype(np.float32) + 1)


@pytest.mark.parametrize("slack", [1.0, 1.15, 2.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_cluster_exceeds_its_capacity_and_radii_give_the_codes_back(seed, slack):
  distance_NxV = random_distances(seed)
  most = balanced.capacity(*distance_NxV.shape, slack)
  radius_V, code_N = filled(distance_NxV, most)
  assert np.bincount(distance_NxV.argmin(1)).max() > most  # else it would prove nothing
  assert np.bincount(code_N, minlength=10).max() <= most
  np.testing.assert_array_equal(proposer(distance_NxV)(np.arange(200), radius_V)[0], code_N)


def test_the_assignment_is_stable():
  # No point would rather be in a cluster that has room or that holds a farther point.
  distance_NxV = random_distances(3)
  _, code_N = filled(distance_NxV, 20)
  own_N = distance_NxV[np.arange(200), code_N]
  for cluster in range(10):
    held = code_N == cluster
    wants = distance_NxV[:, cluster] < own_N
    if wants.any():
      assert held.sum() == 20
      assert own_N[held].max() < distance_NxV[wants, cluster].min()


def test_nothing_changes_where_nothing_is_crowded():
  distance_NxV = random_distances(4)
  radius_V, code_N = filled(distance_NxV, 200)
  np.testing.assert_array_equal(code_N, distance_NxV.argmin(1))
  assert np.isinf(radius_V).all()


def test_radii_lie_halfway_between_the_last_kept_and_the_first_let_go():
  distance_NxV = np.array([[1, 9], [2, 9], [4, 9], [8, 9]], np.float32)
  radius_V, code_N = filled(distance_NxV, 2)
  np.testing.assert_array_equal(code_N, [0, 0, 1, 1])
  np.testing.assert_array_equal(radius_V, [3, np.inf])


def test_neighbouring_numbers_are_still_told_apart():
  near = np.nextafter(np.float32(1), np.float32(2))
  far = np.nextafter(near, np.float32(2))  # what the middle of the two is rounded to
  distance_NxV = np.array([[near, 9], [far, 9]], np.float32)
  radius_V, code_N = filled(distance_NxV, 1)
  np.testing.assert_array_equal(code_N, [0, 1])
  assert near <= radius_V[0] < far


def test_equal_points_share_a_cluster_even_beyond_its_capacity():
  distance_NxV = np.array([[1, 4], [1, 4], [1, 4], [2, 3]], np.float32)
  _, code_N = filled(distance_NxV, 2)
  np.testing.assert_array_equal(code_N, [0, 0, 0, 1])


def test_the_order_of_the_points_does_not_matter():
  distance_NxV = random_distances(5)
  shuffled = np.random.default_rng(0).permutation(200)
  radius_V, code_N = filled(distance_NxV, 20)
  again_V, again_N = filled(distance_NxV[shuffled], 20)
  np.testing.assert_array_equal(radius_V, again_V)
  np.testing.assert_array_equal(code_N[shuffled], again_N)


def test_a_point_that_no_cluster_accepts_goes_to_the_nearest():
  distance_VxB = jnp.array([[5.0, 1.0], [6.0, 7.0]])
  code_B, distance_B = balanced.nearest_accepting(distance_VxB, jnp.array([0.5, 2.0]))
  np.testing.assert_array_equal(code_B, [0, 0])
  np.testing.assert_array_equal(distance_B, [5, 1])


@pytest.mark.parametrize("slack", [0.5, -1, np.inf, np.nan])
def test_a_slack_without_room_for_all_is_refused(slack):
  with pytest.raises(ValueError, match="balance_slack is"):
    balanced.check_slack(slack)


def test_clusters_without_room_and_moving_distances_are_refused():
  with pytest.raises(ValueError, match="10 clusters of 19 have no room for 200 points"):
    filled(random_distances(0), 19)

  def forgetful(rows, radius_V):
    del radius_V
    return np.zeros(len(rows), np.int32), rows.astype(np.float32)

  with pytest.raises(RuntimeError, match="the same distances every time"):
    balanced.fill(forgetful, 10, 2, 5)


def test_capacity_is_rounded_up():
  assert [balanced.capacity(10, 4, slack) for slack in (1.0, 1.5)] == [3, 4]
