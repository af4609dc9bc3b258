"""Do items with near vectors share the first codes of their semantic IDs?"""

from typing import Any

import numpy as np

from sidrec.core.codes import group
from sidrec.core.tables import aligned_table

# Up to that many items, every item is a query; from more, a sample is drawn.
EXACT_ITEMS = 20_000
SAMPLE = 2_000


def knn_overlap(
  codes_NxL: np.ndarray,
  vectors_NxF: np.ndarray,
  num_neighbours: int = 10,
  exact_items: int = EXACT_ITEMS,
  sample: int = SAMPLE,
  seed: int = 0,
) -> dict[str, Any]:
  """The share of an item's nearest vectors that share its first codes.

  Args:
    codes_NxL: integers.
    vectors_NxF: finite float32, memory-mapped or not.
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
    ValueError: for fewer than two items, or sizes that make no sense.
  """
  num_items, num_levels = codes_NxL.shape
  if num_items < 2:
    raise ValueError(f"{num_items} item has no neighbours; give at least 2")
  if num_neighbours < 1 or sample < 1:
    raise ValueError(
      f"num_neighbours is {num_neighbours} and sample {sample}; give at least 1 of each"
    )
  query_R = np.arange(num_items)
  if num_items > exact_items:
    size = min(sample, num_items)
    query_R = np.sort(np.random.default_rng(seed).choice(num_items, size, replace=False))
  near_RxK = nearest_others(vectors_NxF, query_R, min(num_neighbours, num_items - 1))
  same_RxKxL = codes_NxL[near_RxK] == codes_NxL[query_R][:, None]
  share_L = np.logical_and.accumulate(same_RxKxL, axis=-1).mean(axis=(0, 1))
  sizes_L = [group(codes_NxL[:, :depth]).size_G for depth in range(1, num_levels + 1)]
  chance_L = [(size_G * (size_G - 1)).sum() / (num_items * (num_items - 1)) for size_G in sizes_L]
  return {
    "items": num_items,
    "queries": len(query_R),
    "neighbours": near_RxK.shape[1],
    "depths": [
      {"depth": depth, "share": float(share), "share_shuffled": float(chance)}
      for depth, (share, chance) in enumerate(zip(share_L, chance_L, strict=True), start=1)
    ],
  }


def nearest_others(vectors_NxF: np.ndarray, query_R: np.ndarray, num_neighbours: int) -> np.ndarray:
  """The items nearest to each query item, itself excluded, by Euclidean distance.

  Args:
    vectors_NxF: float32.
    query_R: item rows.
    num_neighbours: K, below N.

  Returns:
    Item rows, int64 [R, K]. Of equally far items any may be taken.
  """
  # Importing scikit-learn takes a second, which programs without a report need not wait for.
  from sklearn.neighbors import NearestNeighbors

  search = NearestNeighbors(n_neighbors=num_neighbours + 1, algorithm="brute").fit(vectors_NxF)
  near = np.asarray(search.kneighbors(vectors_NxF[query_R], return_distance=False))
  left_out = near == query_R[:, None]
  left_out[~left_out.any(axis=1), -1] = True  # among equal vectors an item may miss itself
  return near[~left_out].reshape(len(query_R), num_neighbours)


def knn_overlap_table(measured: dict[str, Any]) -> str:
  """What `knn_overlap` found, as plain text at most 100 columns wide."""
  items, queries = measured["items"], measured["queries"]
  of = f"all {items:,} items" if queries == items else f"{queries:,} random ones of {items:,} items"
  rows = [["depth", "share", "shuffled IDs"]]
  for row in measured["depths"]:
    rows.append([str(row["depth"]), f"{row['share']:.2%}", f"{row['share_shuffled']:.2%}"])
  return (
    f"share of the {measured['neighbours']} nearest vectors with the same first codes, for {of}\n"
    + aligned_table(rows, names=0, underline=False)
  )
