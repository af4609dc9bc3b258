"""How much of one ranking another one has."""

import numpy as np
from jax.typing import ArrayLike

from sidrec.core.vocabulary import NO_ITEM


def in_common(a_BxK: ArrayLike, b_BxJ: ArrayLike) -> np.ndarray:
  """How many items two lists share, whatever their order: int [B], a pair of lists each.

  NO_ITEM, which fills lists up, does not count.
  """
  pairs = zip(np.asarray(a_BxK), np.asarray(b_BxJ), strict=True)
  return np.array([len(set(a.tolist()) & set(b.tolist()) - {NO_ITEM}) for a, b in pairs])
