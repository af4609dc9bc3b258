"""Numbers, times and ids in columns of any type.

Nothing raises here: what cannot be read is marked, for `log` and `items` to take a second look.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import polars as pl

from sidrec.data.settings import MISSING

_MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1}
TIME_UNITS = (*_MICROSECONDS, "ns", "iso")
_LATEST = 253_402_300_800 * 10**6  # the year 10000, in microseconds
_LAST = 2**63 - 1  # nanosecond of Int64, in 2262
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = 2**53  # below it, a float tells whole numbers apart
NO_TIME, BEYOND = -(2**63), -(2**63) + 1
_DATE = r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}:\d{2})(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?$"


class ValueForm(NamedTuple):
  """How values are written; see `settings.TableConfig`."""

  time_unit: str = "s"
  time_format: str = ""
  missing: Sequence[str] = MISSING


USUAL = ValueForm()


def check_form(form: ValueForm) -> None:
  """Raises ValueError for an unknown unit, or a format that tells no date."""
  if form.time_unit not in TIME_UNITS:
    raise ValueError(f"time_unit must be one of {', '.join(TIME_UNITS)}, not {form.time_unit!r}")
  if not form.time_format:
    return
  moment = pl.Series([datetime(2001, 12, 28)])
  try:
    written = moment.dt.replace_time_zone("UTC").dt.to_string(form.time_format)
    back = _formatted(written, form)
  except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
    back = None
  if back is None or back.item() != times(moment, form).item():
    raise ValueError(
      f"time_format {form.time_format!r} does not tell a date; write such as '%m/%d/%Y %H:%M'"
    )


def _is_missing(text: pl.Series, form: ValueForm) -> pl.Series:
  """Whether text stands for no number or time: one of the marks, in any case."""
  return text.str.to_lowercase().is_in(["", *(mark.lower() for mark in form.missing)])


def numbers(column: pl.Series, form: ValueForm) -> pl.Series:
  """Float64: null where a number is missing, infinity where there is something else."""
  value = column.cast(pl.Float64, strict=False)
  if column.dtype == pl.String and value.null_count() > column.null_count():
    text = column.str.strip_chars()
    value = text.cast(pl.Float64, strict=False)
    no_number = value.is_null() & text.is_not_null() & ~_is_missing(text, form)
    value = value.set(no_number, float("inf"))
  return value.fill_nan(None)


def times(column: pl.Series, form: ValueForm) -> pl.Series:
  """Microseconds since 1970: Int64, null where a time is missing.

  Args:
    column: of numbers, times or text.
    form: of numbers and text.

  Returns:
    NO_TIME stands for what is no number or date, BEYOND for a time after the year 9999.
  """
  if column.dtype in (pl.Date, pl.Datetime):
    return column.cast(pl.Datetime("us")).dt.epoch("us")
  unit = form.time_unit
  if form.time_format:
    return _formatted(column.cast(pl.String), form)
  if unit == "iso":
    return _dates(column.cast(pl.String), form)
  limit = _LAST if unit == "ns" else _LATEST // _MICROSECONDS[unit]
  whole = _whole(column)
  far = (whole.abs() >= limit).fill_null(False)
  # Before the product, which may be too large for Int64.
  near = whole.set(far, 0)
  time = (near // 1000 if unit == "ns" else near * _MICROSECONDS[unit]).set(far, BEYOND)
  if whole.null_count() == column.null_count():
    return time
  value = numbers(column, form)
  # Whole microseconds are what a float of today's times can tell.
  value = value / 1000 if unit == "ns" else value * _MICROSECONDS[unit]
  value = value.round(mode="half_to_even")
  far = (value.abs() >= _LATEST).fill_null(False)
  no_number = value.is_infinite().fill_null(False)
  other = value.set(far, 0).cast(pl.Int64).set(far, BEYOND).set(no_number, NO_TIME)
  return time.zip_with(whole.is_not_null(), other)


def _whole(column: pl.Series) -> pl.Series:
  """Int64, null for what is no whole number."""
  if column.dtype.is_float():
    exact = ((column == column.floor()) & (column.abs() < _EXACT)).fill_null(False)
    return column.set(~exact, None).cast(pl.Int64)
  return column.cast(pl.Int64, strict=False)


def _formatted(texts: pl.Series, form: ValueForm) -> pl.Series:
  """Microseconds, null for missing ones, NO_TIME for what is not of the format."""
  text = texts.str.strip_chars()
  time = text.str.to_datetime(form.time_format, time_unit="us", strict=False).dt.epoch("us")
  return time.set(time.is_null() & text.is_not_null() & ~_is_missing(text, form), NO_TIME)


def _dates(texts: pl.Series, form: ValueForm) -> pl.Series:
  """Microseconds, null for missing ones, NO_TIME for what is no date."""
  text = texts.str.strip_chars().str.replace(r"(?: ?UTC|z)$", "Z").alias("text")
  groups = pl.col("text").str.extract_groups(_DATE).struct.rename_fields(list("dtfz"))
  frame = text.to_frame().select("text", groups.alias("groups")).unnest("groups")
  zone = pl.col("z").str
  sign = pl.when(zone.starts_with("-")).then(-1).otherwise(1)
  hours, minutes = (zone.slice(at, 2).cast(pl.Int64, strict=False) for at in (1, 4))
  offset = (sign * (hours * 60 + minutes) * 60).fill_null(0)
  moment = pl.concat_str(pl.col("d"), pl.col("t").fill_null("00:00:00"), separator=" ").str
  seconds = moment.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False).dt.epoch("s")
  micros = pl.col("f").str.slice(1).str.pad_end(6, "0").cast(pl.Int64).fill_null(0)
  usual = pl.col("t").is_not_null() | pl.col("z").is_null()
  frame = frame.select(
    "text", pl.when(usual).then((seconds - offset) * 10**6 + micros).alias("usual")
  )
  rest = frame.filter(pl.col("usual").is_null() & pl.col("text").is_not_null())["text"].unique()
  if not len(rest):
    return frame["usual"]
  other = pl.Series(map(_date, rest), dtype=pl.Int64).set(_is_missing(rest, form), None)
  table = pl.DataFrame({"text": rest, "other": other})
  joined = frame.join(table, on="text", how="left", maintain_order="left")
  return joined.select(pl.coalesce("usual", "other")).to_series()


def _date(text: str) -> int:
  try:
    moment = datetime.fromisoformat(text)
  except ValueError:
    return NO_TIME
  since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
  return (since.days * 86400 + since.seconds) * 10**6 + since.microseconds


def text_of(name: str, kind: pl.DataType, missing: Sequence[str] = ()) -> pl.Expr:
  """A column as the text of ids: String, null where there is none.

  A float that is whole is written as a whole number: integers become floats in programs that
  have no missing integer.

  Args:
    name: of the column.
    kind: its type.
    missing: text that stands for no id, besides ''.
  """
  column = pl.col(name)
  if kind == pl.String:
    return pl.when(~column.is_in(["", *missing])).then(column)
  if kind.is_float():
    known = column.fill_nan(None)
    whole = (known == known.floor()) & (known.abs() < _EXACT)
    number = pl.when(whole).then(known).cast(pl.Int64).cast(pl.String)
    return pl.coalesce(number, known.cast(pl.String))
  return column.cast(pl.String)
