"""Anybody's own logs: CSV, TSV, JSON lines or Parquet, with a mapping that names the columns."""

from typing import Any

from sidrec.core.content import stamps
from sidrec.data import dataset
from sidrec.data.settings import TableConfig
from sidrec.data.sources import rules
from sidrec.data.sources.items import NOTHING, Described, read_items, split_at
from sidrec.data.sources.log import LogScan, read_data, scan_log
from sidrec.data.sources.quoted_lines import TextForm
from sidrec.data.sources.scan import find_files, name_of, open_scans
from sidrec.data.sources.users import DescribedUsers, columns_of_users, read_users, with_users
from sidrec.data.sources.values import ValueForm

_HINT = "; data.table.columns says what your columns are called"


def read_table(
  path: str,
  min_interactions: int = 3,
  settings: TableConfig | None = None,
  *,
  repeats: str = "keep",
) -> dataset.Dataset:
  """Reads interactions, and what is known about items and users, from up to three tables.

  What is in the files is read by the rules of `log` and `items`; each thing that was dropped or
  assumed is counted in a note of the data set.

  Args:
    path: of the interactions, one a row: .csv, .tsv, .jsonl or .parquet, other names for text
      with tabs. Text is UTF-8 and may be compressed (name ends in .gz, .zst, .bz2 or .xz).
      Several files are read from a folder, or a pattern with *, in the order of their names.
    min_interactions: users with fewer are dropped; at least 3.
    settings: what the columns are called, and of what kind they are; the defaults if None.
      Timestamps of Parquet need no time unit. Without times the order of the file stands for time.
    repeats: 'keep' keeps every interaction with an item, 'first' the first of a user with an item.

  Returns:
    A data set that is called as the file is.

  Raises:
    FileNotFoundError: if a file is not there.
    ValueError: in one sentence with file and line, for what cannot be read.
  """
  settings = settings or TableConfig()
  rules.check_repeats(repeats)
  logs = scan_logs(path, settings)
  users = describe_users(settings)
  data = read_data(name_of(path), logs, describe_items(settings), min_interactions, repeats)
  return data if users is None else with_users(data, users)


def scan_logs(path: str, settings: TableConfig) -> list[LogScan]:
  """The interactions of all files at a path, not read yet; raises as `read_table`."""
  scans, form = open_scans(path, _text_form(settings)), _value_form(settings)
  hinted = [scan._replace(hint=scan.hint or _HINT) for scan in scans]
  return [scan_log(scan, settings.columns, form) for scan in hinted]


def _text_form(settings: TableConfig) -> TextForm:
  return TextForm(settings.separator, settings.quoting, settings.strip)


def _value_form(settings: TableConfig) -> ValueForm:
  return ValueForm(settings.time_unit, settings.time_format, tuple(settings.missing))


def describe_items(settings: TableConfig) -> Described:
  """What the table of items says, if there is one; raises as `read_table`."""
  if not settings.items_path:
    return NOTHING
  scans = open_scans(settings.items_path, _text_form(settings))
  if len(scans) > 1:
    raise ValueError(f"the table of items is one file, but {settings.items_path} has {len(scans)}")
  split = split_at(settings.category_separator)
  return read_items(scans[0], settings.item_columns, split, _value_form(settings), several="levels")


def describe_users(settings: TableConfig) -> DescribedUsers | None:
  """What the table of users says, if there is one; raises as `read_table`."""
  if not settings.users_path:
    return None
  columns = columns_of_users(settings.user_columns)
  scans = open_scans(settings.users_path, _text_form(settings))
  if len(scans) > 1:
    raise ValueError(f"the table of users is one file, but {settings.users_path} has {len(scans)}")
  hint = "; data.table.user_columns says what its columns are called"
  scan = scans[0]._replace(hint=scans[0].hint or hint)
  return read_users(scan, *columns, _value_form(settings))


def signature_table(
  path: str, settings: TableConfig | None = None, *, repeats: str = "keep"
) -> dict[str, Any]:
  """What identifies the files that `read_table` would read, without reading them."""
  del repeats  # of the settings, not of the files
  others = [settings.items_path, settings.users_path] if settings else []
  places = [path, *filter(None, others)]
  files = [file for place in places for file in find_files(place)]
  return {"files": stamps(files)}
