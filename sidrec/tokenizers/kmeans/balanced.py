"""Clusters of bounded size: deferred acceptance, whose outcome is one radius per cluster.

A point proposes to its nearest cluster first. A cluster with more points than its capacity keeps
the nearest and shrinks its radius to just outside them; the points it lets go propose to their
next nearest. This is Gale and Shapley's algorithm (1962) with distances as everyone's preference.
Radii only shrink, so the order of the proposals does not matter, and at the end each point belongs
to the nearest of the clusters within whose radius it lies. New points are assigned by that rule.

A radius cannot separate points at equal distances from a cluster, as equal points are: they are
kept or let go together, so equal points share a cluster, even beyond its capacity.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sidrec.tokenizers.kmeans.kmeans import first_smallest

# (rows int64 [R], radius float32 [V]) → code int32 [R] and squared distance float32 [R]: the
# nearest cluster that accepts each of these points, as `nearest_accepting` finds it.
Propose = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def capacity(num_points: int, num_clusters: int, slack: float) -> int:
  """The most points of a cluster: `slack` times the average, rounded up.

  Raises:
    ValueError: if the slack is below 1, so that not all points find room.
  """
  check_slack(slack)
  return math.ceil(num_points * slack / num_clusters)


def check_slack(slack: float) -> None:
  """Raises ValueError unless the slack is 0 (no balance) or finite and at least 1."""
  if slack and not 1 <= slack < math.inf:
    raise ValueError(
      f"balance_slack is {slack}; give at least 1 (the largest cluster over the average), "
      "or 0 for no balance"
    )


def nearest_accepting(distance_VxB: jax.Array, radius_V: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The nearest cluster among those within whose radius a point lies; if none, the nearest.

  Args:
    distance_VxB: squared distances, float32.
    radius_V: squared radii, float32; inf accepts all.

  Returns:
    Clusters, int32 [B], the first on a tie, and the squared distances to them, float32 [B].
  """
  accepted_VxB = jnp.where(distance_VxB <= radius_V[:, None], distance_VxB, jnp.inf)
  anywhere_B = jnp.isinf(accepted_VxB.min(0))
  return first_smallest(jnp.where(anywhere_B[None], distance_VxB, accepted_VxB))


def fill(
  propose: Propose, num_points: int, num_clusters: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
  """Assigns points to clusters of bounded size. Exact and deterministic.

  Args:
    propose: finds points' nearest accepting clusters; the same point always at the same distances.
    num_points: N.
    num_clusters: V.
    most: points that a cluster may hold; V · most >= N.

  Returns:
    Squared radii, float32 [V], and codes, int32 [N]: what `propose` gives for these radii.

  Raises:
    ValueError: without room for all points.
    RuntimeError: if `propose` gives a point other distances than before.
  """
  if most * num_clusters < num_points:
    raise ValueError(
      f"{num_clusters} clusters of {most} have no room for {num_points} points; "
      "give a larger capacity"
    )
  radius_V = np.full(num_clusters, np.inf, np.float32)
  code_N = np.zeros(num_points, np.int32)
  distance_N = np.zeros(num_points, np.float32)
  looking_R = np.arange(num_points)
  while len(looking_R):
    code_N[looking_R], distance_N[looking_R] = propose(looking_R, radius_V)
    crowded_V = np.bincount(code_N, minlength=num_clusters) > most
    rows = np.flatnonzero(crowded_V[code_N])
    rows = rows[np.lexsort((distance_N[rows], code_N[rows]))]
    let_go = []
    for group in np.split(rows, np.flatnonzero(np.diff(code_N[rows])) + 1):
      if len(group) > most:
        outermost = distance_N[group[most - 1]]
        rejected = group[most:][distance_N[group[most:]] > outermost]
        if len(rejected):
          cluster, radius = code_N[group[0]], _between(outermost, distance_N[rejected[0]])
          if radius >= radius_V[cluster]:  # else it might go on for ever
            raise RuntimeError(
              f"cluster {cluster} was given points beyond its radius; propose must give a point "
              "the same distances every time"
            )
          radius_V[cluster] = radius
          let_go.append(rejected)
    looking_R = np.sort(np.concatenate(let_go)) if let_go else looking_R[:0]
  return radius_V, code_N


def _between(kept: np.float32, rejected: np.float32) -> np.float32:
  """Halfway between two distances; the smaller where no number lies between."""
  middle = np.float32((np.float64(kept) + np.float64(rejected)) / 2)
  return middle if middle < rejected else kept
