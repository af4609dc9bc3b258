"""How sure a comparison of systems on the same users is: tables of bootstrap intervals.

Metrics of users are named by their paths, as in `per_user.npz`: 'system/split/way/metric' → [U].
"""

from collections.abc import Iterable, Mapping

import numpy as np

from sidrec.core.tables import aligned_table
from sidrec.evaluation.bootstrap import (
  RESAMPLES,
  Difference,
  Interval,
  bootstrap_difference,
  bootstrap_mean,
)
from sidrec.evaluation.own_metrics import metrics_in
from sidrec.evaluation.protocol import METRICS, SPLITS, WAYS

REFERENCE = "sidrec"  # the system that the others are compared with

PerUserPaths = Mapping[str, np.ndarray]
Column = tuple[str, str]  # way and metric


def columns_of(paths: Iterable[str]) -> tuple[Column, ...]:
  """The columns of a table of these values: of sidrec's metrics, and of plugins' that are there."""
  metrics = (*METRICS, *metrics_in(path.rpartition("/")[2] for path in paths))
  return tuple((way, metric) for way in WAYS for metric in metrics)


def titles_of(columns: Iterable[Column]) -> tuple[str, ...]:
  """'masked: Recall@10', …: the heads of these columns."""
  return tuple(f"{way}: {title_of(metric)}" for way, metric in columns)


def title_of(metric: str) -> str:
  """What readers call a metric; a plugin's has its name."""
  return METRICS.get(metric, metric)


def interval_text(found: Interval) -> str:
  """'[0.2981, 0.3217]'."""
  return f"[{found.low:.4f}, {found.high:.4f}]"


def difference_text(found: Difference) -> str:
  """'-0.0405 [-0.0512, -0.0301] p=0.0002'."""
  return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] p={found.p_value:.4f}"


def lead(ours_U: np.ndarray, others_U: np.ndarray, *, resamples: int = RESAMPLES) -> Difference:
  """The mean of the first minus that of the second; the interval is that of `evaluation.txt`.

  Its table has the other minus the reference. Resamples are drawn for that difference, and the
  ends of the interval trade places.
  """
  found = bootstrap_difference(others_U, ours_U, resamples)
  return found._replace(mean=-found.mean, low=-found.high, high=-found.low)


def column_paths(system: str, split: str, columns: Iterable[Column]) -> list[str]:
  """The paths of a system's metrics, one for each column."""
  return [f"{system}/{split}/{way}/{metric}" for way, metric in columns]


def mean_rows(per_user: PerUserPaths, split: str, resamples: int = RESAMPLES) -> list[list[str]]:
  """A header and the reference's means with their intervals; empty if its users are unknown."""
  columns, row = columns_of(per_user), [REFERENCE]
  for path in column_paths(REFERENCE, split, columns):
    found = bootstrap_mean(per_user[path], resamples) if path in per_user else None
    row.append(f"{found.mean:.4f} {interval_text(found)}" if found else "-")
  return _with_header("mean", columns, [row])


def difference_rows(
  per_user: PerUserPaths, split: str, resamples: int = RESAMPLES
) -> list[list[str]]:
  """A header and each other system minus the reference, paired by user; empty without pairs."""
  columns = columns_of(per_user)
  rows, references = [], column_paths(REFERENCE, split, columns)
  for system in dict.fromkeys(path.split("/")[0] for path in per_user):
    if system == REFERENCE:
      continue
    row = [f"{system} − {REFERENCE}"]
    for path, reference in zip(column_paths(system, split, columns), references, strict=True):
      if path in per_user and reference in per_user:
        found = bootstrap_difference(per_user[path], per_user[reference], resamples)
        row.append(difference_text(found))
      else:
        row.append("-")
    rows.append(row)
  return _with_header("difference", columns, rows)


def _with_header(name: str, columns: Iterable[Column], rows: list[list[str]]) -> list[list[str]]:
  """The rows below a header; nothing if no row holds a number."""
  if all(cell == "-" for row in rows for cell in row[1:]):
    return []
  return [[name, *titles_of(columns)], *rows]


def intervals_report(per_user: PerUserPaths, resamples: int = RESAMPLES) -> str:
  """The tables of both splits and what their cells mean; '' if no users are known."""
  tables = []
  for split in SPLITS:
    for make_rows in (mean_rows, difference_rows):
      rows = make_rows(per_user, split, resamples)
      if rows:
        (name, *titles), *body = rows
        tables.append(aligned_table([[f"{split}: {name}", *titles], *body]))
  if not tables:
    return ""
  heading = (
    f"[95% interval over users]: percentile bootstrap, {resamples:,} resamples. Differences are\n"
    f"to {REFERENCE} on the same users; p is two-sided. Neither knows of other seeds: see --seeds."
  )
  return "\n\n".join([heading, *tables]) + "\n"
