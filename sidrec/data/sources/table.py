"""Anybody's own logs: CSV, TSV, JSON lines or Parquet, with a mapping that names the columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidrec.data import dataset
from sidrec.data.sources import rules
from sidrec.data.sources.interactions import assemble, read_log
from sidrec.data.sources.item_rows import NOTHING, read_items, split_at
from sidrec.data.sources.parquet_rows import parquet_rows
from sidrec.data.sources.rows import Rows
from sidrec.data.sources.text_rows import json_rows, separated_rows

COLUMNS = {"user": "user_id", "item": "item_id", "time": "timestamp", "rating": ""}
ITEM_COLUMNS = {"id": "item_id", "title": "title", "categories": "", "text": "", "year": ""}


def read_table(
  path: str,
  min_interactions: int = 3,
  *,
  columns: Mapping[str, str] = COLUMNS,
  time_unit: str = "s",
  items_path: str = "",
  item_columns: Mapping[str, str | Sequence[str]] = ITEM_COLUMNS,
  category_separator: str = "|",
  separator: str = "",
  repeats: str = "keep",
) -> dataset.Dataset:
  """Reads interactions, and what is known about items, from two tables.

  What is in the files is read by the rules of `interactions` and `item_rows`; each thing that
  was dropped or assumed is counted in a note of the data set.

  Args:
    path: of the interactions, one a row: .csv, .tsv, .jsonl or .parquet, other names for text
      with tabs. Text is UTF-8 and may be compressed (name ends in .gz).
    min_interactions: users with fewer are dropped; at least 3.
    columns: role → column: 'user', 'item', and, where there are such columns, 'time' and
      'rating'. '' means that there is none; without times the order of the file stands for time.
    time_unit: of the times: 's', 'ms', 'us', 'ns' since 1970, or 'iso' for dates. Timestamps of
      Parquet need none.
    items_path: of the table of items; '' if there is none.
    item_columns: role → column: 'id', 'title', 'categories' and 'text' (one or several columns
      each), and any other role, such as 'year' or 'price', for a numeric column of that name.
    category_separator: between categories in one value; '' if a value is one category.
    separator: between columns in text files; '' for a comma in .csv, a tab in all others.
    repeats: 'keep' keeps every interaction with an item, 'first' the first of a user with an item.

  Returns:
    A data set that is called as the file is.

  Raises:
    FileNotFoundError: if a file is not there.
    ImportError: for Parquet without pyarrow.
    ValueError: in one sentence with file and line, for what cannot be read.
  """
  rules.check_repeats(repeats)
  if not path:
    raise ValueError("a table needs a path: the file of the interactions")
  file = Path(path).expanduser()
  log = read_log(open_rows(file, separator), columns, time_unit)
  described = NOTHING
  if items_path:
    rows = open_rows(Path(items_path).expanduser(), separator)
    described = read_items(rows, item_columns, split_at(category_separator))
  return assemble(file.name.split(".")[0], log, described, min_interactions, repeats)


def signature_table(path: str, *, items_path: str = "", **settings: Any) -> dict[str, Any]:
  """What identifies the files that `read_table` would read, without reading them.

  Args:
    path: as for `read_table`.
    items_path: likewise.
    settings: the others of `read_table`; they do not matter.
  """
  del settings
  files = [Path(name).expanduser() for name in (path, items_path) if name]
  for file in files:
    _require_file(file)
  return {
    "files": [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files],
  }


def open_rows(file: Path, separator: str = "") -> Rows:
  """Opens a table, its form told by the end of its name.

  Raises:
    FileNotFoundError: if there is no such file.
    ImportError: for Parquet without pyarrow.
    ValueError: if it is empty, or not what its name says.
  """
  _require_file(file)
  if file.suffix == ".parquet":
    return parquet_rows(file)
  kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
  if kind in (".jsonl", ".ndjson"):
    return json_rows(file)
  return separated_rows(file, separator or ("," if kind == ".csv" else "\t"))


def _require_file(file: Path) -> None:
  if not file.is_file():
    raise FileNotFoundError(f"there is no file {file}")
