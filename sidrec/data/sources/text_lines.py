"""Text files as frames of numbered lines, and one sentence for the first line that is wrong."""

import gzip
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl


def plain_or_gz(folder: Path, name: str) -> Path:
  """The path of a file in a folder: as it is, or compressed where only that is there."""
  plain = folder / name
  return plain if plain.is_file() else folder / f"{name}.gz"


def stamps(files: Iterable[Path]) -> list[list[str | int]]:
  """What changes with the files: [name, bytes, time of the last change] of each; JSON-able."""
  return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def read_bytes(file: Path) -> bytes:
  """A file's content, unpacked if its name ends in .gz.

  Raises:
    ValueError: if it should be gzip and is not, or is cut off.
  """
  data = file.read_bytes()
  try:
    return gzip.decompress(data) if file.suffix == ".gz" else data
  except (OSError, EOFError, zlib.error) as error:
    raise ValueError(f"{file} is not a readable gzip file: {error}") from error


def read_text(file: Path, encoding: str = "utf-8") -> str:
  """A file's text, plain or compressed (.gz).

  Raises:
    ValueError: naming the first line that is not in this encoding.
  """
  data = read_bytes(file)
  try:
    return data.decode(encoding)
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise ValueError(f"{file}:{line}: the text is not {encoding}: {error.reason}") from error


def read_lines(file: Path, encoding: str = "utf-8") -> pl.DataFrame:
  """The lines of a text file: 'number', from 1, and 'line'; no blank ones at the file's end."""
  lines = read_text(file, encoding).replace("\r\n", "\n").rstrip("\n").split("\n")
  frame = pl.DataFrame({"line": lines if lines != [""] else []}, schema={"line": pl.String})
  return frame.with_row_index("number", 1)


def refuse(file: Path, rows: pl.DataFrame, faults: Mapping[str, pl.Expr]) -> None:
  """Raises ValueError for the first row with a fault, naming file, line number, fault and content.

  Args:
    file: its path.
    rows: with 'number' and 'line'.
    faults: sentence → whether a row has this fault. Of a row's faults the first is named. A
      sentence may hold columns of the row in braces, as for `str.format`.
  """
  sentences = list(faults)
  found = pl.coalesce(pl.when(has).then(pl.lit(k)) for k, has in enumerate(faults.values()))
  first = rows.with_columns(found.alias("fault")).filter(pl.col("fault").is_not_null()).head(1)
  for row in first.iter_rows(named=True):
    sentence = sentences[row["fault"]].format(**row)
    raise ValueError(f"{file}:{row['number']}: {sentence}: {row['line'][:200]!r}")
