"""Separated values whose quotes are dealt with line by line, where a row is a line.

Most files have no quotes, or only such as open and close on one line: then Polars splits lines.
Where a value goes over several lines, Python's csv reader finds out which lines are a row.
"""

import csv
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import polars as pl
from etils import epath
from polars.io.plugins import register_io_source

from sidrec.data.sources import file_lines

_BLOCK = 1 << 14
_ROWS = {"row": pl.UInt32, "line": pl.String}


class TextForm(NamedTuple):
  """How values stand in text files; see `settings.TableConfig`."""

  separator: str = ""  # one character; '' for a comma in .csv files and a tab in others
  quoting: str = "auto"
  strip: bool = True


def header_of(file: epath.Path, form: TextForm) -> tuple[list[str], int]:
  """The values of the first row, and how many lines it has; none for an empty or blank one."""
  with file_lines.opened(file) as stream:
    reader = _reader(stream, form)
    try:
      names = next(reader, [])
    except csv.Error as error:
      raise ValueError(f"{file}:{reader.line_num}: {error}") from error
    return [name.strip() if form.strip else name for name in names], reader.line_num


def kind_of(lines: pl.LazyFrame, form: TextForm, size: int) -> str:
  """How the lines of a file can be read.

  Args:
    lines: those after the header.
    form: with a separator.
    size: how many columns there are.

  Returns:
    'plain': there is no quote. 'quoted': quotes close on the line where they open. 'loose': some
    do not, but every line has its values if they mean nothing, and it is tabs that separate.
    'stray': the same where commas or the like separate, which is a fault. 'joined': values go
    over several lines.
  """
  line = pl.col("line")
  if form.quoting == "none":
    return "plain"
  strange = pl.any_horizontal(line.str.contains(sign, literal=True) for sign in '"\r')
  if not lines.select(strange.any()).collect().item():
    return "plain"
  is_open = ~is_closed(form) | line.str.contains("\r", literal=True)
  if not lines.select(is_open.any()).collect().item():
    return "quoted"
  raw_size = line.str.count_matches(form.separator, literal=True) + 1
  differs = (raw_size.ne(size) & line.ne("")).any()
  if form.quoting == "strict" or size == 1 or lines.select(differs).collect().item():
    return "joined"
  return "loose" if form.separator == "\t" else "stray"


def split(form: TextForm, kind: str) -> pl.Expr:
  """Each 'line' at its separators: List(String), quotes still in place; `kind` of `kind_of`."""
  line = pl.col("line")
  plain = line.str.split(form.separator)
  if kind == "plain":
    return plain
  sign, blanks = re.escape(form.separator), _blanks(form)
  found = pl.concat_str(pl.lit(form.separator), line).str.extract_all(
    f'{sign}(?:{blanks}"(?:[^"]|"")*"{blanks}|[^{sign}]*)'
  )
  whole = found.list.eval(pl.element().str.slice(1))
  return pl.when(is_closed(form)).then(whole).otherwise(plain)


def value(piece: pl.Expr, form: TextForm, kind: str) -> pl.Expr:
  """What a piece of `split` says, without its quotes or, if it has none, the blanks around it."""
  bare = piece.str.strip_chars(" ") if form.strip else piece
  if kind == "plain":
    return bare
  inner = bare.str.head(-1).str.slice(1).str.replace_all('""', '"', literal=True)
  return pl.when(bare.str.contains('^"(?s:.)*"$')).then(inner).otherwise(bare)


def is_closed(form: TextForm) -> pl.Expr:
  """Whether every value that begins with a quote ends with one, before the next separator."""
  sign, blanks = re.escape(form.separator), _blanks(form)
  blank = blanks.removesuffix("*")
  value = f'{blanks}(?:"(?:[^"]|"")*"{blanks}|[^"{blank}{sign}][^{sign}]*|)'
  return pl.col("line").str.contains(f"^{value}(?:{sign}{value})*$")


def joined_lines(file: epath.Path, form: TextForm) -> pl.LazyFrame:
  """'row', the line where each row after the header begins, and 'line', all of its lines."""

  def frames(columns: Any, predicate: Any, n_rows: Any, batch_size: Any) -> Iterator[pl.DataFrame]:
    del n_rows, batch_size  # hints
    rows: list[tuple[int, str]] = []

    def block() -> pl.DataFrame:
      frame = pl.DataFrame(rows, schema=_ROWS, orient="row")
      frame = frame if predicate is None else frame.filter(predicate)
      rows.clear()
      return frame if columns is None else frame.select(columns)

    for row in joined_rows(file, form):
      rows.append(row)
      if len(rows) == _BLOCK:
        yield block()
    yield block()

  return register_io_source(frames, schema=_ROWS)


def joined_rows(file: epath.Path, form: TextForm) -> Iterator[tuple[int, str]]:
  """The line where each row after the header begins, from 0, and all of its lines."""
  read: list[str] = []  # of the present row

  def recorded(stream: Any) -> Iterator[str]:
    for line in stream:
      read.append(line)
      yield line

  with file_lines.opened(file) as stream:
    reader = _reader(recorded(stream), form)
    begin = 0
    try:
      for number, row in enumerate(reader):
        if number and row:
          yield begin, "".join(read).rstrip("\r\n")
        read.clear()
        begin = reader.line_num
    except csv.Error as error:
      raise ValueError(f"{file}:{begin + 1}: {error}") from error


def _blanks(form: TextForm) -> str:
  return " *" if form.strip and form.separator != " " else ""


def _reader(stream: Any, form: TextForm) -> Any:
  csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
  quoting = csv.QUOTE_NONE if form.quoting == "none" else csv.QUOTE_MINIMAL
  return csv.reader(
    stream, delimiter=form.separator, quoting=quoting, skipinitialspace=bool(_blanks(form))
  )
