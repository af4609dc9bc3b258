"""Columns of JSON lines as text: by Polars, and by Python where the two may differ."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

# Lists, objects, and numbers that are not written alike by all programs.
_SPECIAL = r"^(?:[\[{]|-?[0-9.]+[eE]|-?[0-9]{19})"


def object_of(file: Path, number: int, line: str) -> dict[str, Any]:
  """The object on a line; raises ValueError, with the line's number, for anything else."""
  try:
    found = json.loads(line)
  except json.JSONDecodeError as error:
    raise ValueError(f"{file}:{number}: not JSON ({error}): {line[:200]!r}") from error
  if not isinstance(found, dict):
    raise ValueError(f"{file}:{number}: expected an object with names: {line[:200]!r}")
  return found


def columns(lines: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
  """The columns of these names: String, null where one is null or absent.

  Args:
    lines: 'row' and 'line', each with an object.
    names: distinct.

  Returns:
    'row', 'faulty' (Boolean, whether a line is no JSON object) and the columns.
  """
  schema = {"row": pl.UInt32, "faulty": pl.Boolean, **dict.fromkeys(names, pl.String)}
  found = [pl.col("line").str.json_path_match(f"$[{json.dumps(name)}]") for name in names]

  def second_look(frame: pl.DataFrame) -> pl.DataFrame:
    values = pl.col(f"{k}" for k in range(len(names)))
    special = pl.any_horizontal(values.str.contains(_SPECIAL)).fill_null(False)
    asked = frame.select(special | pl.all_horizontal(values.is_null())).to_series().arg_true()
    whole = frame.select(
      "row", pl.lit(False).alias("faulty"), *(pl.col(f"{k}").alias(n) for k, n in enumerate(names))
    )
    if not len(asked):
      return whole
    mended = [_by_python(line, names) for line in frame["line"].gather(asked)]
    table = pl.DataFrame(mended, schema=list(schema.items())[1:], orient="row")
    table = table.select(frame["row"].gather(asked), *table.columns)
    return whole.update(table, on="row", include_nulls=True)

  return (
    lines.select("row", "line", *(value.alias(f"{k}") for k, value in enumerate(found)))
    .map_batches(second_look, schema=schema, streamable=True)
    .select(*schema)
  )


def _by_python(line: str, names: Sequence[str]) -> list:
  try:
    found = json.loads(line)
  except json.JSONDecodeError:
    found = None
  if not isinstance(found, dict):
    return [True, *[None] * len(names)]
  return [False, *(_text(found.get(name)) for name in names)]


def _text(value: Any) -> str | None:
  if value is None:
    return None
  if isinstance(value, list):
    return "|".join(_text(part) or "" for part in value)
  text = value if isinstance(value, str) else json.dumps(value)
  return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # halves of surrogates
