"""Tables in files as lazy frames: Parquet, separated values and JSON lines, plain or compressed.

Rows are checked while they are read, without stopping: a row that cannot be read is marked, and
`Scan.explain` takes a second look at it to say in one sentence what is wrong, with its line.
"""

import difflib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl
from etils import epath

from sidrec.core.copies import local
from sidrec.core.paths import as_path, files_in, is_file, matching
from sidrec.data.sources import file_lines, json_values, quoted_lines
from sidrec.data.sources.parquet_pages import check_pages
from sidrec.data.sources.quoted_lines import TextForm
from sidrec.data.sources.rules import counted
from sidrec.data.sources.shown import brief, listed, shown

_HEAD = 1 << 10  # rows whose names are the columns of JSON lines
_NOT_TABLES = (".zip", ".xlsx", ".xls", ".7z", ".tar", ".tgz", ".feather", ".arrow", ".avro")
_ADVICE = (
  "a value that holds a quote, a separator or a newline must stand in double quotes, with its "
  "own quotes doubled (\"\"); with quoting='none' quotes are part of the values"
)


def _nothing(row: int) -> None:
  del row


def _no_column(name: str) -> bool:
  del name
  return False


class Scan(NamedTuple):
  """A table in a file: text files have columns of text, Parquet has those of its schema."""

  file: epath.Path
  names: Sequence[str]  # of all columns
  # Columns of these names → a lazy frame, in the order of the file, with 'row' (UInt32, for
  # `where`) and 'faulty' (Boolean: the row cannot be read; see `explain`).
  frame: Callable[[Sequence[str]], pl.LazyFrame]
  where: Callable[[int], str]  # row → its place, for messages
  explain: Callable[[int], None] = _nothing  # raises what is wrong with a faulty row
  has_later: Callable[[str], bool] = _no_column  # whether later rows bring such a column
  hint: str = ""  # to a user whose columns are not found
  notes: Callable[[], list[str]] = list  # what reading the rows assumed


def open_scans(path: str, form: TextForm) -> list[Scan]:
  """Opens the tables at a path, all of one form, in the order of their names.

  Args:
    path: a file, a folder of files, or a pattern with * for several; may be in a bucket.
    form: of text files.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if one is empty, or not what its name says.
  """
  return [_open(file, form) for file in find_files(path)]


def find_files(path: str) -> list[epath.Path]:
  """The files of a path as `open_scans` takes it; raises as it does."""
  if not path:
    raise ValueError("a table needs a path: the file of the interactions")
  place = as_path(path)
  if place.is_dir():
    files = [file for file in files_in(place) if file.name[0] not in "._"]
    if not files:
      visible = any(part.name[0] not in "._" for part in place.iterdir())
      inner = f"; to read those of its folders, give the pattern {place}/*/*" if visible else ""
      raise FileNotFoundError(f"the folder {place} holds no file of a table{inner}")
    return files
  if is_file(place):
    return [place]
  try:
    files = matching(path)
  except ValueError as error:  # such as **.csv
    raise ValueError(f"{path} is no pattern of files: {error}") from error
  if not files:
    raise FileNotFoundError(f"there is no file {path if '*' in path else place}")
  return files


def name_of(path: str) -> str:
  """What a data set at a path is called: as its file is, or the folder of its files."""
  place = as_path(path)
  return (place.parent if "*" in place.name else place).name.split(".")[0]


def require_columns(scan: Scan, wanted: Mapping[str, str]) -> None:
  """Raises ValueError for the first wanted column (role → name) that a table lacks."""
  for role, name in wanted.items():
    count = list(scan.names).count(name)
    if count > 1:
      raise ValueError(f"{scan.file} has {count} columns called {name!r}; rename all but one")
    if count or scan.has_later(name):
      continue
    nearest = difflib.get_close_matches(name, scan.names, n=1)
    hint = f"did you mean {shown(nearest[0])}? " if nearest else ""
    raise ValueError(
      f"{scan.file} has no column {name!r}, which was to be its {role}; {hint}it has: "
      f"{listed(scan.names)}{scan.hint}"
    )


def _open(file: epath.Path, form: TextForm) -> Scan:
  ends = [end.lower() for end in file.suffixes[-2:]]
  if ends and ends[-1] in _NOT_TABLES:
    raise ValueError(
      f"{file} is a {ends[-1]} file; unpack or export it as .csv, .tsv, .jsonl or .parquet first"
    )
  if file_lines.packing_of(file):
    ends.pop()
  kind = ends[-1] if ends else ""
  if kind in (".parquet", ".pq"):
    return _parquet(file)
  if kind in (".jsonl", ".ndjson", ".json"):
    return _json_lines(file)
  usual = "," if kind == ".csv" else "\t"
  return separated(file, form._replace(separator=form.separator or usual))


# Parquet.


def _parquet(file: epath.Path) -> Scan:
  if file_lines.packing_of(file):
    raise ValueError(f"{file} is a compressed Parquet file; unpack it first")
  check_pages(file)
  try:
    schema = pl.scan_parquet(local(file), glob=False).collect_schema()
  except FileNotFoundError:
    raise
  except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
    raise ValueError(f"{file} is no readable Parquet file: {brief(error)}") from error

  def frame(names: Sequence[str]) -> pl.LazyFrame:
    table = pl.scan_parquet(local(file), row_index_name="row", glob=False)
    with file_lines.named_faults(file):
      columns = [_plain(file, name, schema[name]).alias(name) for name in names]
    return table.select(pl.col("row").cast(pl.UInt32), pl.lit(False).alias("faulty"), *columns)

  return Scan(file, list(schema), frame, lambda row: f"{file}, row {row + 1}")


def _plain(file: epath.Path, name: str, kind: Any) -> pl.Expr:
  """A column as a number, a time or text; a list is its values with '|' between."""
  column = pl.col(name)
  if kind in (pl.Float32, pl.Float64, pl.Date, pl.String) or kind.is_integer():
    return column
  if kind == pl.Datetime:
    return column
  if kind == pl.Array and not kind.inner.is_nested():
    column, kind = column.arr.to_list(), pl.List(kind.inner)
  if kind == pl.List and not kind.inner.is_nested() and kind.inner != pl.Binary:
    return column.list.eval(pl.element().cast(pl.String)).list.join("|", ignore_nulls=True)
  if kind == pl.Binary:
    return _text_of_bytes(file, name)
  if kind.is_nested() or kind == pl.Object:
    raise ValueError(
      f"{file}: column {name!r} is of type {brief(kind)}; give a column of text, numbers or times"
    )
  if kind.is_decimal():  # 7.00 is 7, as it is of floats
    return column.cast(pl.String).str.replace(r"(\.\d*?)0*$", "$1").str.strip_suffix(".")
  return column.cast(pl.String)


def _text_of_bytes(file: epath.Path, name: str) -> pl.Expr:
  """Bytes as the UTF-8 text that they are, or else as UUIDs."""
  column = pl.col(name)
  table = pl.scan_parquet(local(file), glob=False).select(column.drop_nulls())
  try:
    if not table.select(column.cast(pl.String).str.contains(r"\p{Cc}").any()).collect().item():
      return column.cast(pl.String)
  except pl.exceptions.ComputeError:  # not UTF-8
    pass
  if not table.select((column.bin.size() == 16).all()).collect().item():
    raise ValueError(f"{file}: column {name!r} holds bytes that are no UTF-8 text; cast it to text")
  digits = column.bin.encode("hex")
  spans = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
  return pl.concat_str([digits.str.slice(*span) for span in spans], separator="-")


# Text.


def separated(file: epath.Path, form: TextForm) -> Scan:
  """A file of values between separators, whose first line names the columns.

  Blank lines are no rows. Blanks around a value are no part of it, unless it is quoted.

  Args:
    file: its path.
    form: with a separator.

  Raises:
    ValueError: if the file is empty or no UTF-8 text; when it is scanned, for quotes that do not
      close.
  """
  separator = form.separator
  if len(separator) != 1 or separator in '"\r\n':
    raise ValueError(f"the separator of {file} must be one character, not {separator!r}")
  file_lines.check_packed(file)
  header, begin = quoted_lines.header_of(file, form)
  if not header:
    raise ValueError(f"{file} is empty or begins with a blank line; name the columns on line 1")
  others = [sign for sign in ",;\t|" if sign != separator and sign in header[0]]
  hint = f"; it was split at {separator!r}: set the separator to {others[0]!r}?" if others else ""
  rows = _Separated(file, form, header, begin)
  return Scan(
    file,
    header,
    rows.frame,
    _line_in(file),
    rows.explain,
    hint=hint if len(header) == 1 else "",
    notes=rows.notes,
  )


class _Separated:
  """The rows of a file of values between separators."""

  def __init__(self, file: epath.Path, form: TextForm, header: list[str], begin: int) -> None:
    self._file, self._form, self._header = file, form, header
    self._lines = file_lines.lazy_lines(file).slice(begin)

  @functools.cached_property
  def _kind(self) -> str:
    with file_lines.named_faults(self._file):
      return quoted_lines.kind_of(self._lines, self._form, len(self._header))

  def _rows(self) -> pl.LazyFrame:
    """'row', 'line' and its 'pieces'."""
    rows = self._lines.filter(pl.col("line") != "")
    if self._kind == "joined":
      rows = quoted_lines.joined_lines(self._file, self._form)
    return rows.with_columns(quoted_lines.split(self._form, self._kind).alias("pieces"))

  def frame(self, names: Sequence[str]) -> pl.LazyFrame:
    """As `Scan.frame`."""
    faulty = pl.col("pieces").list.len() != len(self._header)
    if self._kind in ("joined", "stray"):
      faulty |= ~quoted_lines.is_closed(self._form)
    return self._rows().select("row", faulty.alias("faulty"), *map(self._column, names))

  def _column(self, name: str) -> pl.Expr:
    piece = pl.col("pieces").list.get(self._header.index(name), null_on_oob=True)
    return quoted_lines.value(piece, self._form, self._kind).alias(name)

  def explain(self, row: int) -> None:
    """As `Scan.explain`."""
    closed = quoted_lines.is_closed(self._form).alias("closed")
    with file_lines.named_faults(self._file):
      found = self._rows().filter(pl.col("row") == row)
      line, pieces, closed = found.select("line", "pieces", closed).collect().row(0)
    if not closed and self._kind in ("joined", "stray"):
      raise ValueError(
        f"{self._file}:{row + 1}: a quote opens and does not close; {_ADVICE}: {shown(line)}"
      )
    raise ValueError(
      f"{self._file}:{row + 1}: {len(pieces)} values for the {len(self._header)} columns of the "
      f"header, with {self._form.separator!r} between them: {shown(line)}"
    )

  def notes(self) -> list[str]:
    """As `Scan.notes`."""
    what = {
      "joined": "over several lines, for a quote closes on a later line",
      "loose": "with a quote that does not close, which was taken as text",
    }.get(self._kind)
    if not what:
      return []
    several = pl.col("line").str.contains("[\r\n]")
    long = several if self._kind == "joined" else ~quoted_lines.is_closed(self._form)
    rows = self._rows().filter(long).select(pl.len().alias("count"), pl.col("row").first())
    count, first = rows.collect().row(0)
    where = f"{counted(count, 'row')} of {self._file.name}"
    return [f"{where} {what}; the first is line {first + 1}"] if count else []


def _line_in(file: epath.Path) -> Callable[[int], str]:
  return lambda row: f"{file}:{row + 1}"


def _json_lines(file: epath.Path) -> Scan:
  """One JSON object a line; null and absent are missing, a list is its values with '|' between."""
  file_lines.check_packed(file)
  head = itertools.islice((json_values.object_of(file, *line) for line in _filled(file)), _HEAD)
  names = list(dict.fromkeys(name for found in head for name in found))
  if not names:
    raise ValueError(f"{file} is empty; it must hold one JSON object a line")

  def frame(wanted: Sequence[str]) -> pl.LazyFrame:
    lines = file_lines.lazy_lines(file).with_columns(pl.col("line").str.strip_chars("\ufeff \t\r"))
    return json_values.columns(lines.filter(pl.col("line") != ""), wanted)

  def has_later(name: str) -> bool:
    with file_lines.named_faults(file):
      return json_values.is_named(file_lines.lazy_lines(file), name)

  def explain(row: int) -> None:
    json_values.explain(file, row + 1, file_lines.line_at(file, row))

  def notes() -> list[str]:
    if not (count := json_values.count_halves(file_lines.lazy_lines(file))):
      return []
    return [
      f"{counted(count, 'line')} of {file.name} with half of a surrogate pair, which is no "
      "character; \ufffd replaces it"
    ]

  return Scan(file, names, frame, _line_in(file), explain, has_later, notes=notes)


def _filled(file: epath.Path) -> Iterator[tuple[int, str]]:
  return ((number, line) for number, line in file_lines.numbered(file) if line.strip())
