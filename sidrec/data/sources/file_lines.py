"""Lines of text files, plain or compressed, in UTF-8: for Polars and for Python."""

import bz2
import contextlib
import gzip
import io
import itertools
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl
from etils import epath
from polars.io.plugins import register_io_source

from sidrec.core.copies import local
from sidrec.data.sources.shown import brief

# No log is compressed better than this, and a smaller file may unpack to so many bytes.
_MAX_RATIO = 200
_SMALL = 16 << 20

_BLOCK = 1 << 14
_CHUNK = 1 << 18
_LINES = {"row": pl.UInt32, "line": pl.String}


def _open_zstd(file: Path) -> Any:
  try:
    import pyarrow
  except ImportError as error:
    raise ImportError(
      f"to read {file}, run pip install 'sidrec[parquet]', or unpack it first"
    ) from error
  return pyarrow.input_stream(str(file), compression="zstd")


# End of a name → how to open such a file.
_PACKED: dict[str, Callable[[Path], Any]] = {
  ".gz": gzip.open,
  ".bz2": bz2.open,
  ".xz": lzma.open,
  ".zst": _open_zstd,
}
_FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)


def packing_of(file: epath.Path) -> str:
  """How a file is compressed, by the end of its name: such as '.gz', or '' if it is not."""
  end = file.suffix.lower()
  return end if end in _PACKED else ""


class _Bounded(io.RawIOBase):
  """A compressed file's content, which must not be too large for its file."""

  def __init__(self, file: epath.Path) -> None:
    self._file = file
    self._stream = _PACKED[packing_of(file)](local(file))
    self._left = max(_SMALL, _MAX_RATIO * local(file).stat().st_size)

  def readable(self) -> bool:
    return True

  def readinto(self, buffer: Any, /) -> int:
    try:
      data = self._stream.read(len(buffer))
    except _FAULTS as error:
      name = packing_of(self._file).removeprefix(".").replace("gz", "gzip")
      raise ValueError(f"{self._file} is not a readable {name} file: {brief(error)}") from error
    self._left -= len(data)
    if self._left < 0:
      raise ValueError(
        f"{self._file} unpacks to more than {_MAX_RATIO} times its size; if that is meant, unpack "
        "it first and give the unpacked file"
      )
    buffer[: len(data)] = data
    return len(data)

  def close(self) -> None:
    if hasattr(self, "_stream"):  # not where the file could not be opened
      self._stream.close()
    super().close()


def open_bytes(file: epath.Path) -> IO[bytes]:
  """A file's content, unpacked.

  Raises:
    FileNotFoundError: if it is not there.
    ValueError: there and while it is read, if it is damaged or too large for its file.
    ImportError: if a library is needed for this compression.
  """
  if not packing_of(file):
    return local(file).open("rb")
  return io.BufferedReader(_Bounded(file), _CHUNK)


def check_packed(file: epath.Path) -> None:
  """Reads a compressed file to its end; raises as `open_bytes` does."""
  if packing_of(file):
    with open_bytes(file) as stream:
      while stream.read(_CHUNK):
        pass


def lazy_lines(file: epath.Path) -> pl.LazyFrame:
  """'row' (UInt32, from 0) and 'line' (String, without its end)."""
  if packing_of(file) in (".bz2", ".xz"):  # of which Polars knows nothing
    return _python_lines(file)
  lines = pl.scan_lines(local(file), row_index_name="row", glob=False)
  return lines.select(pl.col("row").cast(pl.UInt32), "line")


def _python_lines(file: epath.Path) -> pl.LazyFrame:
  def frames(columns: Any, predicate: Any, n_rows: Any, batch_size: Any) -> Iterator[pl.DataFrame]:
    del n_rows, batch_size  # hints
    with open_bytes(file) as stream:
      lines = (line.rstrip(b"\n").removesuffix(b"\r").decode() for line in stream)
      for at in itertools.count(0, _BLOCK):
        block = list(itertools.islice(lines, _BLOCK))
        rows = pl.int_range(at, at + len(block), dtype=pl.UInt32, eager=True)
        frame = pl.DataFrame({"row": rows, "line": pl.Series(block, dtype=pl.String)})
        frame = frame if predicate is None else frame.filter(predicate)
        yield frame if columns is None else frame.select(columns)
        if len(block) < _BLOCK:
          return

  return register_io_source(frames, schema=_LINES)


@contextlib.contextmanager
def opened(file: epath.Path) -> Generator[Any]:
  """The file as a stream of lines that keep their ends; what cannot be decoded names the file."""
  try:
    with io.TextIOWrapper(open_bytes(file), encoding="utf-8-sig", newline="") as stream:
      yield stream
  except UnicodeDecodeError as error:
    raise ValueError(f"{file} is not UTF-8 text ({error.reason}); convert it first") from error


def numbered(file: epath.Path) -> Iterator[tuple[int, str]]:
  """Line numbers from 1, and the lines."""
  with opened(file) as stream:
    yield from enumerate(stream, 1)


def line_at(file: epath.Path, row: int) -> str:
  """The line of a row, counted from 0, without its end."""
  return next(itertools.islice(numbered(file), row, None))[1].rstrip("\r\n")


@contextlib.contextmanager
def named_faults(file: epath.Path) -> Generator[None]:
  """Turns an error of Polars about a file's bytes into the sentence that names the file."""
  try:
    yield
  except FileNotFoundError:
    raise
  except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
    if file.suffix.lower() not in (".parquet", ".pq"):
      for _ in numbered(file):  # raises the sentence
        pass
    raise ValueError(f"{file} cannot be read: {brief(error)}") from error
