"""A table of interactions of any kind → `Dataset`: what ids and times may look like, and the rules.

Rules, each with a note that counts what it met:
  * Rows without a user or an item are dropped.
  * Rows without a time are dropped; if no row has one, the order of the file stands for time,
    and a row that equals another is a repeat.
  * Exact duplicates are dropped, and with repeats='first' so are later repeats (see `rules`).
  * Rows may stand in any order; of equal times, the row that comes first in the file is older.
  * Ids are compared as they are written. If all ids of a kind are whole numbers, they become
    int64; if not, all stay text.
  * Items without metadata keep their id alone; metadata without interactions is left out.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import polars as pl

from sidrec.data import dataset
from sidrec.data.sources import rules, values
from sidrec.data.sources.actions import names_in
from sidrec.data.sources.build import apply_rules, sort_ids
from sidrec.data.sources.file_lines import named_faults
from sidrec.data.sources.items import Described
from sidrec.data.sources.rules import counted
from sidrec.data.sources.scan import Scan, require_columns
from sidrec.data.sources.shown import shown
from sidrec.data.sources.values import USUAL, ValueForm

ROLES = ("user", "item", "time", "rating", "action")
TICKS = 10**6  # of the times of a log, in a second
_WHOLE = r"^(?:0|-?[1-9][0-9]{0,17})$"  # such text and its number tell the same
_FEW, _TOO_FEW = 0.1, 0.01  # shares of the items of a log, or of its table, that meet
_EARLY = 365 * 86400 * TICKS  # 1971


class Met(NamedTuple):
  """What reading a log met; adds up over files and batches."""

  rows: int = 0
  timed: int = 0  # with a time
  early: int = 0  # with a time before 1971
  nameless: int = 0  # without a user or an item
  timeless: int = 0  # others without a time


class LogScan(NamedTuple):
  """A table of interactions, not read yet."""

  scan: Scan
  columns: Mapping[str, str]  # role → column, without those that there are not
  form: ValueForm
  # 'row', 'user', 'item' (String), 'time' (Int64, microseconds), 'rating' (Float32), null where
  # there is none, 'faulty' (Boolean; see `require_sound`), and with actions 'action' (String).
  frame: pl.LazyFrame


def scan_log(scan: Scan, columns: Mapping[str, str], form: ValueForm = USUAL) -> LogScan:
  """Scans interactions.

  Args:
    scan: one interaction a row.
    columns: role → column: 'user' and 'item', and perhaps 'time', 'rating' and 'action'; '' for
      none.
    form: time_unit is 's', 'ms', 'us' or 'ns' since 1970, whole or not, or 'iso' for dates such as
      2024-05-01 or 2024-05-01T12:30:00+02:00 (UTC where no zone is given); see `TableConfig`.

  Raises:
    ValueError: for an unknown role, column or unit, or a format of times that tells no date.
  """
  columns = {role: name for role, name in columns.items() if name}
  if unknown := [role for role in columns if role not in ROLES]:
    raise ValueError(f"unknown role {unknown[0]!r} of a column; known: {', '.join(ROLES)}")
  if lacking := [role for role in ("user", "item") if role not in columns]:
    raise ValueError(f"{scan.file}: no column is named for the {lacking[0]} of an interaction")
  values.check_form(form)
  require_columns(scan, columns)
  with named_faults(scan.file):
    ids = [columns["user"], columns["item"]]
    table = scan.frame(list(dict.fromkeys(columns.values())))
    schema = table.collect_schema()
  users, items, *kinds = (
    values.text_of(name, schema[name], form.missing)
    for name in (*ids, *([columns["action"]] if "action" in columns else []))
  )
  time, rating = pl.lit(None, pl.Int64), pl.lit(None, pl.Float64)
  if name := columns.get("time"):
    time = pl.col(name).map_batches(
      functools.partial(values.times, form=form), return_dtype=pl.Int64, is_elementwise=True
    )
  if name := columns.get("rating"):
    rating = pl.col(name).map_batches(
      functools.partial(values.numbers, form=form), return_dtype=pl.Float64, is_elementwise=True
    )
  read = table.select(
    "row",
    "faulty",
    users.alias("user"),
    items.alias("item"),
    time.alias("time"),
    rating.alias("rating"),
    *(kind.alias("action") for kind in kinds),
  )
  faulty = pl.col("faulty") | (pl.col("time") <= values.BEYOND) | pl.col("rating").is_infinite()
  frame = read.with_columns(
    faulty.fill_null(False).alias("faulty"), pl.col("rating").cast(pl.Float32)
  )
  return LogScan(scan, columns, form, frame)


def read_rows(log: LogScan) -> pl.DataFrame:
  """All rows of a log in their order; raises ValueError for one that is faulty."""
  with named_faults(log.scan.file):
    rows = log.frame.collect(engine="streaming")
    require_sound(log, rows)
    return rows


def require_sound(log: LogScan, rows: pl.DataFrame) -> None:
  """Raises ValueError for the first faulty one of some rows, with file and line."""
  faulty = rows.filter("faulty")
  if not len(faulty):
    return
  row = faulty["row"][0]
  scan = log.scan
  found = scan.frame(list(dict.fromkeys(log.columns.values()))).filter(pl.col("row") == row)
  if found.select("faulty").collect().item():
    scan.explain(row)
  for role in ("time", "rating"):
    if not (name := log.columns.get(role)):
      continue
    column = found.select(name).collect()[name]
    read = values.times if role == "time" else values.numbers
    value, written = read(column, log.form)[0], f"{scan.where(row)}: the {role} {_shown(column[0])}"
    if value == values.NO_TIME and log.form.time_format:
      raise ValueError(f"{written} is not written as time_format {log.form.time_format!r} says")
    if value == values.NO_TIME and log.form.time_unit == "iso":
      raise ValueError(
        f"{written} is no date such as 2024-05-01 or 2024-05-01T12:30:00+02:00; for numbers, state "
        "their time_unit, and for other dates their time_format"
      )
    if value in (values.NO_TIME, float("inf"), -float("inf")):
      date = role == "time" and re.search(r"\d[-/:]\d", str(column[0]))
      hint = "; for dates, set time_unit to 'iso', or time_format" if date else ""
      raise ValueError(f"{written} is no number{hint}")
    if value == values.BEYOND:
      raise ValueError(
        f"{written} lies beyond the year 9999; state its time_unit ({', '.join(values.TIME_UNITS)})"
      )
  raise ValueError(f"{scan.where(row)}: the row cannot be read")


def _shown(value: object) -> str:
  return shown(str(value))


Rows = TypeVar("Rows", pl.DataFrame, pl.LazyFrame)


def met_in(rows: pl.DataFrame | pl.LazyFrame) -> Met:
  """Counts what there is in some rows of a log."""
  named, time = pl.col("user").is_not_null() & pl.col("item").is_not_null(), pl.col("time")
  counts = rows.lazy().select(
    pl.len().alias("rows"),
    time.count().alias("timed"),
    (time < _EARLY).sum().alias("early"),
    (~named).sum().alias("nameless"),
    (named & time.is_null()).sum().alias("timeless"),
  )
  return Met(*counts.collect(engine="streaming").row(0))


def named_rows(rows: Rows) -> Rows:
  """The rows with a user and an item."""
  return rows.drop_nulls(["user", "item"])


def with_times(rows: Rows, *, untimed: bool) -> Rows:
  """Drops rows without a time; if no row of the log has one, 'place' stands for it, in seconds."""
  if untimed:
    return rows.with_columns(time=pl.col("place") * TICKS)
  return rows.drop_nulls("time")


def log_notes(logs: Sequence[LogScan], met: Met) -> list[str]:
  """What reading a log assumed and dropped."""
  notes = [note for log in logs for note in log.scan.notes()]
  if not met.timed:
    column = logs[0].columns.get("time")
    why = f"column {column!r} is empty" if column else "there is no column of times"
    notes.append(f"{why}: {dataset.ORDER_FOR_TIME}")
  timeless = met.timeless if met.timed else 0
  for count, what in ((met.nameless, "user or item"), (timeless, "time")):
    if count:
      notes.append(f"dropped {counted(count, 'row')} without a {what}")
  form = logs[0].form
  if 0 < met.early < met.timed and form.time_unit in ("ms", "us", "ns"):
    notes.append(
      f"{met.early:,} of {met.timed:,} times lie before 1971, the first at {_first_early(logs)}; "
      f"are they in another unit than {form.time_unit!r}?"
    )
  return notes


def _first_early(logs: Sequence[LogScan]) -> str:
  """The place of the first row with a time before 1971; there is one."""
  rows = (log.frame.filter(pl.col("time") < _EARLY).select("row").head(1).collect() for log in logs)
  log, row = next((log, found.item()) for log, found in zip(logs, rows, strict=True) if len(found))
  return log.scan.where(row).removeprefix(f"{log.scan.file.parent}/")


def read_data(
  name: str,
  logs: Sequence[LogScan],
  described: Described,
  min_interactions: int = 3,
  repeats: str = "keep",
) -> dataset.Dataset:
  """Interactions and descriptions of items → a validated data set, by the rules above.

  Args:
    name: of the data set.
    logs: of its files, in their order.
    described: what is known about items.
    min_interactions: users with fewer are dropped.
    repeats: 'keep' or 'first'.

  Raises:
    ValueError: if there is no row or no user left, and in one sentence with file and line for
      what cannot be read.
  """
  rows = pl.concat(map(read_rows, logs))
  met = met_in(rows)
  if not met.rows:
    raise ValueError(f"{logs[0].scan.file} names its columns and has no row; is it cut off?")
  rows = named_rows(rows.with_row_index("place").with_columns(pl.col("place").cast(pl.Int64)))
  if kinds := names_in(rows):
    rows = rows.with_columns(pl.col("action").cast(pl.Enum(kinds)))
  users, items = type_of(rows["user"].unique()), rows["item"].unique()
  known = known_notes(logs[0], described, items)
  items = type_of(pl.concat([items, described.frame["item"]]).unique())
  log = with_times(rows, untimed=not met.timed).select(
    pl.col("user").cast(users),
    pl.col("item").cast(items),
    "time",
    "rating",
    *rules.actions_in(rows),
  )
  return apply_rules(
    name,
    log,
    described.frame.with_columns(pl.col("item").cast(items)),
    min_interactions,
    (*log_notes(logs, met), *described.notes, *known),
    repeats=repeats,
    ticks=TICKS,
  )


def known_notes(log: LogScan, described: Described, items: pl.Series) -> list[str]:
  """A note if a table of items describes few of a log's items; they are distinct ids, as text.

  Raises:
    ValueError: if it describes none of them, or fewer than one in a hundred.
  """
  ids = described.frame["item"]
  if not len(ids) or not len(items):
    return []
  met = int(ids.is_in(items.implode()).sum())
  if met >= _FEW * min(len(ids), len(items)):
    return []
  apart = ids.filter(~ids.is_in(items.implode())).sort(), items.filter(~items.is_in(ids.implode()))
  keys = [side.str.strip_chars().str.to_lowercase().str.strip_chars_start("0") for side in apart]
  alike = keys[0].is_in(keys[1].implode()).arg_true().head(1)
  ours, theirs = apart[0][0], apart[1].min()
  if len(alike):  # such as 'SKU-1' and 'sku-1'
    ours, theirs = apart[0][alike[0]], apart[1].filter(keys[1] == keys[0][alike[0]]).min()
  examples = f"its ids look like {shown(ours)}, those of the log like {shown(theirs)}"
  if met < _TOO_FEW * min(len(ids), len(items)):
    some = f"{met:,} of {len(items):,} items" if met else "no item"
    raise ValueError(f"{described.file} describes {some} of {log.scan.file}: {examples}")
  file = described.file.name if described.file else ""
  return [f"{file} describes {met:,} of {counted(len(items), 'item')}: {examples}"]


def type_of(ids: pl.Series) -> pl.DataType:
  """The type of distinct ids: Int64 if all are whole numbers, else an Enum in their order."""
  return pl.Int64() if ids.str.contains(_WHOLE).all() else pl.Enum(sort_ids(ids)[0])
