"""Lines of Amazon's published files: one object each, as JSON or, before 2018, a Python literal."""

import ast
import codecs
import gzip
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

_BLOCK_LINES = 1 << 14


def numbered_lines(file: Path) -> Iterator[tuple[int, bytes]]:
  """The lines of a file, counted from 1, without the blanks around them; empty ones are left out.

  Args:
    file: plain or gzip (its name ends in .gz).

  Raises:
    ValueError: if it should be gzip and is not, or is cut off.
  """
  opened = gzip.open if file.suffix == ".gz" else open
  try:
    with opened(file, "rb") as stream:
      for number, line in enumerate(stream, 1):
        if number == 1:
          line = line.removeprefix(codecs.BOM_UTF8)
        if line := line.strip():
          yield number, line
  except (gzip.BadGzipFile, EOFError, zlib.error) as error:
    raise ValueError(f"{file} is not a readable gzip file: {error}") from error


def parse_line(file: Path, number: int, line: bytes) -> dict[str, Any]:
  """The object that a line holds.

  Raises:
    ValueError: naming file, line number and content, if it holds none.
  """
  found, fault = None, "expected an object with names"
  try:
    found = json.loads(line.decode("utf-8"))
  except UnicodeDecodeError as error:
    fault = f"not UTF-8 ({error.reason})"
  except (ValueError, RecursionError) as error:
    try:
      found = ast.literal_eval(line.decode("utf-8"))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
      fault = f"neither JSON ({error}) nor a Python literal"
  if isinstance(found, dict):
    return found
  raise ValueError(f"{file}:{number}: {fault}: {line[:200].decode('utf-8', 'replace')!r}")


def text_frames(file: Path, schema: Mapping[str, pl.DataType]) -> Iterator[pl.DataFrame]:
  """Some values of all objects in a file, as text, in parts; null where an object lacks one.

  Args:
    file: plain or gzip.
    schema: name → the type that its values usually have. Polars reads parts without others.

  Raises:
    ValueError: as `numbered_lines` and `parse_line`.
  """
  lines = numbered_lines(file)
  while block := list(itertools.islice(lines, _BLOCK_LINES)):
    try:
      frame = pl.read_ndjson(b"\n".join(line for _, line in block), schema=schema)
      yield frame.cast(pl.String)
    except pl.exceptions.PolarsError:
      rows = [parse_line(file, number, line) for number, line in block]
      yield pl.DataFrame(
        {name: [_text(row.get(name)) for row in rows] for name in schema},
        schema=dict.fromkeys(schema, pl.String),
      )


def _text(value: Any) -> str | None:
  return value if value is None else str(value)
