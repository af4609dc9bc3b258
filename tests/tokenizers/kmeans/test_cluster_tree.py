"""Tiles of items: small nodes share calls, within bounds on memory."""

import numpy as np
import pytest

from sidrec.tokenizers.kmeans import cluster_tree
from sidrec.tokenizers.kmeans.cluster_tree import Level


@pytest.mark.parametrize(
  ("exact", "children", "calls"),
  [
    (True, 4, 1),
    (True, 256, 4),  # of 8 nodes: more differences would not fit
    (True, 4096, 30),
    (False, 4, 8),
    (False, 4096, 8),
  ],
)
def test_thirty_nodes_of_six_items_take_few_calls_of_one_program(exact, children, calls):
  level = Level(
    first_E=np.arange(30, dtype=np.int32) * children,
    size_E=np.full(30, children, np.int32),
    exact_E=np.full(30, exact),
    centroids_XxF=np.zeros((30 * children, 1), np.float32),
    radius_X=np.full(30 * children, np.inf, np.float32),
  )
  node_N, vectors_NxF = np.arange(180) % 30, np.arange(180, dtype=np.float32)[:, None]
  shapes, places = [], []

  def record(points_GxRxF, centroids_GxCxF, radius_GxC, exists_GxC, *, exact):
    shapes.append((*points_GxRxF.shape[:2], centroids_GxCxF.shape[1]))
    return points_GxRxF[..., 0]

  wanted = np.arange(180)
  for at, found in cluster_tree._in_tiles(record, level, vectors_NxF, node_N, None, wanted):
    places.extend(at.tolist())
    np.testing.assert_array_equal(found, vectors_NxF[at, 0])
  assert sorted(places) == wanted.tolist()
  assert len(shapes) == calls
  assert len(set(shapes)) == 1
  assert shapes[0][0] * shapes[0][1] <= cluster_tree.TILE_ROWS
