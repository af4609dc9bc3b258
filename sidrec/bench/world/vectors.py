"""Vectors of a world's items: centres of a tree of Gaussians, and noise.

  vector(item) = centre of its category + of its second-level category + of its leaf + noise

They say what an item is, as descriptions do, and neither how popular it is nor what follows it.
"""

import numpy as np

from sidrec.bench.world.catalogue import Catalogue, leaves_of
from sidrec.bench.world.draws import Stream, normal


def item_vectors(catalogue: Catalogue, row_R: np.ndarray) -> np.ndarray:
  """The vectors of rows of the world: float32 [R, F]."""
  config, column_F = catalogue.config, np.arange(catalogue.config.width)
  leaf_R = leaves_of(catalogue, row_R)
  vector_RxF = normal(config.seed, Stream.NOISE, row_R[:, None], column_F) * config.noise
  for level, scale in enumerate(config.level_scales):
    # Nodes of the level, from 0; each has few draws, and many items.
    node_R = leaf_R // config.fan_out ** (len(config.level_scales) - 1 - level)
    nodes, at_R = np.unique(node_R, return_inverse=True)
    centres = normal(config.seed, Stream.CENTRES, level, nodes[:, None], column_F)
    vector_RxF += scale * centres[at_R]
  return vector_RxF.astype(np.float32)
