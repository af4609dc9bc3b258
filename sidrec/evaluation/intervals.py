"""How sure a comparison of systems on the same users is: bootstrap intervals, as tables.

Metrics of users are named by their paths, as in `per_user.npz`: 'system/split/way/metric' → [U].
"""

from collections.abc import Mapping

import numpy as np

from sidrec.core.tables import aligned_table
from sidrec.evaluation.bootstrap import (
  RESAMPLES,
  Difference,
  Interval,
  bootstrap_difference,
  bootstrap_mean,
)
from sidrec.evaluation.protocol import SPLITS

REFERENCE = "sidrec"  # the system that the others are compared with
WAYS = ("masked", "unmasked")
METRICS = {"recall@10": "Recall@10", "ndcg@10": "NDCG@10"}
COLUMNS = tuple((way, metric) for way in WAYS for metric in METRICS)
TITLES = tuple(f"{way}: {METRICS[metric]}" for way, metric in COLUMNS)

PerUserPaths = Mapping[str, np.ndarray]


def interval_text(found: Interval) -> str:
  """'[0.2981, 0.3217]'."""
  return f"[{found.low:.4f}, {found.high:.4f}]"


def difference_text(found: Difference) -> str:
  """'-0.0405 [-0.0512, -0.0301] p=0.0002'."""
  return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] p={found.p_value:.4f}"


def mean_rows(per_user: PerUserPaths, split: str, resamples: int = RESAMPLES) -> list[list[str]]:
  """The reference's means with their intervals, below a header; empty where it has no users."""
  cells = []
  for way, metric in COLUMNS:
    value_U = per_user.get(f"{REFERENCE}/{split}/{way}/{metric}")
    if value_U is None:
      cells.append("-")
      continue
    found = bootstrap_mean(value_U, resamples)
    cells.append(f"{found.mean:.4f} {interval_text(found)}")
  return _below_header("mean", [[REFERENCE, *cells]])


def difference_rows(
  per_user: PerUserPaths, split: str, resamples: int = RESAMPLES
) -> list[list[str]]:
  """Each other system minus the reference, paired by user; empty where nothing can be paired."""
  rows = []
  for system in dict.fromkeys(path.split("/")[0] for path in per_user):
    if system == REFERENCE:
      continue
    cells = []
    for way, metric in COLUMNS:
      value_U, other_U = (
        per_user.get(f"{name}/{split}/{way}/{metric}") for name in (system, REFERENCE)
      )
      if value_U is None or other_U is None:
        cells.append("-")
        continue
      cells.append(difference_text(bootstrap_difference(value_U, other_U, resamples)))
    rows.append([f"{system} − {REFERENCE}", *cells])
  return _below_header("difference", rows)


def _below_header(name: str, rows: list[list[str]]) -> list[list[str]]:
  """The rows with a header, unless none of them holds a number."""
  if all(cell == "-" for row in rows for cell in row[1:]):
    return []
  return [[name, *TITLES], *rows]


def intervals_report(per_user: PerUserPaths, resamples: int = RESAMPLES) -> str:
  """The tables of both splits, and what their cells mean; '' where no users are known."""
  tables = []
  for split in SPLITS:
    for make_rows in (mean_rows, difference_rows):
      rows = make_rows(per_user, split, resamples)
      if rows:
        tables.append(aligned_table([[f"{split}: {rows[0][0]}", *rows[0][1:]], *rows[1:]]))
  if not tables:
    return ""
  heading = (
    f"[95% interval over users]: percentile bootstrap, {resamples:,} resamples. Differences are\n"
    f"to {REFERENCE} on the same users; p is two-sided. Neither knows of other seeds: see --seeds."
  )
  return "\n\n".join([heading, *tables]) + "\n"
