"""Vectors of length 1, so that their products are cosines."""

import numpy as np

_SHORTEST = 1e-9  # shorter rows are rounding noise, and stay short


def unit_rows(rows: np.ndarray) -> np.ndarray:
  """The rows [..., F] divided by their Euclidean norms: float32; zeros stay zeros."""
  rows = np.asarray(rows, np.float32)
  return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), _SHORTEST)
