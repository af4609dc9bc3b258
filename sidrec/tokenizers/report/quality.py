"""How well codes use their codebooks, tell items apart, and keep what vectors and labels say.

Measured over the whole catalogue, on the codes of the IDs that are written, without the digits that
tell equal codes apart.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sidrec.core.codes import check_codes, collision_rate, group
from sidrec.core.tables import aligned_table
from sidrec.tokenizers.base import check_vectors
from sidrec.tokenizers.report.cluster_metrics import cluster_metrics, cluster_metrics_table
from sidrec.tokenizers.report.knn_overlap import knn_overlap, knn_overlap_table


def report(
  codes: ArrayLike,
  codebook_size: int,
  vectors: np.ndarray | None = None,
  reconstructed: np.ndarray | None = None,
  *,
  labels: Mapping[str, np.ndarray] | None = None,
  timings: Mapping[str, float] | None = None,
  collisions: Mapping[str, int | float | str] | None = None,
  notes: Sequence[str] = (),
) -> dict[str, Any]:
  """Measures codes.

  Args:
    codes: integer [N, L] in [0, V), one row per item, without extra digits.
    codebook_size: V.
    vectors: float [N, F], what was tokenized; None leaves reconstruction and neighbours out.
    reconstructed: float [N, F], what the codes decode to, for the reconstruction; or None.
    labels: what `item_labels` gives, or any other labels for `cluster_metrics`.
    timings: stage → seconds that it took for all items, such as {'fit': 20.5, 'encode': 0.4}.
    collisions: what made the codes unique, such as {'digits added': 1}; shown as it is.
    notes: sentences that a reader should see.

  Returns:
    A dict of plain numbers, lists and dicts that JSON takes: 'items', 'num_levels',
    'codebook_size'; 'levels', a list of {'level' (from 1), 'codes_used', 'share_used',
    'dead_codes', 'perplexity', 'largest_cluster'}; 'prefixes', a list of {'depth',
    'distinct', 'items_mean', 'items_max'}; 'distinct_ids', 'collision_rate' (share of items
    that share their tuple), 'largest_group'; 'unexplained_variance'; 'neighbours', from
    `knn_overlap`; 'agreement', from `cluster_metrics`; 'timings', stage → {'seconds',
    'items_per_second'}; 'collisions'; 'notes'. The five before 'notes' are None where not given,
    'neighbours' also for a single item.

  Raises:
    ValueError: for no items, codes outside [0, V), other shapes, or seconds that are no time.
  """
  codes_NxL = check_codes(codes, codebook_size)
  num_items, num_levels = codes_NxL.shape
  unexplained = near = None
  if vectors is not None:
    if len(vectors) != num_items:
      raise ValueError(f"{len(vectors)} vectors do not match the codes of {num_items} items")
    if reconstructed is not None:
      unexplained = unexplained_variance(vectors, reconstructed)
    if num_items > 1:
      near = knn_overlap(codes_NxL, check_vectors(vectors))
  prefixes = [_prefix(codes_NxL, depth) for depth in range(1, num_levels + 1)]
  return {
    "items": num_items,
    "num_levels": num_levels,
    "codebook_size": codebook_size,
    "levels": [_level(codes_NxL, level, codebook_size) for level in range(num_levels)],
    "prefixes": prefixes,
    "distinct_ids": prefixes[-1]["distinct"],
    "collision_rate": collision_rate(codes_NxL),
    "largest_group": prefixes[-1]["items_max"],
    "unexplained_variance": unexplained,
    "neighbours": near,
    "agreement": cluster_metrics(codes_NxL, labels) if labels else None,
    "timings": None if timings is None else _timings(timings, num_items),
    "collisions": None if collisions is None else {k: _plain(v) for k, v in collisions.items()},
    "notes": list(notes),
  }


def table(report: dict[str, Any]) -> str:
  """A `report` as plain text, at most 100 columns wide."""
  levels = [["level", "codes used", "share", "dead", "perplexity", "largest"]]
  for row in report["levels"]:
    counts = [f"{row[key]:,}" for key in ("level", "codes_used", "dead_codes", "largest_cluster")]
    share, perplexity = f"{row['share_used']:.1%}", f"{row['perplexity']:,.1f}"
    levels.append([*counts[:2], share, counts[2], perplexity, counts[3]])
  prefixes = [["depth", "prefixes", "items per prefix: mean", "max"]]
  for row in report["prefixes"]:
    mean = f"{row['items_mean']:,.2f}"
    prefixes.append([str(row["depth"]), f"{row['distinct']:,}", mean, f"{row['items_max']:,}"])
  sizes = f"{report['num_levels']} levels of {report['codebook_size']:,} codes"
  parts = [
    f"{report['items']:,} items, {sizes}",
    aligned_table(levels, names=0, underline=False),
    aligned_table(prefixes, names=0, underline=False),
    "\n".join(line[:100] for line in _figures(report)),
  ]
  if report["neighbours"] is not None:
    parts.append(knn_overlap_table(report["neighbours"]))
  if report["agreement"] is not None:
    parts.append(cluster_metrics_table(report["agreement"]))
  parts += [textwrap.fill(f"note: {note}", 100) for note in report["notes"]]
  return "\n\n".join(parts)


def _figures(report: dict[str, Any]) -> list[str]:
  """A line for each single figure."""
  figures = {
    "items that share codes": f"{report['collision_rate']:.2%}",
    "distinct code tuples": f"{report['distinct_ids']:,}",
    "largest group of one tuple": f"{report['largest_group']:,}",
  }
  if report["unexplained_variance"] is not None:
    figures["variance not explained"] = f"{report['unexplained_variance']:.2%}"
  for what, value in (report["collisions"] or {}).items():
    figures[f"collisions, {what}"] = f"{value:,}" if isinstance(value, int) else str(value)
  lines = [f"{name:<27} {value:>9}" for name, value in figures.items()]
  for stage, time in (report["timings"] or {}).items():
    rate = "" if time["items_per_second"] is None else f"  {time['items_per_second']:,.0f} items/s"
    lines.append(f"{'seconds, ' + stage:<27} {time['seconds']:>9,.2f}{rate}")
  return lines


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


def _timings(timings: Mapping[str, float], num_items: int) -> dict[str, dict[str, float | None]]:
  """Seconds and items per second (None if no time was measured) of each stage."""
  for stage, seconds in timings.items():
    if not (math.isfinite(seconds) and seconds >= 0):
      raise ValueError(f"stage {stage!r} took {seconds} seconds; give a number from 0 up")
  return {
    stage: {
      "seconds": float(seconds),
      "items_per_second": num_items / float(seconds) if seconds else None,
    }
    for stage, seconds in timings.items()
  }


def _plain(value: int | float | str | np.generic) -> int | float | str:
  """A NumPy number as one that JSON takes."""
  return value.item() if isinstance(value, np.generic) else value
