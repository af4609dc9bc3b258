"""The log similarity to the latest items of a history, in NumPy."""

import numpy as np

LATEST, DECAY, TEMPERATURE = 10, 0.7, 0.05


def similarities(vectors, history):
  """Of every item to a history of one item or more: float64 [N]."""
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  latest = np.asarray(history)[-LATEST:]
  weight = DECAY ** np.arange(len(latest))[::-1]
  near = np.exp((unit @ unit[latest].T - 1) / TEMPERATURE)
  return np.log(near @ weight / weight.sum())
