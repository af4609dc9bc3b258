"""The results table with its intervals, `evaluation.json` and `per_user.npz`.

Results are nested as system → split → 'masked' | 'unmasked' → metric → value. In `per_user.npz`
the same path names a float32 array [U], as in 'sidrec/test/masked/recall@10'.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sidrec.core.atomic import write_whole, write_whole_text
from sidrec.core.tables import aligned_table
from sidrec.evaluation.bootstrap import RESAMPLES
from sidrec.evaluation.intervals import intervals_report
from sidrec.evaluation.metrics import COVERAGE_AT, NDCG_AT, RECALL_AT
from sidrec.evaluation.protocol import Protocol, describe, to_json

Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
PerUser = Mapping[str, Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]]

COLUMNS = (
  *(f"recall@{k}" for k in RECALL_AT),
  *(f"ndcg@{k}" for k in NDCG_AT),
  "mrr",
  f"coverage@{COVERAGE_AT}",
)


def results_table(results: Results) -> str:
  """An aligned plain-text table: a row for each system, split and way; '-' where not measured."""
  rows: list[tuple[str, ...]] = [("system", "split", "seen items", *COLUMNS)]
  for system, splits in results.items():
    for split, ways in splits.items():
      for way, metrics in ways.items():
        values = (f"{metrics[name]:.4f}" if name in metrics else "-" for name in COLUMNS)
        rows.append((system, split, way, *values))
  return aligned_table(rows, names=3)


def evaluation_report(
  protocol: Protocol, results: Results, per_user: PerUser, resamples: int = RESAMPLES
) -> str:
  """The results table, the protocol below it, and how sure the results are."""
  intervals = intervals_report(per_user_paths(per_user), resamples)
  return f"{results_table(results)}\n\n{describe(protocol)}\n" + (intervals and f"\n{intervals}")


def write_evaluation(path: str | os.PathLike, protocol: Protocol, results: Results) -> None:
  """Writes {'protocol': …, 'results': …} as JSON; a reader sees the old file or the whole new one.

  Raises:
    ValueError: if a value is not finite.
    FileNotFoundError: if the directory does not exist.
  """
  path = Path(path)
  content = {"protocol": to_json(protocol), "results": results}
  try:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
  except ValueError as error:
    raise ValueError(f"cannot write {path}: a result is not a finite number") from error
  if not path.parent.is_dir():
    raise FileNotFoundError(f"cannot write {path}: the directory {path.parent} does not exist")
  write_whole_text(path, text)


def read_evaluation(path: str | os.PathLike) -> dict[str, Any]:
  """The {'protocol': …, 'results': …} that `write_evaluation` wrote.

  Raises:
    FileNotFoundError: if the file does not exist.
    ValueError: if it is not such a file.
  """
  path = Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"there is no {path}; run --mode=evaluate with this workdir first")
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{path} is not JSON: {error}; evaluate again") from error
  if not isinstance(content, dict) or not {"protocol", "results"} <= set(content):
    raise ValueError(f"{path} does not hold a protocol and results; evaluate again")
  return content


def per_user_paths(per_user: PerUser) -> dict[str, np.ndarray]:
  """'system/split/way/metric' → float32 [U]."""
  return {
    f"{system}/{split}/{way}/{metric}": np.asarray(value_U, np.float32)
    for system, splits in per_user.items()
    for split, ways in splits.items()
    for way, metrics in ways.items()
    for metric, value_U in metrics.items()
  }


def write_per_user(path: str | os.PathLike, per_user: PerUser) -> None:
  """Writes every user's metrics; a reader sees the old file or the whole new one.

  Args:
    path: of the .npz file.
    per_user: system → split → way → metric → [U], user rows in the data set's order.

  Raises:
    ValueError: if two arrays of a split differ in length.
  """
  arrays = per_user_paths(per_user)
  lengths: dict[str, int] = {}
  for name, value_U in arrays.items():
    split = name.split("/")[1]
    if lengths.setdefault(split, len(value_U)) != len(value_U):
      raise ValueError(
        f"cannot write {path}: {name} has {len(value_U)} users, others of its split "
        f"{lengths[split]}"
      )
  write_whole(Path(path), lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def read_per_user(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """'system/split/way/metric' → float32 [U], as `write_per_user` wrote it.

  Raises:
    FileNotFoundError: if the file does not exist.
  """
  with np.load(path, allow_pickle=False) as arrays:
    return dict(arrays)
