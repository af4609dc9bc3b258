"""Tables in text files, plain or compressed (.gz): separated values and JSON lines, in UTF-8."""

import contextlib
import csv
import gzip
import itertools
import json
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from sidrec.data.sources.rows import BLOCK_ROWS, Block, Rows

Opened = Callable[[Path], contextlib.AbstractContextManager[Any]]  # a stream of lines


def separated_rows(
  file: Path, separator: str, quoted: bool = True, text: Opened | None = None
) -> Rows:
  """A file of values between separators, whose first line names the columns.

  Blank lines are no rows.

  Args:
    file: its path.
    separator: one character.
    quoted: whether values may stand in double quotes, and then hold separators and newlines.
    text: opens what to read in place of the file's content; the file is then but a name.

  Raises:
    ValueError: if the file is empty or no UTF-8 text; while reading, for a row with more or
      fewer values than there are columns, or a quote out of place.
  """
  if len(separator) != 1:
    raise ValueError(f"the separator of {file} must be one character, not {separator!r}")
  text = text or _text

  @contextlib.contextmanager
  def opened() -> Generator[Any]:
    with text(file) as stream:
      quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
      reader = csv.reader(stream, delimiter=separator, quoting=quoting, strict=True)
      try:
        yield reader
      except csv.Error as error:
        raise ValueError(
          f"{file}:{reader.line_num}: {error}; a value that holds a quote, a separator or a "
          'newline must stand in double quotes, with its own quotes doubled ("")'
        ) from error

  with opened() as reader:
    header = [name.strip() for name in next(reader, [])]
  if not header:
    raise ValueError(f"{file} is empty or begins with a blank line; name the columns on line 1")

  def blocks(names: Sequence[str]) -> Iterator[Block]:
    at = [header.index(name) for name in names]
    row = 0
    with opened() as reader:
      next(reader)
      while lines := list(itertools.islice(reader, BLOCK_ROWS)):
        if set(map(len, lines)) != {len(header)}:
          lines = [line for line in lines if line]
          for place, line in enumerate(lines):
            if len(line) != len(header):
              raise ValueError(
                f"{where(row + place)}: {len(line)} values for the {len(header)} columns of the "
                f"header, with {separator!r} between them: {separator.join(line)[:200]!r}"
              )
        if lines:
          columns = list(zip(*lines, strict=True))
          yield [columns[column] for column in at]
        row += len(lines)

  def where(row: int) -> str:
    with opened() as reader:
      next(reader)
      begin = reader.line_num + 1  # a row may go over several lines
      for line in reader:
        if line and row == 0:
          break
        row -= bool(line)
        begin = reader.line_num + 1
    return f"{file}:{begin}"

  return Rows(file, header, blocks, where)


def json_rows(file: Path, text: Opened | None = None) -> Rows:
  """A file with one JSON object a line: its names are the columns, null and absent are missing.

  Columns are those of the first 1,024 rows; a list is written as its values with '|' between.

  Args:
    file: its path.
    text: as for `separated_rows`.

  Raises:
    ValueError: if it is empty, or, while reading, for a line that is no JSON object.
  """
  text = text or _text

  def objects() -> Iterator[tuple[int, dict[str, Any]]]:
    with text(file) as stream:
      for number, line in enumerate(stream, 1):
        if not line.strip():
          continue
        try:
          found = json.loads(line)
        except json.JSONDecodeError as error:
          raise ValueError(f"{file}:{number}: not JSON ({error}): {line[:200]!r}") from error
        if not isinstance(found, dict):
          raise ValueError(f"{file}:{number}: expected an object with names: {line[:200]!r}")
        yield number, found

  head = itertools.islice(objects(), BLOCK_ROWS)
  names = list(dict.fromkeys(name for _, found in head for name in found))
  if not names:
    raise ValueError(f"{file} is empty; it must hold one JSON object a line")

  def blocks(wanted: Sequence[str]) -> Iterator[Block]:
    rows = objects()
    while block := list(itertools.islice(rows, BLOCK_ROWS)):
      yield [[_json_text(found.get(name)) for _, found in block] for name in wanted]

  def where(row: int) -> str:
    return f"{file}:{next(itertools.islice(objects(), row, None))[0]}"

  return Rows(file, names, blocks, where)


def _json_text(value: Any) -> str:
  if value is None:
    return ""
  if isinstance(value, list):
    return "|".join(map(_json_text, value))
  return value if isinstance(value, str) else json.dumps(value)


@contextlib.contextmanager
def _text(file: Path) -> Generator[Any]:
  """The file as a stream of lines that keep their ends; what cannot be decoded names the file."""
  opened = gzip.open if file.suffix == ".gz" else open
  try:
    with opened(file, "rt", encoding="utf-8-sig", newline="") as stream:
      yield stream
  except UnicodeDecodeError as error:
    raise ValueError(f"{file} is not UTF-8 text ({error.reason}); convert it first") from error
  except (gzip.BadGzipFile, EOFError, zlib.error) as error:
    raise ValueError(f"{file} is not a readable gzip file: {error}") from error
