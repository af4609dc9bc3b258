"""What behaviour would say about items that nobody has met yet, judged by similar items.

Here B counts the new items that are in memory at once, and K the neighbours of each.
"""

import numpy as np

from sidrec.features.unit_rows import unit_rows

NEIGHBOURS = 10

# New items whose similarities to the whole catalogue are held at once.
_ROWS_AT_ONCE = 1024


def behaviour_of_neighbours(
  described_MxF: np.ndarray, described_NxF: np.ndarray, behaviour_NxF: np.ndarray
) -> np.ndarray:
  """The mean behaviour of the known items with the most similar descriptions.

  It is scaled to the mean norm of known items. A mean is shorter than the vectors it comes from,
  and no known item has a behaviour of zeros: a tokenizer would give such items codes of their own,
  far from those of similar items.

  Args:
    described_MxF: descriptions of the new items, compared by cosine.
    described_NxF: descriptions of the known items.
    behaviour_NxF: behaviour of the known items.

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
    near_BxK = np.argsort(-(new_BxF @ known_NxF.T), axis=1, kind="stable")[:, :count]
    parts.append(unit_rows(behaviour_NxF[near_BxK].mean(axis=1)) * norm)
  return np.concatenate(parts) if parts else np.zeros_like(described_MxF)
