"""Text files as frames of numbered lines, and one sentence for the first line that is wrong."""

from collections.abc import Mapping, Sequence

import polars as pl
from etils import epath

from sidrec.data.sources.file_lines import open_bytes
from sidrec.data.sources.shown import brief, shown

# A field of a CSV line and the comma before it. Quoted fields hold no line ends in our files.
_CSV_FIELD = r',(?:"(?:[^"]|"")*"|[^,]*)'


def plain_or_gz(folder: epath.Path, name: str) -> epath.Path:
  """The path of a file in a folder: as it is, or compressed where only that is there."""
  plain = folder / name
  return plain if plain.is_file() else folder / f"{name}.gz"


def read_bytes(file: epath.Path) -> bytes:
  """A file's content, unpacked if its name says that it is compressed, with Unix line ends.

  Raises:
    ValueError: if it is damaged, or unpacks to too much.
  """
  with open_bytes(file) as stream:
    data = stream.read()
  return data.replace(b"\r\n", b"\n")


def read_lines(file: epath.Path, encoding: str = "utf-8-sig") -> pl.DataFrame:
  """The lines of a text file, plain or compressed, without blank ones at its end.

  Returns:
    number (from 1) and line.

  Raises:
    ValueError: as `read_bytes`, or naming the first line that is not in this encoding.
  """
  data = read_bytes(file).rstrip(b"\n")
  try:
    lines = data.decode(encoding).split("\n") if data else []
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    name = encoding.removesuffix("-sig")
    raise ValueError(f"{file}:{line}: the text is not {name}: {error.reason}") from error
  return pl.DataFrame({"line": pl.Series(lines, dtype=pl.String)}).with_row_index("number", 1)


def with_fields(lines: pl.DataFrame, separator: str, names: Sequence[str]) -> pl.DataFrame:
  """Adds the fields of each line under these names (null where there are fewer), and their count.

  Fields between commas may be quoted.
  """
  fields = pl.col("line").str.split(separator)
  if separator == ",":
    bare = pl.element().str.strip_prefix(",").str.replace('(?s)^"(.*)"$', "$1")
    fields = (pl.lit(",") + pl.col("line")).str.extract_all(_CSV_FIELD)
    fields = fields.list.eval(bare.str.replace_all('""', '"', literal=True))
  named = (fields.list.get(k, null_on_oob=True).alias(name) for k, name in enumerate(names))
  return lines.with_columns(fields.list.len().alias("count"), *named)


def with_number(rows: pl.DataFrame, id_: str) -> pl.DataFrame:
  """Adds 'whole', a column of ids as Int64, and 'first', the line where each stands first."""
  rows = rows.with_columns(pl.col(id_).cast(pl.Int64, strict=False).alias("whole"))
  return rows.with_columns(pl.col("number").first().over("whole").alias("first"))


def refuse(file: epath.Path, rows: pl.DataFrame, faults: Mapping[str, pl.Expr]) -> None:
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
    brief_row = {k: brief(v, 80) if isinstance(v, str) else v for k, v in row.items()}
    sentence = sentences[row["fault"]].format(**brief_row)
    raise ValueError(f"{file}:{row['number']}: {sentence}: {shown(row['line'])}")
