"""What behaviour would say about items that nobody has met yet, judged by items like them.

Letters: N known items, M new items, B new items in memory at once, F vector width, J neighbours.
"""

import numpy as np

from sidrec.features.unit_rows import unit_rows

NEIGHBOURS = 10

# New items whose similarities to the whole catalogue are held at once.
_ROWS_AT_ONCE = 1024


def behaviour_of_neighbours(
  described_MxF: np.ndarray, described_NxF: np.ndarray, behaviour_NxF: np.ndarray
) -> np.ndarray:
  """The mean behaviour of the known items that are described most alike.

  It is scaled to the mean norm of known items. A mean is shorter than what it is a mean of,
  and zeros are no item's behaviour at all: a tokenizer gives such items codes of their own, far
  from those of the items that they are like.

  Args:
    described_MxF: what is known about the new items, by cosine.
    described_NxF: the same about the known items.
    behaviour_NxF: what behaviour says about these.

  Returns:
    behaviour_MxF float32; zeros where the neighbours' behaviour cancels out.
  """
  known_NxF = unit_rows(described_NxF)
  count = min(NEIGHBOURS, len(known_NxF))
  norm = np.linalg.norm(behaviour_NxF, axis=1).mean()
  parts = []
  for start in range(0, len(described_MxF), _ROWS_AT_ONCE):
    new_BxF = unit_rows(described_MxF[start : start + _ROWS_AT_ONCE])
    # Stable, so that equal neighbours are taken by row.
    near_BxJ = np.argsort(-(new_BxF @ known_NxF.T), axis=1, kind="stable")[:, :count]
    parts.append(unit_rows(behaviour_NxF[near_BxJ].mean(axis=1)) * norm)
  return np.concatenate(parts) if parts else np.zeros_like(described_MxF)
