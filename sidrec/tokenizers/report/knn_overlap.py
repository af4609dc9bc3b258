"""Do items with near vectors share the first codes of their semantic IDs?

Letters: N items, F vector width, L levels, Q query items, K neighbours of each, B and C the
queries and candidates of a block. Plain NumPy; memory does not grow with Q · N.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sidrec.core.codes import as_integers, group
from sidrec.tokenizers.base import check_vectors

# Up to that many items, every item is a query; from more, a sample is drawn.
EXACT_ITEMS = 20_000
SAMPLE = 2_000

# Queries and candidates whose distances are in memory at once (16 MiB of float32).
QUERY_BLOCK = 512
CANDIDATE_BLOCK = 8192


def overlap(
  codes: ArrayLike,
  vectors: np.ndarray,
  num_neighbours: int = 10,
  exact_items: int = EXACT_ITEMS,
  sample: int = SAMPLE,
  seed: int = 0,
) -> dict[str, Any]:
  """The share of an item's nearest vectors that share its first codes.

  Args:
    codes: integer [N, L].
    vectors: finite float32 [N, F], memory-mapped or not.
    num_neighbours: K; with N <= K items, all others are neighbours.
    exact_items: with more items than that, `sample` random ones are queries; their neighbours
      are still sought among all items.
    sample: at most that many queries then.
    seed: of the sample.

  Returns:
    {'items': N, 'queries', 'neighbours': K, 'depths'}; 'depths' is a list of {'depth', 'share',
    'share_shuffled'}. The latter is the mean over all ways to deal the IDs to items: the
    share of pairs of items with equal first codes, Σ s (s - 1) / (N (N - 1)) over prefixes of s
    items.

  Raises:
    ValueError: for fewer than two items, shapes that do not match or sizes that make no sense.
  """
  vectors_NxF = check_vectors(vectors)
  codes_NxL = as_integers(codes, "tokens")
  if codes_NxL.ndim != 2 or not codes_NxL.size:
    raise ValueError(f"codes have shape {codes_NxL.shape}; give [items, levels], at least one each")
  sizes_L = [group(codes_NxL[:, :depth]).size_G for depth in range(1, codes_NxL.shape[1] + 1)]
  num_items = len(codes_NxL)
  if len(vectors_NxF) != num_items:
    raise ValueError(f"{len(vectors_NxF)} vectors do not match the codes of {num_items} items")
  if num_items < 2:
    raise ValueError(f"{num_items} item has no neighbours; give at least 2")
  if num_neighbours < 1 or sample < 1:
    raise ValueError(
      f"num_neighbours is {num_neighbours} and sample {sample}; give at least 1 of each"
    )
  query_Q = np.arange(num_items)
  if num_items > exact_items:
    size = min(sample, num_items)
    query_Q = np.sort(np.random.default_rng(seed).choice(num_items, size, replace=False))
  near_QxK = nearest_others(vectors_NxF, query_Q, min(num_neighbours, num_items - 1))
  same_QxKxL = codes_NxL[near_QxK] == codes_NxL[query_Q][:, None]
  share_L = np.logical_and.accumulate(same_QxKxL, axis=-1).mean(axis=(0, 1))
  chance_L = [(size_G * (size_G - 1)).sum() / (num_items * (num_items - 1)) for size_G in sizes_L]
  return {
    "items": num_items,
    "queries": len(query_Q),
    "neighbours": near_QxK.shape[1],
    "depths": [
      {"depth": depth, "share": float(share), "share_shuffled": float(chance)}
      for depth, (share, chance) in enumerate(zip(share_L, chance_L, strict=True), start=1)
    ],
  }


def nearest_others(vectors_NxF: np.ndarray, query_Q: np.ndarray, num_neighbours: int) -> np.ndarray:
  """The items nearest to each query item, itself excluded, by Euclidean distance.

  Args:
    vectors_NxF: float32.
    query_Q: item rows.
    num_neighbours: K, below N.

  Returns:
    Item rows, int64 [Q, K], in no order. Of equally far items any may be taken.
  """
  num_items = len(vectors_NxF)
  # Distances do not change when everything is shifted, but less is lost in |y|² - 2xy.
  centre_1xF = vectors_NxF.mean(axis=0, keepdims=True)
  blocks = []
  for first in range(0, len(query_Q), QUERY_BLOCK):
    query_B = query_Q[first : first + QUERY_BLOCK]
    query_BxF = vectors_NxF[query_B] - centre_1xF
    best_BxK, row_BxK = np.empty((len(query_B), 0), np.float32), np.empty((len(query_B), 0), int)
    for start in range(0, num_items, CANDIDATE_BLOCK):
      candidate_CxF = vectors_NxF[start : start + CANDIDATE_BLOCK] - centre_1xF
      distance_BxC = query_BxF @ candidate_CxF.T
      distance_BxC *= -2
      distance_BxC += np.square(candidate_CxF).sum(axis=1)
      itself_B = query_B - start
      inside_B = (itself_B >= 0) & (itself_B < len(candidate_CxF))
      distance_BxC[inside_B, itself_B[inside_B]] = np.inf
      row_BxC = np.broadcast_to(start + np.arange(len(candidate_CxF)), distance_BxC.shape)
      near = _least(distance_BxC, row_BxC, num_neighbours)
      best_BxK, row_BxK = _least(
        np.concatenate([best_BxK, near[0]], axis=1),
        np.concatenate([row_BxK, near[1]], axis=1),
        num_neighbours,
      )
    blocks.append(row_BxK)
  return np.concatenate(blocks)


def overlap_table(measured: dict[str, Any]) -> str:
  """What `overlap` found, as plain text at most 100 columns wide."""
  items, queries = measured["items"], measured["queries"]
  of = f"all {items:,} items" if queries == items else f"{queries:,} random ones of {items:,} items"
  lines = [
    f"share of the {measured['neighbours']} nearest vectors with the same first codes, for {of}",
    f"{'depth':>5} {'share':>13} {'shuffled IDs':>13}",
  ]
  for row in measured["depths"]:
    lines.append(f"{row['depth']:>5} {row['share']:>13.2%} {row['share_shuffled']:>13.2%}")
  return "\n".join(lines)


def _least(
  distance_BxC: np.ndarray, row_BxC: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """The `count` least distances of each row, or all if fewer, and the item rows they are of."""
  if distance_BxC.shape[1] <= count:
    return distance_BxC, row_BxC
  at_BxK = np.argpartition(distance_BxC, count - 1, axis=1)[:, :count]
  return np.take_along_axis(distance_BxC, at_BxK, 1), np.take_along_axis(row_BxC, at_BxK, 1)
