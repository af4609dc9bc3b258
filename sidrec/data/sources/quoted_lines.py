"""Separated values whose quotes are dealt with line by line, where a row is a line.

Most files have no quotes, or only such as open and close on one line: then Polars splits lines.
A file with a value over several lines goes through Python's csv reader instead.
"""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from sidrec.data.sources import file_lines

_BLOCK = 1 << 14
_ADVICE = (
  "a value that holds a quote, a separator or a newline must stand in double quotes, with its "
  'own quotes doubled ("")'
)


def header_of(file: Path, separator: str, quoted: bool) -> tuple[list[str], int]:
  """The values of the first row, and how many lines it has; none for an empty or blank one."""
  with file_lines.opened(file) as stream:
    reader = _reader(stream, separator, quoted)
    return [name.strip() for name in next(reader, [])], reader.line_num


def form_of(file: Path, lines: pl.LazyFrame, separator: str, size: int) -> str:
  """How the lines of a file can be read.

  Args:
    file: for messages.
    lines: those after the header.
    separator: one character.
    size: how many columns there are.

  Returns:
    'plain': there is no quote. 'quoted': quotes close on the line where they open. 'loose': some
    do not, but every line has its values if they mean nothing, and it is tabs that separate.
    'parse': values go over several lines.

  Raises:
    ValueError: for a quote that opens and does not close, in a file where commas or the like
      separate and every line has its values.
  """
  line = pl.col("line")
  strange = pl.any_horizontal(line.str.contains(sign, literal=True) for sign in '"\r')
  if not lines.select(strange.any()).collect().item():
    return "plain"
  open_lines = lines.filter(~_closed(separator) | line.str.contains("\r", literal=True))
  first = open_lines.select("row").head(1).collect()
  if not len(first):
    return "quoted"
  raw_size = line.str.count_matches(separator, literal=True) + 1
  if size == 1 or lines.select((raw_size.ne(size) & line.ne("")).any()).collect().item():
    return "parse"
  if separator == "\t":
    return "loose"
  raise ValueError(f"{file}:{first.item() + 1}: unexpected end of data; {_ADVICE}")


def split(separator: str, form: str) -> pl.Expr:
  """Each 'line' at its separators: List(String), quotes still in place; `form` as of `form_of`."""
  line = pl.col("line")
  plain = line.str.split(separator)
  if form == "plain":
    return plain
  sign = re.escape(separator)
  found = pl.concat_str(pl.lit(separator), line).str.extract_all(
    f'{sign}(?:"(?:[^"]|"")*"|[^{sign}]*)'
  )
  whole = found.list.eval(pl.element().str.slice(1))
  return pl.when(_closed(separator)).then(whole).otherwise(plain)


def value(piece: pl.Expr, form: str, *, bare: bool) -> pl.Expr:
  """What a piece of `split` says: without its quotes or, if it has none and is `bare`, blanks."""
  without_blanks = piece.str.strip_chars(" ") if bare else piece
  if form == "plain":
    return without_blanks
  inner = piece.str.head(-1).str.slice(1).str.replace_all('""', '"', literal=True)
  in_quotes = piece.str.contains('^"(?s:.)*"$')
  return pl.when(in_quotes).then(inner).otherwise(without_blanks)


def _closed(separator: str) -> pl.Expr:
  """Whether every value that begins with a quote ends with one, before the next separator."""
  sign = re.escape(separator)
  value = f'(?:"(?:[^"]|"")*"|[^"{sign}][^{sign}]*|)'
  return pl.col("line").str.contains(f"^{value}(?:{sign}{value})*$")


def parsed(file: Path, separator: str, header: Sequence[str], names: Sequence[str]) -> pl.LazyFrame:
  """The columns of these names by Python's csv reader, with 'row' and 'faulty'."""
  schema = {"row": pl.UInt32, "faulty": pl.Boolean, **dict.fromkeys(names, pl.String)}
  at = [header.index(name) for name in names]

  def frames(with_columns, predicate, n_rows, batch_size) -> Iterator[pl.DataFrame]:
    del n_rows, batch_size  # hints
    rows: list[tuple] = []

    def block() -> pl.DataFrame:
      frame = pl.DataFrame(rows, schema=schema, orient="row")
      frame = frame if predicate is None else frame.filter(predicate)
      rows.clear()
      return frame if with_columns is None else frame.select(with_columns)

    for begin, row in _parsed_rows(file, separator):
      whole = row is not None and len(row) == len(header)
      rows.append((begin, not whole, *(row[k] if row and k < len(row) else None for k in at)))
      if len(rows) == _BLOCK:
        yield block()
    yield block()

  return register_io_source(frames, schema=schema)


def size_of(file: Path, separator: str, row: int) -> int:
  """How many values the row has that begins on line `row`, from 0.

  Raises:
    ValueError: if it is no row, for its quotes.
  """
  rows = _parsed_rows(file, separator, strict=True)
  return next(len(found or ()) for begin, found in rows if begin == row)


def _parsed_rows(
  file: Path, separator: str, strict: bool = False
) -> Iterator[tuple[int, list[str] | None]]:
  """The line where each row begins, from 0, and its values; None, once, where quotes fail."""
  with file_lines.opened(file) as stream:
    reader = _reader(stream, separator, quoted=True)
    begin = 0
    try:
      for number, row in enumerate(reader):
        if number and row:
          yield begin, row
        begin = reader.line_num
    except csv.Error as error:
      if strict:
        raise ValueError(f"{file}:{reader.line_num}: {error}; {_ADVICE}") from error
      yield begin, None


def _reader(stream, separator: str, quoted: bool):
  csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
  quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
  return csv.reader(stream, delimiter=separator, quoting=quoting, strict=True)
