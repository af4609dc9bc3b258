"""Numbers, times and ids in columns of any type.

Nothing raises here: what cannot be read is marked, for `log` and `items` to take a second look.
"""

from datetime import UTC, datetime

import polars as pl

_MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1}
TIME_UNITS = (*_MICROSECONDS, "ns", "iso")
_LATEST = 253_402_300_800 * 10**6  # the year 10000, in microseconds
_LAST = 2**63 - 1  # nanosecond of Int64, in 2262
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MISSING = ("", "na", "n/a", "nan", "null", "none", "\\n")
# What programs write where an id is missing. Anything else may be one.
_NO_ID = ("", "nan", "NaN", "NULL", "null", "None", "\\N", "<NA>")
_EXACT = 2**53  # below it, a float tells whole numbers apart
NO_TIME, BEYOND = -(2**63), -(2**63) + 1
_DATE = r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}:\d{2})(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?$"


def is_missing(text: str) -> bool:
  """Whether text stands for no number: empty, or NA, NaN, null, None, \\N in any case."""
  return text.strip().lower() in _MISSING


def _missing(text: pl.Series) -> pl.Series:
  """Whether text stands for no number: empty, or NA, NaN, null, None, \\N in any case."""
  return text.str.to_lowercase().is_in(_MISSING)


def numbers(column: pl.Series) -> pl.Series:
  """Float64: null where a number is missing, infinity where there is something else."""
  value = column.cast(pl.Float64, strict=False)
  if column.dtype == pl.String and value.null_count() > column.null_count():
    text = column.str.strip_chars()
    value = text.cast(pl.Float64, strict=False)
    no_number = value.is_null() & text.is_not_null() & ~_missing(text)
    value = value.set(no_number, float("inf"))
  return value.fill_nan(None)


def times(column: pl.Series, unit: str) -> pl.Series:
  """Microseconds since 1970: Int64, null where a time is missing.

  Args:
    column: of numbers, times or text.
    unit: in TIME_UNITS, of numbers and text.

  Returns:
    NO_TIME stands for what is no number or date, BEYOND for a time after the year 9999.
  """
  if column.dtype in (pl.Date, pl.Datetime):
    return column.cast(pl.Datetime("us")).dt.epoch("us")
  if unit == "iso":
    return _dates(column.cast(pl.String))
  limit = _LAST if unit == "ns" else _LATEST // _MICROSECONDS[unit]
  whole = _whole(column)
  far = (whole.abs() >= limit).fill_null(False)
  # Before the product, which may be too large for Int64.
  near = whole.set(far, 0)
  time = (near // 1000 if unit == "ns" else near * _MICROSECONDS[unit]).set(far, BEYOND)
  if whole.null_count() == column.null_count():
    return time
  value = numbers(column)
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


def _dates(texts: pl.Series) -> pl.Series:
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
  table = pl.DataFrame({"text": rest, "other": pl.Series(map(_date, rest), dtype=pl.Int64)})
  joined = frame.join(table, on="text", how="left", maintain_order="left")
  return joined.select(pl.coalesce("usual", "other")).to_series()


def _date(text: str) -> int | None:
  if is_missing(text):
    return None
  try:
    moment = datetime.fromisoformat(text)
  except ValueError:
    return NO_TIME
  since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
  return (since.days * 86400 + since.seconds) * 10**6 + since.microseconds


def text_of(frame: pl.LazyFrame, name: str, typed: bool) -> pl.Expr:
  """A column as the text of ids: String, null where there is none.

  Floats that are all whole numbers are whole numbers: integers become floats in programs that
  have no missing integer.

  Args:
    frame: the whole table; one look at it decides this.
    name: of the column.
    typed: whether the table tells text from what is missing; if not, text such as 'NULL' and
      '\\N' is missing, too.
  """
  kind = frame.collect_schema()[name]
  column = pl.col(name)
  if kind == pl.String:
    return pl.when(column != "" if typed else ~column.is_in(_NO_ID)).then(column)
  if kind.is_float():
    known = column.fill_nan(None)
    whole = ((known == known.floor()) & (known.abs() < _EXACT)).all()
    if frame.select(whole).collect().item():
      return known.cast(pl.Int64).cast(pl.String)
    return known.cast(pl.String)
  return column.cast(pl.String)
