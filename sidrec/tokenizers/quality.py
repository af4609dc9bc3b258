"""How well codes use their codebooks, tell items apart and keep what the vectors held.

Measured over the whole catalogue, before collisions are resolved. Letters: N
items, L levels, V codes per level, F vector width. Plain NumPy.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sidrec.tokenizers.collisions import collision_rate, group, largest_group
from sidrec.tokenizers.radix import as_codes


def report(
  codes: ArrayLike,
  codebook_size: int,
  vectors: np.ndarray | None = None,
  reconstructed: np.ndarray | None = None,
) -> dict[str, Any]:
  """Measures codes.

  Args:
    codes: integer [N, L] in [0, V), one row per item, before collisions are resolved.
    codebook_size: V.
    vectors: float [N, F], what was tokenised; None leaves the reconstruction out.
    reconstructed: float [N, F], what the codes stand for; None likewise.

  Returns:
    A dict of plain numbers, lists and dicts that JSON takes: 'items', 'num_levels',
    'codebook_size'; 'levels', a list of {'level' (from 1), 'codes_used', 'share_used',
    'dead_codes', 'perplexity', 'largest_cluster'}; 'prefixes', a list of {'depth',
    'distinct', 'items_mean', 'items_max'}; 'distinct_ids', 'collision_rate' (share of items
    that share their tuple), 'largest_group'; 'unexplained_variance' (None if not given).

  Raises:
    ValueError: for no items, codes outside [0, V), or vectors of another shape.
  """
  codes_NxL = as_codes(codes, codebook_size)
  if codes_NxL.ndim != 2 or not codes_NxL.size:
    raise ValueError(f"codes have shape {codes_NxL.shape}; give [items, levels], at least one each")
  num_items, num_levels = codes_NxL.shape
  unexplained = None
  if vectors is not None and reconstructed is not None:
    if len(vectors) != num_items:
      raise ValueError(f"{len(vectors)} vectors do not match the codes of {num_items} items")
    unexplained = unexplained_variance(vectors, reconstructed)
  prefixes = [_prefix(codes_NxL, depth) for depth in range(1, num_levels + 1)]
  return {
    "items": num_items,
    "num_levels": num_levels,
    "codebook_size": codebook_size,
    "levels": [_level(codes_NxL, level, codebook_size) for level in range(num_levels)],
    "prefixes": prefixes,
    "distinct_ids": prefixes[-1]["distinct"],
    "collision_rate": collision_rate(codes_NxL),
    "largest_group": largest_group(codes_NxL),
    "unexplained_variance": unexplained,
  }


def table(report: dict[str, Any]) -> str:
  """A `report` as plain text, at most 80 columns wide."""
  size = report["codebook_size"]
  lines = [
    f"{report['items']:,} items, {report['num_levels']} levels of {size:,} codes",
    "",
    f"{'level':>5} {'codes used':>13} {'share':>7} {'dead':>7} {'perplexity':>11} {'largest':>9}",
  ]
  for row in report["levels"]:
    lines.append(
      f"{row['level']:>5} {row['codes_used']:>13,} {row['share_used']:>7.1%} "
      f"{row['dead_codes']:>7,} {row['perplexity']:>11,.1f} {row['largest_cluster']:>9,}"
    )
  lines += ["", f"{'depth':>5} {'prefixes':>13} {'items per prefix: mean':>23} {'max':>9}"]
  for row in report["prefixes"]:
    lines.append(
      f"{row['depth']:>5} {row['distinct']:>13,} {row['items_mean']:>23,.2f} {row['items_max']:>9,}"
    )
  lines += [
    "",
    f"items that share their ID   {report['collision_rate']:>9.2%}",
    f"distinct IDs                {report['distinct_ids']:>9,}",
    f"largest group of one ID     {report['largest_group']:>9,}",
  ]
  if report["unexplained_variance"] is not None:
    lines.append(f"variance not explained      {report['unexplained_variance']:>9.2%}")
  return "\n".join(lines)


def unexplained_variance(vectors: np.ndarray, reconstructed: np.ndarray) -> float:
  """Σ |x - x̂|² / Σ |x - mean x|²: 0 if nothing is lost, 1 if only the mean is kept.

  Args:
    vectors: x, float [N, F].
    reconstructed: x̂, float [N, F].

  Raises:
    ValueError: if shapes differ, or the vectors have no variance.
  """
  vectors, reconstructed = np.asarray(vectors), np.asarray(reconstructed)
  if vectors.ndim != 2 or vectors.shape != reconstructed.shape:
    raise ValueError(
      f"vectors have shape {vectors.shape} and their reconstruction {reconstructed.shape}; "
      "give two of [items, width]"
    )
  mean_F = vectors.mean(axis=0, keepdims=True, dtype=np.float64)
  total = np.square(vectors - mean_F).sum()
  if total == 0:
    raise ValueError("the vectors have no variance to explain: all rows are equal")
  return float(np.square(vectors - reconstructed, dtype=np.float64).sum() / total)


def _level(codes_NxL: np.ndarray, level: int, codebook_size: int) -> dict[str, Any]:
  """How one level uses its codebook."""
  used, counts = np.unique(codes_NxL[:, level], return_counts=True)
  share = counts / len(codes_NxL)
  return {
    "level": level + 1,
    "codes_used": len(used),
    "share_used": len(used) / codebook_size,
    "dead_codes": codebook_size - len(used),
    "perplexity": float(np.exp(-(share * np.log(share)).sum())),
    "largest_cluster": int(counts.max()),
  }


def _prefix(codes_NxL: np.ndarray, depth: int) -> dict[str, Any]:
  """How many items the prefixes of one length have."""
  sizes = group(codes_NxL[:, :depth]).size_G
  return {
    "depth": depth,
    "distinct": len(sizes),
    "items_mean": float(sizes.mean()),
    "items_max": int(sizes.max()),
  }
