"""Columns of JSON lines as text: by Polars, and by Python where the two may differ."""

import json
import math
from collections.abc import Sequence
from typing import Any

import polars as pl
from etils import epath

from sidrec.data.sources.shown import brief, shown

# Lists, objects, and numbers that are not written alike by all programs.
_SPECIAL = r"^(?:[\[{]|-?[0-9.]+[eE]|-?[0-9]{19})"
_DEEP = 100  # levels of lists in lists and objects that are read
PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
HALF = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"


def object_of(file: epath.Path, number: int, line: str) -> dict[str, Any]:
  """The object on a line; raises ValueError, with the line's number, for anything else."""
  try:
    found = json.loads(line)
  except RecursionError as error:
    raise _too_deep(file, number, line) from error
  except ValueError as error:  # also for numbers of thousands of digits
    raise ValueError(f"{file}:{number}: not JSON ({brief(error)}): {shown(line)}") from error
  if isinstance(found, dict):
    return found
  one = ", one a line, and not a list of them" if isinstance(found, list) else ""
  raise ValueError(f"{file}:{number}: expected an object with names{one}: {shown(line)}")


def explain(file: epath.Path, number: int, line: str) -> None:
  """Raises ValueError for a line that `columns` marks."""
  try:
    for value in object_of(file, number, line).values():
      _text(value)
  except RecursionError as error:
    raise _too_deep(file, number, line) from error


def _too_deep(file: epath.Path, number: int, line: str) -> ValueError:
  return ValueError(
    f"{file}:{number}: a list or object stands in more than {_DEEP} others; flatten it: "
    f"{shown(line)}"
  )


def columns(lines: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
  """The columns of these names: String, null where one is null, NaN or absent.

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


def is_named(lines: pl.LazyFrame, name: str) -> bool:
  """Whether any line may have such a column."""
  line = pl.col("line")
  spellings = {json.dumps(name), json.dumps(name, ensure_ascii=False)}
  found = pl.any_horizontal(line.str.contains(spelling, literal=True) for spelling in spellings)
  return bool(lines.select(found.any()).collect(engine="streaming").item())


def count_halves(lines: pl.LazyFrame) -> int:
  """How many lines spell half of a surrogate pair, which is no character."""
  line = pl.col("line")
  plain = line.str.replace_all(r"\\\\", "", literal=False).str.replace_all(PAIR, "")
  found = lines.filter(line.str.contains(HALF)).select(plain.str.contains(HALF).sum())
  return found.collect(engine="streaming").item()


def _by_python(line: str, names: Sequence[str]) -> list:
  try:
    found = json.loads(line)
    if isinstance(found, dict):
      return [False, *(_text(found.get(name)) for name in names)]
  except (ValueError, RecursionError):
    pass
  return [True, *[None] * len(names)]


def _text(value: Any, depth: int = 0) -> str | None:
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return None
  if depth > _DEEP:
    raise RecursionError
  if isinstance(value, list):
    return "|".join(_text(part, depth + 1) or "" for part in value)
  text = value if isinstance(value, str) else json.dumps(value)
  return whole_characters(text)


def whole_characters(text: str) -> str:
  """The text with \ufffd for each half of a surrogate pair, which is no character."""
  return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
