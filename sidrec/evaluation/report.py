"""The results table with its intervals, `evaluation.json` and `per_user.npz`.

Results are nested as system → split → 'masked' | 'unmasked' → metric → value. In `per_user.npz`
a path such as 'sidrec/test/masked/recall@10' names a float32 array [U]; what it holds besides
metrics is described in `details`.
"""

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from sidrec.core.atomic import write_whole, write_whole_text
from sidrec.core.checked_json import checked_text, parse_checked
from sidrec.core.paths import as_path, is_local
from sidrec.core.readers import read_npz
from sidrec.core.settings import flatten
from sidrec.core.tables import aligned_table
from sidrec.evaluation.bootstrap import RESAMPLES
from sidrec.evaluation.details import Details, details_arrays, is_detail
from sidrec.evaluation.intervals import intervals_report
from sidrec.evaluation.metrics import COVERAGE_AT, NDCG_AT, RECALL_AT
from sidrec.evaluation.own_metrics import metrics_in
from sidrec.evaluation.protocol import Protocol, describe

Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
PerUser = Mapping[str, Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]]

COLUMNS = [f"recall@{k}" for k in RECALL_AT] + [f"ndcg@{k}" for k in NDCG_AT]
COLUMNS += ["mrr", f"coverage@{COVERAGE_AT}"]


def results_table(results: Results) -> str:
  """Aligned plain text: a row for each system, split and way; '-' for what was not measured."""
  measured = (path.rpartition("/")[2] for path in flatten(results, separator="/"))
  columns = [*COLUMNS, *metrics_in(measured)]
  rows = [["system", "split", "seen items", *columns]]
  for system, splits in results.items():
    for split, ways in splits.items():
      for way, metrics in ways.items():
        values = (f"{metrics[name]:.4f}" if name in metrics else "-" for name in columns)
        rows.append([system, split, way, *values])
  return aligned_table(rows, names=3)


def evaluation_report(
  protocol: Protocol, results: Results, per_user: PerUser, resamples: int = RESAMPLES
) -> str:
  """The content of `evaluation.txt`: the results table, the protocol and the intervals."""
  intervals = intervals_report(per_user_paths(per_user), resamples)
  return f"{results_table(results)}\n\n{describe(protocol)}\n" + (intervals and f"\n{intervals}")


def write_evaluation(path: str | os.PathLike, protocol: Protocol, results: Results) -> None:
  """Writes {'protocol': …, 'results': …} as JSON with a checksum; the file appears whole.

  Raises:
    ValueError: if a value is not finite.
    FileNotFoundError: if the local directory does not exist.
  """
  path, facts = as_path(path), protocol._asdict()
  for name in ("request_time", "own_metrics", "own_baselines"):
    if not facts[name]:
      del facts[name]
  try:
    text = checked_text({"protocol": facts, "results": results})
  except ValueError as error:
    raise ValueError(f"cannot write {path}: a result is not a finite number") from error
  if is_local(path) and not path.parent.is_dir():
    raise FileNotFoundError(f"cannot write {path}: the directory {path.parent} does not exist")
  write_whole_text(path, text)


def read_evaluation(path: str | os.PathLike) -> dict[str, Any]:
  """The {'protocol': …, 'results': …} that `write_evaluation` wrote.

  Raises:
    FileNotFoundError: if the file does not exist.
    ValueError: if it is not such a file.
  """
  path = as_path(path)
  if not path.is_file():
    raise FileNotFoundError(f"there is no {path}; run --mode=evaluate with this workdir first")
  try:
    content = parse_checked(path.read_bytes())
  except ValueError as error:
    raise ValueError(f"{path} is {error}; evaluate again") from None
  if not {"protocol", "results"} <= set(content):
    raise ValueError(f"{path} does not hold a protocol and results; evaluate again")
  if not _is_protocol(content["protocol"]) or not _are_results(content["results"]):
    raise ValueError(f"{path} is damaged: its protocol or results are garbled; evaluate again")
  return content


def _is_protocol(protocol: Any) -> bool:
  """Whether it names the data set and its sizes."""
  return (
    isinstance(protocol, dict)
    and isinstance(protocol.get("dataset"), str)
    and all(type(protocol.get(key)) is int for key in ("num_users", "num_items", "num_beams"))
  )


def _are_results(results: Any, depth: int = 4) -> bool:
  """Whether they are numbers under system, split, way and metric."""
  if depth == 0:
    return type(results) in (int, float) and math.isfinite(results)
  return isinstance(results, dict) and all(_are_results(x, depth - 1) for x in results.values())


def per_user_paths(per_user: PerUser) -> dict[str, np.ndarray]:
  """'system/split/way/metric' → float32 [U]."""
  paths = flatten(per_user, separator="/")
  return {path: np.asarray(value_U, np.float32) for path, value_U in paths.items()}


def write_per_user(
  path: str | os.PathLike, per_user: PerUser, details: Details | None = None
) -> None:
  """Writes every user's metrics and lists; a reader sees the old or the whole new file.

  Args:
    path: of the .npz file.
    per_user: system → split → way → metric → [U], users in the data set's order.
    details: what a report needs besides.

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
  arrays |= details_arrays(details) if details else {}
  write_whole(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))


def read_per_user(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """'system/split/way/metric' → float32 [U], as `write_per_user` wrote it.

  Raises:
    FileNotFoundError: if the file does not exist.
    ValueError: if it is damaged.
  """
  path = as_path(path)
  try:
    arrays = {name: x for name, x in read_npz(path).items() if not is_detail(name)}
    lengths: dict[str, int] = {}
    for name, value_U in arrays.items():
      whole = value_U.dtype == np.float32 and value_U.ndim == 1 and value_U.size > 0
      split = name.split("/")[1] if name.count("/") == 3 else ""
      if not whole or not split or lengths.setdefault(split, len(value_U)) != len(value_U):
        raise ValueError("not a file of users' metrics")
  except ValueError as error:
    raise ValueError(f"{path} is {error}; run --mode=evaluate again") from None
  return arrays
