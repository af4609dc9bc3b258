"""From blocks of item vectors to the one matrix that a tokenizer is fitted on.

Here B counts the items that are in memory at once, and X the columns of all blocks together.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

Params = dict[str, Any]  # nested dicts of float32 arrays, which Orbax saves

# Items that are held in float64 at once: scikit-learn's PCA would hold all of them.
_ROWS_AT_ONCE = 16384

# Directions with less than this part of the largest variance are rounding noise.
_LEAST_VARIANCE = 1e-10


def combine(
  blocks: Mapping[str, np.ndarray], weights: Mapping[str, float], whiten: int = 0
) -> np.ndarray:
  """Joins blocks of vectors of the same items: `fit_combine`, then `apply_combine`."""
  return apply_combine(fit_combine(blocks, weights, whiten), blocks)


def fit_combine(
  blocks: Mapping[str, np.ndarray], weights: Mapping[str, float], whiten: int = 0
) -> Params:
  """Learns how to join blocks such that each one's influence is its weight.

  Each block loses its constant columns, is centred, scaled to a mean squared row norm of 1 and
  multiplied by its weight: its influence on a squared distance is its squared weight. The order of
  the columns is that of the blocks' names, not that of the mappings.

  With `whiten`, principal components of unit variance replace the joined matrix (PCA whitening);
  the largest entry of each direction is positive. Then weights decide which directions are kept,
  but not how much those count.

  Args:
    blocks: name → float [N, F of the block].
    weights: name → weight, 0 or more, for exactly the names in `blocks`.
    whiten: F, or 0 for no whitening. A matrix of lower rank gives as many components as its
      rank.

  Returns:
    {'blocks': {name: {'mean_F', 'scale_F'}}}, scale 0 for a column that is left out, and, with
    whitening, 'whitening_XxF'.

  Raises:
    ValueError: if the names differ, blocks differ in N, a value is not finite, a weight or
      `whiten` is negative, or nothing varies between items.
  """
  if set(blocks) != set(weights):
    raise ValueError(
      f"feature blocks {sorted(blocks)} need exactly one weight each, but the "
      f"weights name {sorted(weights)}"
    )
  for name, weight in weights.items():
    if not (np.isfinite(weight) and weight >= 0):
      raise ValueError(f"the weight of feature block {name!r} must be 0 or more, not {weight}")
  if whiten < 0:
    raise ValueError(f"whiten must be 0 or more components, not {whiten}")
  _check_blocks(blocks)
  fitted = {
    name: _fit_block(blocks[name], weights[name]) for name in sorted(blocks) if blocks[name].size
  }
  if not any(block["scale_F"].any() for block in fitted.values()):
    raise ValueError(
      f"no column of the feature blocks {sorted(blocks)} tells two items apart; add a block that "
      "does, with a weight above 0"
    )
  params: Params = {"blocks": fitted}
  return {**params, "whitening_XxF": _whitening(params, blocks, whiten)} if whiten else params


def apply_combine(params: Params, blocks: Mapping[str, np.ndarray]) -> np.ndarray:
  """Joins blocks of the fitted items or of new ones by what `fit_combine` learnt.

  Args:
    params: of `fit_combine`.
    blocks: name → float [N, F of the block]. A fitted block may be missing, as behaviour is for
      new items: its columns are then 0, which is the mean of the fitted items.

  Returns:
    vectors_NxF float32.

  Raises:
    ValueError: without any block, for a block that was not fitted or has another width, for
      blocks that differ in N, or for a value that is not finite.
  """
  fitted, num_rows = params["blocks"], _check_blocks(blocks)
  for name, block in blocks.items():
    if block.size and name not in fitted:
      raise ValueError(f"feature block {name!r} was not fitted; fitted ones: {sorted(fitted)}")
    width = len(fitted[name]["mean_F"]) if name in fitted else 0
    if block.shape[1] != width:
      raise ValueError(
        f"feature block {name!r} is {block.shape[1]} wide, but was fitted on width {width}"
      )
  joined = [_joined(params, blocks, span).astype(np.float32) for span in _spans(num_rows)]
  return np.concatenate(joined)


def _check_blocks(blocks: Mapping[str, np.ndarray]) -> int:
  """N; raises ValueError for blocks of other shapes than [N, width], or values not finite."""
  rows = {name: len(block) for name, block in blocks.items()}
  if len(set(rows.values())) > 1:
    raise ValueError(f"feature blocks must have one row per item each, but their rows are {rows}")
  if not rows:
    raise ValueError("no feature blocks, so nothing tells two items apart; give at least one")
  for name, block in blocks.items():
    if block.ndim != 2:
      raise ValueError(f"feature block {name!r} has shape {block.shape}; give [items, width]")
    if not all(np.isfinite(block[span]).all() for span in _spans(len(block))):
      raise ValueError(f"feature block {name!r} has values that are not finite; replace them by 0")
  return rows.popitem()[1]


def _fit_block(block_NxF: np.ndarray, weight: float) -> Params:
  varies_F = block_NxF.max(axis=0) > block_NxF.min(axis=0)
  mean_F = block_NxF.mean(axis=0, dtype=np.float64)
  squares = (np.square(block_NxF[span] - mean_F).sum(axis=0) for span in _spans(len(block_NxF)))
  square_F = sum(squares, start=np.zeros(len(mean_F)))
  mean_square = square_F[varies_F].sum() / len(block_NxF)
  scale_F = np.where(varies_F, weight / np.sqrt(mean_square or 1.0), 0.0)
  return {"mean_F": mean_F.astype(np.float32), "scale_F": scale_F.astype(np.float32)}


def _whitening(params: Params, blocks: Mapping[str, np.ndarray], count: int) -> np.ndarray:
  """What maps the joined columns to components of unit variance: float32 [X, F]."""
  num_rows = len(next(iter(blocks.values())))
  joined = (_joined(params, blocks, span) for span in _spans(num_rows))
  covariance_XxX = sum(joined_BxX.T @ joined_BxX / num_rows for joined_BxX in joined)
  variance_X, direction_XxX = np.linalg.eigh(covariance_XxX)  # smallest variance first
  rank = np.count_nonzero(variance_X > _LEAST_VARIANCE * variance_X[-1])
  kept = np.arange(len(variance_X))[::-1][: min(count, rank)]
  direction_XxF = direction_XxX[:, kept]
  largest_F = np.abs(direction_XxF).argmax(axis=0)
  direction_XxF = direction_XxF * np.sign(direction_XxF[largest_F, np.arange(len(kept))])
  return (direction_XxF / np.sqrt(variance_X[kept])).astype(np.float32)


def _joined(params: Params, blocks: Mapping[str, np.ndarray], span: slice) -> np.ndarray:
  """The vectors of the items in `span`, in float64."""
  num_rows = len(next(iter(blocks.values()))[span])
  parts = []
  for name in sorted(params["blocks"]):
    mean_F, scale_F = (np.asarray(params["blocks"][name][key]) for key in ("mean_F", "scale_F"))
    kept = np.flatnonzero(scale_F)
    if name in blocks:
      centred_BxF = blocks[name][span][:, kept] - mean_F[kept].astype(np.float64)
      parts.append(centred_BxF * scale_F[kept])
    else:
      parts.append(np.zeros((num_rows, len(kept))))
  joined_BxX = np.concatenate(parts, axis=1)
  if "whitening_XxF" in params:
    joined_BxX = joined_BxX @ np.asarray(params["whitening_XxF"], np.float64)
  return joined_BxX


def _spans(num_rows: int) -> list[slice]:
  """Slices that cover the rows, at least one."""
  return [
    slice(start, start + _ROWS_AT_ONCE) for start in range(0, max(num_rows, 1), _ROWS_AT_ONCE)
  ]
