"""The results table, and `evaluation.json`.

Results are nested as system → split → 'masked' | 'unmasked' → metric → value.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from sidrec.evaluation.metrics import COVERAGE_AT, NDCG_AT, RECALL_AT
from sidrec.evaluation.protocol import Protocol, describe, to_json
from sidrec.whole_file import write_whole_text

Results = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]

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
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = []
  for row in rows:
    names = [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
    lines.append("  ".join(names + numbers))
  lines.insert(1, "  ".join("-" * width for width in widths))
  return "\n".join(lines)


def evaluation_report(protocol: Protocol, results: Results) -> str:
  """The results table with the protocol below it."""
  return f"{results_table(results)}\n\n{describe(protocol)}\n"


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
