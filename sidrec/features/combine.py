"""From blocks of item vectors to the one matrix that a tokenizer is fitted on."""

from collections.abc import Mapping

import numpy as np

from sidrec.data.dataset import Dataset, training_view
from sidrec.features.content import content_vectors
from sidrec.features.cooccurrence import cooccurrence_vectors

BLOCKS = ("content", "cooccurrence")


def combine(blocks: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
  """Concatenates blocks whose influence on a squared distance is their squared weight.

  Each block loses its constant columns, is centred, scaled to a mean squared row norm of 1 and
  multiplied by its weight. Blocks go side by side in the order of their names, so the result
  does not depend on the order of the mappings.

  Args:
    blocks: name → float [N, F of the block].
    weights: name → weight, 0 or more, for exactly the names in `blocks`.

  Returns:
    vectors_NxF float32.

  Raises:
    ValueError: if the names differ, blocks differ in N, a value is not finite, a weight is
      negative, or nothing varies between items.
  """
  if set(blocks) != set(weights):
    raise ValueError(
      f"feature blocks {sorted(blocks)} need exactly one weight each, but the "
      f"weights name {sorted(weights)}"
    )
  _check_weights(weights)
  rows = {name: len(block) for name, block in blocks.items()}
  if len(set(rows.values())) > 1:
    raise ValueError(f"feature blocks must have one row per item each, but their rows are {rows}")

  parts = []
  for name in sorted(blocks):
    block_NxF = np.asarray(blocks[name], np.float64)
    if not np.isfinite(block_NxF).all():
      raise ValueError(f"feature block {name!r} has values that are not finite; replace them by 0")
    if weights[name] == 0 or block_NxF.size == 0:
      continue
    varies_F = block_NxF.max(axis=0) > block_NxF.min(axis=0)
    if varies_F.any():
      centred_NxF = block_NxF[:, varies_F] - block_NxF[:, varies_F].mean(axis=0)
      mean_square = np.square(centred_NxF).sum(axis=1).mean()
      parts.append(weights[name] / np.sqrt(mean_square) * centred_NxF)
  if not parts:
    raise ValueError(
      f"no column of the feature blocks {sorted(blocks)} tells two items apart; add a block that "
      "does, with a weight above 0"
    )
  return np.concatenate(parts, axis=1).astype(np.float32)


def feature_vectors(
  dataset: Dataset,
  weights: Mapping[str, float],
  cooccurrence_dim: int = 64,
  cooccurrence_window: int = 5,
  title_buckets: int = 256,
) -> np.ndarray:
  """The item vectors of a data set: only blocks with a weight above 0 are computed.

  Behaviour is read from the training view alone, so nothing held out leaks into the vectors.

  Args:
    dataset: what a reader returned.
    weights: block name → weight; names from `BLOCKS`.
    cooccurrence_dim: width of the co-occurrence block.
    cooccurrence_window: see `cooccurrence_vectors`.
    title_buckets: see `content_vectors`.

  Returns:
    vectors_NxF float32, see `combine`.

  Raises:
    ValueError: for an unknown block, a negative weight, or as the blocks and `combine` do.
  """
  unknown = sorted(set(weights) - set(BLOCKS))
  if unknown:
    raise ValueError(f"unknown feature blocks {unknown}; choose from {list(BLOCKS)}")
  _check_weights(weights)
  used = {name: weight for name, weight in weights.items() if weight > 0}
  blocks = {}
  if "content" in used:
    blocks["content"] = content_vectors(dataset.items, title_buckets)
  if "cooccurrence" in used:
    blocks["cooccurrence"] = cooccurrence_vectors(
      training_view(dataset.histories),
      dataset.items.num_items,
      cooccurrence_dim,
      cooccurrence_window,
    )
  return combine(blocks, used)


def _check_weights(weights: Mapping[str, float]) -> None:
  for name, weight in weights.items():
    if not (np.isfinite(weight) and weight >= 0):
      raise ValueError(f"the weight of feature block {name!r} must be 0 or more, not {weight}")
