"""Lines of text files, plain or compressed (.gz), in UTF-8: for Polars and for Python."""

import contextlib
import gzip
import itertools
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import polars as pl


def lazy_lines(file: Path) -> pl.LazyFrame:
  """'row' (UInt32, from 0) and 'line' (String, without its end)."""
  return pl.scan_lines(file, row_index_name="row", glob=False).select(
    pl.col("row").cast(pl.UInt32), "line"
  )


@contextlib.contextmanager
def opened(file: Path) -> Generator[Any]:
  """The file as a stream of lines that keep their ends; what cannot be decoded names the file."""
  how = gzip.open if file.suffix.lower() == ".gz" else open
  try:
    with how(file, "rt", encoding="utf-8-sig", newline="") as stream:
      yield stream
  except UnicodeDecodeError as error:
    raise ValueError(f"{file} is not UTF-8 text ({error.reason}); convert it first") from error
  except (gzip.BadGzipFile, EOFError, zlib.error) as error:
    raise ValueError(f"{file} is not a readable gzip file: {error}") from error


def numbered(file: Path) -> Iterator[tuple[int, str]]:
  """Line numbers from 1, and the lines."""
  with opened(file) as stream:
    yield from enumerate(stream, 1)


def line_at(file: Path, row: int) -> str:
  """The line of a row, counted from 0, without its end."""
  return next(itertools.islice(numbered(file), row, None))[1].rstrip("\r\n")


@contextlib.contextmanager
def named_faults(file: Path) -> Generator[None]:
  """Turns an error of Polars about a file's bytes into the sentence that names the file."""
  try:
    yield
  except (pl.exceptions.PolarsError, OSError) as error:
    if isinstance(error, FileNotFoundError):
      raise
    if file.suffix.lower() not in (".parquet", ".pq"):
      for _ in numbered(file):  # raises the sentence
        pass
    raise ValueError(f"{file} cannot be read: {error}") from error
