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

Letters: T interactions, U users, N items.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from sidrec.data import dataset
from sidrec.data.sources import array_rules as rules
from sidrec.data.sources.build import item_table
from sidrec.data.sources.build_arrays import build_arrays as build
from sidrec.data.sources.item_rows import Described
from sidrec.data.sources.rows import Rows, require_columns
from sidrec.data.sources.text_numbers import floats, has_underscore, is_missing

ROLES = ("user", "item", "time", "rating")
_MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1}
TIME_UNITS = (*_MICROSECONDS, "ns", "iso")
_LATEST = 253_402_300_800 * 10**6  # the year 10000
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # such text and its number tell the same
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Log(NamedTuple):
  """Interactions in file order, ids as they are written."""

  users: list[str]  # distinct
  items: list[str]  # distinct
  user_T: np.ndarray  # int64 [T], rows of users
  item_T: np.ndarray  # int64 [T], rows of items
  time_T: np.ndarray  # int64 [T], microseconds
  rating_T: np.ndarray  # float32 [T], NaN where there is none
  notes: tuple[str, ...]


class RawLog(NamedTuple):
  """All rows of a table, or of a part of it, before any is dropped."""

  users: list[str]  # distinct, without ''
  items: list[str]  # distinct, without ''
  user_T: np.ndarray  # int64 [T], rows of users, -1 for none
  item_T: np.ndarray  # int64 [T], rows of items, -1 for none
  time_T: np.ndarray  # int64 [T], microseconds
  timed_T: np.ndarray  # bool [T]: whether there is a time
  rating_T: np.ndarray  # float32 [T], NaN where there is none


def read_log(rows: Rows, columns: Mapping[str, str], time_unit: str = "s") -> Log:
  """Reads interactions.

  Args, Raises:
    as `read_raw_log`; also ValueError if there is no row.
  """
  raw = read_raw_log(rows, columns, time_unit)
  if not len(raw.user_T):
    raise ValueError(f"{rows.file} names its columns and has no row; is it cut off?")
  time_T, timed_T = raw.time_T, raw.timed_T
  named_T = (raw.user_T >= 0) & (raw.item_T >= 0)
  untimed = not timed_T.any()
  if untimed:
    # A second each, so that no two rows are at the same time.
    time_T, timed_T = np.arange(len(timed_T)) * 10**6, np.ones(len(timed_T), bool)
  kept_T = named_T & timed_T
  return Log(
    raw.users,
    raw.items,
    raw.user_T[kept_T],
    raw.item_T[kept_T],
    time_T[kept_T],
    raw.rating_T[kept_T],
    log_notes(columns, untimed, int((~named_T).sum()), int((named_T & ~timed_T).sum())),
  )


def log_notes(
  columns: Mapping[str, str], untimed: bool, nameless: int, timeless: int
) -> tuple[str, ...]:
  """What reading a log assumed and dropped.

  Args:
    columns: as for `read_log`.
    untimed: whether no row has a time.
    nameless: rows without a user or an item.
    timeless: other rows without a time, where some have one.
  """
  notes = []
  if untimed:
    column = columns.get("time")
    why = f"column {column!r} is empty" if column else "there is no column of times"
    notes.append(f"{why}: the order of the file stands for time")
  for count, what in ((nameless, "user or item"), (timeless, "time")):
    if count:
      notes.append(f"dropped {count:,} row{'' if count == 1 else 's'} without a {what}")
  return tuple(notes)


def read_raw_log(rows: Rows, columns: Mapping[str, str], time_unit: str = "s") -> RawLog:
  """Reads interactions, dropping none; there may be none.

  Args:
    rows: one interaction each.
    columns: role → column: 'user' and 'item', and perhaps 'time' and 'rating'; '' for none.
    time_unit: 's', 'ms', 'us' or 'ns' since 1970, whole or not, or 'iso' for dates such as
      2024-05-01 or 2024-05-01T12:30:00+02:00 (UTC where no zone is given).

  Raises:
    ValueError: for an unknown role, column or unit, or a value that is no number or date (with
      file and line).
  """
  columns = {role: name for role, name in columns.items() if name}
  if unknown := [role for role in columns if role not in ROLES]:
    raise ValueError(f"unknown role {unknown[0]!r} of a column; known: {', '.join(ROLES)}")
  if lacking := [role for role in ("user", "item") if role not in columns]:
    raise ValueError(f"{rows.file}: no column is named for the {lacking[0]} of an interaction")
  if time_unit not in TIME_UNITS:
    raise ValueError(f"time_unit must be one of {', '.join(TIME_UNITS)}, not {time_unit!r}")
  require_columns(rows, columns)
  if columns.get("time") in rows.dates:
    time_unit = "iso"

  number_of = {role: _Numbering() for role in ("user", "item")}
  parts = []
  first = 0
  for block in rows.blocks(list(columns.values())):
    values = dict(zip(columns, block, strict=True))
    size = len(values["user"])
    part: list[np.ndarray] = [
      np.fromiter(map(number_of[role].number, values[role]), np.int64, size) for role in number_of
    ]
    if "time" in values:
      part += _times(values["time"], time_unit, rows, first)
    else:
      part += [np.zeros(size, np.int64), np.zeros(size, bool)]
    if "rating" in values:
      part.append(floats(values["rating"], "rating", rows, first).astype(np.float32))
    else:
      part.append(np.full(size, np.nan, np.float32))
    parts.append(part)
    first += size
  if not parts:
    parts = [[np.zeros(0, t) for t in (np.int64, np.int64, np.int64, bool, np.float32)]]
  user_T, item_T, time_T, timed_T, rating_T = map(np.concatenate, zip(*parts, strict=True))
  users, user_T = _without_empty(number_of["user"].ids(), user_T)
  items, item_T = _without_empty(number_of["item"].ids(), item_T)
  return RawLog(users, items, user_T, item_T, time_T, timed_T, rating_T)


class _Numbering:
  """Numbers distinct ids from 0 in the order of their coming."""

  def __init__(self) -> None:
    numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    self.number = numbers.__getitem__
    self.ids = lambda: list(numbers)


def _without_empty(ids: list[str], row_T: np.ndarray) -> tuple[list[str], np.ndarray]:
  """The ids but the empty one, and their rows, -1 for the empty one."""
  if "" not in ids:
    return ids, row_T
  empty = ids.index("")
  row_T = np.where(row_T == empty, -1, row_T - (row_T > empty))
  return ids[:empty] + ids[empty + 1 :], row_T


def _times(texts: Sequence[str], unit: str, rows: Rows, first: int) -> list[np.ndarray]:
  """Microseconds, and whether there is a time at all: int64 and bool [len(texts)]."""
  if unit == "iso":
    found = [_date(text) for text in texts]
    for place, (time, text) in enumerate(zip(found, texts, strict=True)):
      if time is None and not is_missing(text):
        raise ValueError(
          f"{rows.where(first + place)}: the time {text[:200]!r} is no date such as 2024-05-01 or "
          "2024-05-01T12:30:00+02:00; for numbers, state their time_unit"
        )
    timed_T = np.array([time is not None for time in found], bool)
    return [np.array([time or 0 for time in found], np.int64), timed_T]
  try:
    if has_underscore(texts):
      raise ValueError("Python alone reads 1_000 as a number")
    time_T = np.fromiter(map(int, texts), np.int64, len(texts))  # exact, and the usual case
    timed_T = np.ones(len(texts), bool)
    limit = _LATEST * 1000 if unit == "ns" else _LATEST // _MICROSECONDS[unit]
  except (ValueError, OverflowError):
    number_T = floats(texts, "time", rows, first)
    timed_T = ~np.isnan(number_T)
    number_T = np.where(timed_T, number_T, 0)
    # Whole microseconds are what a float of today's times can tell.
    time_T = np.rint(number_T / 1000 if unit == "ns" else number_T * _MICROSECONDS[unit])
    limit, unit = _LATEST, "us"
  # Before the product, which may be too large for int64.
  if (beyond_T := np.abs(time_T) >= limit).any():
    place = int(beyond_T.argmax())
    raise ValueError(
      f"{rows.where(first + place)}: the time {texts[place]!r} lies beyond the year 9999; state "
      f"its time_unit ({', '.join(TIME_UNITS)})"
    )
  if unit == "ns":
    return [time_T // 1000, timed_T]
  return [time_T.astype(np.int64) * _MICROSECONDS[unit], timed_T]


def _date(text: str) -> int | None:
  """Microseconds since 1970, or None for what is no date."""
  try:
    moment = datetime.fromisoformat(text.strip())
  except ValueError:
    return None
  since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
  return (since.days * 86400 + since.seconds) * 10**6 + since.microseconds


def assemble(
  name: str,
  log: Log,
  described: Described,
  min_interactions: int = 3,
  repeats: str = "keep",
) -> dataset.Dataset:
  """Interactions and descriptions of items → a validated data set, by the rules above.

  Raises:
    ValueError: if no user is left, or for another value of `repeats` than 'keep' or 'first'.
  """
  columns = (log.user_T, log.item_T, log.time_T, log.rating_T)
  columns, dropped = rules.without_duplicates(*columns, repeats)
  user_T, item_T, time_T, rating_T = columns
  if (time_T % 10**6).any():  # the contract has seconds; the order keeps what is finer
    order_T = np.argsort(time_T, kind="stable")
    user_T, item_T, time_T, rating_T = (column[order_T] for column in columns)

  users_U, user_row = in_order(log.users)
  ids = list(dict.fromkeys([*log.items, *described.ids]))
  items_N, item_row = in_order(ids)
  row_of = dict(zip(ids, item_row.tolist(), strict=True))
  metadata = table_of(described, np.array([row_of[id_] for id_ in described.ids], np.int64))
  built = build(
    name,
    user_row[user_T],
    item_row[item_T],
    time_T // 10**6,
    rating_T,
    metadata,
    min_interactions,
    [*log.notes, *described.notes, *dropped],
  )
  # Rows of distinct ids stood for the ids: sorting numbers is far cheaper than sorting text.
  histories, items = built.histories, built.items
  return built._replace(
    histories=histories._replace(user_ids_U=users_U[histories.user_ids_U]),
    items=items._replace(ids_N=items_N[items.ids_N]),
  )


def table_of(described: Described, ids: np.ndarray) -> dataset.Items:
  """What is known about items, under these ids."""
  return item_table(
    ids=ids,
    titles=described.titles,
    categories=described.categories,
    numeric={name: column.tolist() for name, column in described.numeric.items()},
    text=described.text,
  )


def in_order(ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
  """The ids sorted as the contract asks, int64 or str [N], and the place of each: int64 [N]."""
  ids_N, order_N = sorted_as(ids, kind_of(ids))
  place_N = np.empty(len(ids), np.int64)
  place_N[order_N] = np.arange(len(ids))
  return ids_N, place_N


def kind_of(ids: Sequence[str]) -> str:
  """What ids are: 'whole' numbers, text of 'digits' ('07', or too many for int64), or 'text'."""
  if all(map(_WHOLE.fullmatch, ids)):
    return "whole"
  return "digits" if all(map(str.isdecimal, ids)) else "text"


def sorted_as(ids: Sequence[str], kind: str) -> tuple[np.ndarray, np.ndarray]:
  """Ids of a kind sorted as the contract asks, int64 or str [N], and their order: int64 [N]."""
  if kind == "whole":
    ids_N = np.array([int(id_) for id_ in ids], np.int64)
    order_N = np.argsort(ids_N, kind="stable")
  else:
    ids_N = np.array(ids, dtype=str)
    keys = [_number_key(id_) for id_ in ids] if kind == "digits" else ids
    order_N = np.array(sorted(range(len(ids)), key=keys.__getitem__), np.int64)
  return ids_N[order_N], order_N


def _number_key(digits: str) -> tuple[int, str, str]:
  """Orders text of digits, of any length, by number."""
  plain = digits.lstrip("0")
  return len(plain), plain, digits
