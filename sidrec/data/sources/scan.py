"""Tables in files as lazy frames: Parquet, separated values and JSON lines, plain or compressed.

Rows are checked while they are read, without stopping: a row that cannot be read is marked, and
`Scan.explain` takes a second look at it to say in one sentence what is wrong, with its line.
"""

import difflib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sidrec.data.sources import file_lines, json_values, quoted_lines

_HEAD = 1 << 10  # rows whose names are the columns of JSON lines
_NOT_TABLES = (".zip", ".xlsx", ".xls", ".bz2", ".xz", ".7z", ".tar", ".tgz", ".zst")


class Scan(NamedTuple):
  """A table in a file: text files have columns of text, Parquet has those of its schema."""

  file: Path
  names: Sequence[str]  # of all columns
  # Columns of these names, and which of them are ids → a lazy frame, in the order of the file,
  # with 'row' (UInt32, for `where`) and 'faulty' (Boolean: the row cannot be read; see `explain`).
  frame: Callable[..., pl.LazyFrame]
  where: Callable[[int], str]  # row → its place, for messages
  explain: Callable[[int], None] = lambda row: None  # raises what is wrong with a faulty row
  typed: bool = True  # whether the form tells text from what is missing
  has_later: Callable[[str], bool] = lambda name: False  # whether later rows bring such a column
  hint: str = ""  # to a user whose columns are not found


def open_scans(path: str, separator: str = "") -> list[Scan]:
  """Opens the tables at a path, all of one form, in the order of their names.

  Args:
    path: a file, a folder of files, or a pattern with * for several.
    separator: of columns in text; '' for a comma in .csv files and a tab in others.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if one is empty, or not what its name says.
  """
  return [_open(file, separator) for file in find_files(path)]


def find_files(path: str) -> list[Path]:
  """The files of a path as `open_scans` takes it; raises as it does."""
  if not path:
    raise ValueError("a table needs a path: the file of the interactions")
  place = Path(path).expanduser()
  if place.is_file():
    return [place]
  if place.is_dir():
    files = [f for f in sorted(place.iterdir()) if f.is_file() and f.name[0] not in "._"]
    if not files:
      raise FileNotFoundError(f"the folder {place} holds no file of a table")
    return files
  anchor = Path(place.anchor)
  files = sorted(f for f in anchor.glob(str(place.relative_to(anchor))) if f.is_file())
  if not files:
    raise FileNotFoundError(f"there is no file {path if '*' in path else place}")
  return files


def name_of(path: str) -> str:
  """What a data set at a path is called: as its file is, or the folder of its files."""
  place = Path(path).expanduser()
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
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ValueError(
      f"{scan.file} has no column {name!r}, which was to be its {role}; {hint}it has: "
      f"{', '.join(scan.names)}{scan.hint}"
    )


def _open(file: Path, separator: str) -> Scan:
  ends = [end.lower() for end in file.suffixes[-2:]]
  if ends and ends[-1] in _NOT_TABLES:
    raise ValueError(
      f"{file} is a {ends[-1]} file; unpack or export it as .csv, .tsv, .jsonl or .parquet first"
    )
  if ends and ends[-1] == ".gz":
    ends.pop()
  kind = ends[-1] if ends else ""
  if kind in (".parquet", ".pq"):
    return _parquet(file)
  if kind in (".jsonl", ".ndjson", ".json"):
    return _json_lines(file)
  return separated(file, separator or ("," if kind == ".csv" else "\t"))


# Parquet.


def _parquet(file: Path) -> Scan:
  try:
    schema = pl.read_parquet_schema(file)
  except (pl.exceptions.PolarsError, OSError) as error:
    raise ValueError(f"{file} is not a readable Parquet file: {error}") from error

  def frame(names: Sequence[str], ids: Sequence[str] = ()) -> pl.LazyFrame:
    del ids
    table = pl.scan_parquet(file, row_index_name="row", glob=False)
    columns = [_plain(file, name, schema[name]).alias(name) for name in names]
    return table.select(pl.col("row").cast(pl.UInt32), pl.lit(False).alias("faulty"), *columns)

  return Scan(file, list(schema), frame, lambda row: f"{file}, row {row + 1}")


def _plain(file: Path, name: str, kind: Any) -> pl.Expr:
  """A column as a number, a time or text; a list is its values with '|' between."""
  column = pl.col(name)
  if kind in (pl.Float32, pl.Float64, pl.Date, pl.String) or kind.is_integer():
    return column
  if kind == pl.Datetime:
    return column
  if kind == pl.List and not kind.inner.is_nested():
    return column.list.eval(pl.element().cast(pl.String)).list.join("|", ignore_nulls=True)
  if kind == pl.Binary:
    return _text_of_bytes(file, name)
  if kind.is_nested() or kind == pl.Object:
    raise ValueError(
      f"{file}: column {name!r} is of type {kind}; give a column of text, numbers or times"
    )
  return column.cast(pl.String)


def _text_of_bytes(file: Path, name: str) -> pl.Expr:
  """Bytes as the UTF-8 text that they are, or else as UUIDs."""
  column = pl.col(name)
  table = pl.scan_parquet(file, glob=False).select(column.drop_nulls())
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


def separated(file: Path, separator: str, quoted: bool = True) -> Scan:
  """A file of values between separators, whose first line names the columns.

  Blank lines are no rows. Blanks around an id are no part of it, unless it is quoted.

  Args:
    file: its path.
    separator: one character.
    quoted: whether values may stand in double quotes, and then hold separators and newlines.

  Raises:
    ValueError: if the file is empty or no UTF-8 text; when it is scanned, for quotes that do not
      close.
  """
  if len(separator) != 1:
    raise ValueError(f"the separator of {file} must be one character, not {separator!r}")
  header, begin = quoted_lines.header_of(file, separator, quoted)
  if not header:
    raise ValueError(f"{file} is empty or begins with a blank line; name the columns on line 1")
  size = len(header)

  def frame(names: Sequence[str], ids: Sequence[str] = ()) -> pl.LazyFrame:
    lines = file_lines.lazy_lines(file).slice(begin)
    form = quoted_lines.form_of(file, lines, separator, size) if quoted else "plain"
    if form == "parse":
      return quoted_lines.parsed(file, separator, header, names)
    return (
      lines.filter(pl.col("line") != "")
      .with_columns(quoted_lines.split(separator, form).alias("line"))
      .select(
        "row",
        (pl.col("line").list.len() != size).alias("faulty"),
        *(column(name, form, bare=name in ids).alias(name) for name in names),
      )
    )

  def column(name: str, form: str, *, bare: bool) -> pl.Expr:
    piece = pl.col("line").list.get(header.index(name), null_on_oob=True)
    return quoted_lines.value(piece, form, bare=bare)

  def explain(row: int) -> None:
    line = file_lines.line_at(file, row)
    found = quoted_lines.size_of(file, separator, row) if quoted else line.count(separator) + 1
    raise ValueError(
      f"{file}:{row + 1}: {found} values for the {size} columns of the header, with "
      f"{separator!r} between them: {line[:200]!r}"
    )

  others = [sign for sign in ",;\t|" if sign != separator and sign in header[0]]
  hint = f"; it was split at {separator!r}: set the separator to {others[0]!r}?" if others else ""
  hint = hint if size == 1 else ""
  return Scan(file, header, frame, _line_in(file), explain, False, hint=hint)


def _line_in(file: Path) -> Callable[[int], str]:
  return lambda row: f"{file}:{row + 1}"


def _json_lines(file: Path) -> Scan:
  """One JSON object a line; null and absent are missing, a list is its values with '|' between."""
  head = itertools.islice((json_values.object_of(file, *line) for line in _filled(file)), _HEAD)
  names = list(dict.fromkeys(name for found in head for name in found))
  if not names:
    raise ValueError(f"{file} is empty; it must hold one JSON object a line")

  def frame(wanted: Sequence[str], ids: Sequence[str] = ()) -> pl.LazyFrame:
    del ids
    lines = file_lines.lazy_lines(file).with_columns(pl.col("line").str.strip_chars("\ufeff \t\r"))
    return json_values.columns(lines.filter(pl.col("line") != ""), wanted)

  def has_later(name: str) -> bool:
    found = pl.col("line").str.contains(json.dumps(name, ensure_ascii=False), literal=True)
    return file_lines.lazy_lines(file).select(found.any()).collect().item()

  def explain(row: int) -> None:
    json_values.object_of(file, row + 1, file_lines.line_at(file, row))

  return Scan(file, names, frame, _line_in(file), explain, has_later=has_later)


def _filled(file: Path) -> Iterator[tuple[int, str]]:
  return ((number, line) for number, line in file_lines.numbered(file) if line.strip())
