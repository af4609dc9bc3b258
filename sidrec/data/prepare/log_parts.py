"""A raw log in parts that workers read side by side, and what its source says beside.

MovieLens ratings and tables (separated values, JSON lines, Parquet) are read from their files,
in ranges of bytes or of row groups; compressed text is one part a file. Every other source is
read into memory by its own reader, and its histories are the parts.

Whether a newline ends a row depends on the quotes before it, so that a range of quoted text can
be read once it is known whether the number of quotes before it is odd.

Letters: T rows, U distinct users of a part, N distinct items of a part.
"""

import contextlib
import functools
import glob
import io
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sidrec.data.dataset import Items
from sidrec.data.sources import movielens, registry, rules
from sidrec.data.sources.interactions import kind_of, log_notes, read_raw_log, table_of
from sidrec.data.sources.item_rows import NOTHING, read_items, split_at
from sidrec.data.sources.movielens_ratings import RatingsForm, parse_ratings
from sidrec.data.sources.parquet_rows import num_row_groups, parquet_rows
from sidrec.data.sources.rows import Rows
from sidrec.data.sources.table import open_rows
from sidrec.data.sources.text_rows import json_rows, separated_rows

PART_BYTES = 1 << 23
_USERS_A_PART = 1 << 14
NO_TIME = np.iinfo(np.int64).min
_WHOLE_FILE = -1  # as a part's stop


class Part(NamedTuple):
  """A share of the log; parts are numbered in the order of their rows."""

  index: int
  file: str
  start: int  # bytes, row groups or user rows
  stop: int


class Block(NamedTuple):
  """The rows of a part that name a user and an item, in file order."""

  part: int
  num_rows: int  # of the part, with those that name none
  row_T: np.ndarray  # int64 [T], which of them
  user_ids_U: np.ndarray  # [U], int64 or str, distinct
  user_T: np.ndarray  # int64 [T], rows of user_ids_U
  item_ids_N: np.ndarray  # [N], likewise
  item_T: np.ndarray  # int64 [T]
  time_T: np.ndarray  # int64 [T], in the log's ticks, NO_TIME where there is none
  rating_T: np.ndarray  # float32 [T], NaN where there is none


class RawLog(NamedTuple):
  """Where the rows are and how to read them, with what is small enough for one machine."""

  name: str
  parts: tuple[Part, ...]
  num_bytes: int  # about; tells how far to spread the log
  quotes: Callable[[Part], int] | None  # part → its quotes; None if newlines always end rows
  read: Callable[[Part, int], Block]  # part, quotes before it → its rows
  ticks: int  # of the times, in a second
  repeats: str  # as in `rules`; '' where the reader has applied these rules
  id_kinds: tuple[str, str] | None  # of users and items, as `kind_of` says; None: to be found
  metadata: Callable[[str], Items]  # kind of item ids → what is known about items
  metadata_ids: Sequence[str]  # where the kind is to be found: ids that the metadata adds
  # Whether no row has a time, rows without names, rows without a time → notes.
  notes: Callable[[bool, int, int], list[str]]
  built: bool  # whether the reader has dropped short users and described the items


def open_log(source: str, path: str, min_interactions: int, settings: Mapping[str, Any]) -> RawLog:
  """Finds a source's parts, and reads what it says about items.

  Args:
    source: a name in `registry.READERS`.
    path: as for `registry.read`; for a table perhaps with * in it, for several files in the order
      of their names.
    min_interactions: for readers that work in memory.
    settings: what else the source's reader takes.

  Raises:
    FileNotFoundError, ImportError, ValueError: as the source's reader does.
  """
  if source in movielens.EDITIONS:
    place = movielens.find_source(source, path)
    if place.kind != "tfds":
      return _movielens_log(source, place)
  if source == "table":
    return _table_log(path, **settings)
  return _log_in_memory(source, path, min_interactions, settings)


# MovieLens.


def _movielens_log(name: str, place: movielens.Source) -> RawLog:
  file, movies, notes = movielens.ratings_and_movies(name, place)
  form = movielens.EDITIONS[name].form
  return RawLog(
    name,
    _byte_ranges([file]),
    file.stat().st_size,
    None,
    functools.partial(_read_ratings, form, movies.ids_N),
    1,
    "keep",
    ("whole", "whole"),
    lambda kind: movies,
    (),
    lambda untimed, nameless, timeless: notes,
    built=False,
  )


def _read_ratings(form: RatingsForm, movie_ids_M: np.ndarray, part: Part, quotes: int) -> Block:
  del quotes  # there are none
  if part.stop == _WHOLE_FILE:
    ratings = parse_ratings(Path(part.file), form, movie_ids_M)
  else:
    begin, text = _whole_rows(part, quotes=None)
    if not text.strip(b"\r\n"):
      none = np.zeros(0, np.int64)
      return Block(part.index, 0, none, none, none, none, none, none, none.astype(np.float32))
    header = form.header + b"\n" if form.header and begin else b""
    with _at_its_line(part.file, begin, header):
      ratings = parse_ratings(Path(part.file), form, movie_ids_M, header + text)
  users, user_T = np.unique(ratings.user_T, return_inverse=True)
  items, item_T = np.unique(ratings.movie_T, return_inverse=True)
  size = len(user_T)
  columns = (np.arange(size), users, user_T, items, item_T, ratings.time_T, ratings.rating_T)
  return Block(part.index, size, *columns)


# Tables.


def _table_log(
  path: str,
  *,
  columns: Mapping[str, str],
  time_unit: str,
  items_path: str,
  item_columns: Mapping[str, str | Sequence[str]],
  category_separator: str,
  separator: str,
  repeats: str,
) -> RawLog:
  rules.check_repeats(repeats)
  if not path:
    raise ValueError("a table needs a path: the file of the interactions")
  files = [Path(path).expanduser()]
  if glob.has_magic(path):
    files = [Path(name) for name in sorted(glob.glob(str(files[0])))]
    if not files:
      raise FileNotFoundError(f"there is no file {path}")
  described = NOTHING
  if items_path:
    rows = open_rows(Path(items_path).expanduser(), separator)
    described = read_items(rows, item_columns, split_at(category_separator))
  heads = {str(file): open_rows(file, separator) for file in files}
  names = {file: tuple(rows.names) for file, rows in heads.items()}
  for rows in heads.values():  # what is wrong with the columns is wrong before any worker starts
    read_raw_log(rows._replace(blocks=lambda names: iter(())), columns, time_unit)
  parquet = files[0].suffix == ".parquet"
  quoted = not parquet and _form(files[0]) != "json"
  where = files[0].parent.name if len(files) > 1 else files[0].name.split(".")[0]
  return RawLog(
    where,
    _row_groups(files) if parquet else _byte_ranges(files),
    sum(file.stat().st_size for file in files) * (4 if parquet else 1),
    _count_quotes if quoted else None,
    functools.partial(_read_table, names, dict(columns), time_unit, separator),
    10**6,
    repeats,
    None,
    lambda kind: _described_items(described, kind),
    described.ids,
    lambda untimed, nameless, timeless: [
      *log_notes(columns, untimed, nameless, timeless),
      *described.notes,
    ],
    built=False,
  )


def _described_items(described: Any, kind: str) -> Items:
  if kind == "whole":
    return table_of(described, np.array([int(id_) for id_ in described.ids], np.int64))
  return table_of(described, np.array(described.ids, dtype=str))


def _read_table(
  names: Mapping[str, tuple[str, ...]],
  columns: Mapping[str, str],
  time_unit: str,
  separator: str,
  part: Part,
  quotes: int,
) -> Block:
  begin, header, opened = _opened(part, names[part.file], separator, quotes)
  with _at_its_line(part.file, begin, header):
    raw = read_raw_log(opened(), columns, time_unit)
  named_T = (raw.user_T >= 0) & (raw.item_T >= 0)
  return Block(
    part.index,
    len(named_T),
    np.flatnonzero(named_T),
    np.array(raw.users, dtype=str),
    raw.user_T[named_T],
    np.array(raw.items, dtype=str),
    raw.item_T[named_T],
    np.where(raw.timed_T, raw.time_T, NO_TIME)[named_T],
    raw.rating_T[named_T],
  )


def _opened(
  part: Part, names: tuple[str, ...], separator: str, quotes: int
) -> tuple[int, bytes, Callable[[], Rows]]:
  """Where a part's text begins, what stands in front of it, and what opens its rows."""
  file = Path(part.file)
  if file.suffix == ".parquet":
    return 0, b"", lambda: parquet_rows(file, range(part.start, part.stop))
  if part.stop == _WHOLE_FILE:
    return 0, b"", lambda: open_rows(file, separator)
  if _form(file) == "json":
    begin, text = _whole_rows(part, quotes=None)
    if not text.strip():
      return 0, b"", lambda: Rows(file, names, lambda wanted: iter(()), str)
    return begin, b"", lambda: json_rows(file, _as_text(text))._replace(names=names)
  begin, text = _whole_rows(part, quotes)
  header = _whole_rows(part._replace(start=0, stop=1), quotes=0)[1] if begin else b""
  between = separator or ("," if file.suffix == ".csv" else "\t")
  return begin, header, lambda: separated_rows(file, between, text=_as_text(header + text))


def _form(file: Path) -> str:
  kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
  return "json" if kind in (".jsonl", ".ndjson") else "separated"


def _as_text(text: bytes) -> Callable[[Path], contextlib.AbstractContextManager[Any]]:
  @contextlib.contextmanager
  def opened(file: Path) -> Generator[Any]:
    try:
      decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
      raise ValueError(f"{file} is not UTF-8 text ({error.reason}); convert it first") from error
    yield io.StringIO(decoded, newline="")

  return opened


def _row_groups(files: Sequence[Path]) -> tuple[Part, ...]:
  spans = [(str(file), group) for file in files for group in range(num_row_groups(file))]
  return tuple(Part(index, file, group, group + 1) for index, (file, group) in enumerate(spans))


# Every other source.


def _log_in_memory(
  source: str, path: str, min_interactions: int, settings: Mapping[str, Any]
) -> RawLog:
  data = registry.read(source, path, min_interactions, **settings)
  histories, items = data.histories, data.items
  bounds = range(0, histories.num_users, _USERS_A_PART)
  parts = [
    Part(index, source, start, min(start + _USERS_A_PART, histories.num_users))
    for index, start in enumerate(bounds)
  ]

  def read(part: Part, quotes: int) -> Block:
    del quotes
    first, last = histories.offsets_Up1[[part.start, part.stop]]
    item_rows, item_T = np.unique(histories.item_T[first:last], return_inverse=True)
    return Block(
      part.index,
      int(last - first),
      np.arange(last - first),
      histories.user_ids_U[part.start : part.stop],
      np.repeat(np.arange(part.stop - part.start), histories.lengths_U[part.start : part.stop]),
      items.ids_N[item_rows],
      item_T,
      histories.time_T[first:last],
      histories.rating_T[first:last],
    )

  def kind(ids: np.ndarray) -> str:
    if ids.dtype.kind != "U":
      return "whole"
    return "text" if kind_of(ids.tolist()) == "text" else "digits"

  return RawLog(
    data.name,
    tuple(parts),
    24 * len(histories.item_T),
    None,
    read,
    1,
    "",
    (kind(histories.user_ids_U), kind(items.ids_N)),
    lambda kind: items,
    (),
    lambda untimed, nameless, timeless: list(data.notes),
    built=True,
  )


# Ranges of bytes.


def _byte_ranges(files: Sequence[Path]) -> tuple[Part, ...]:
  spans: list[tuple[str, int, int]] = []
  for file in files:
    size = file.stat().st_size
    if file.suffix == ".gz":
      spans.append((str(file), 0, _WHOLE_FILE))
    else:
      starts = range(0, max(size, 1), PART_BYTES)
      spans += [(str(file), start, min(start + PART_BYTES, size)) for start in starts]
  return tuple(Part(index, *span) for index, span in enumerate(spans))


def _count_quotes(part: Part) -> int:
  """How many quotes a part's bytes hold; none are counted where they do not matter."""
  if part.stop == _WHOLE_FILE:
    return 0
  with open(part.file, "rb") as stream:
    stream.seek(part.start)
    return stream.read(part.stop - part.start).count(b'"')


def _whole_rows(part: Part, quotes: int | None) -> tuple[int, bytes]:
  """The rows that begin in a part, the last one to its end, and the byte where they begin.

  Args:
    part: a range of bytes.
    quotes: how many quotes stand before it; None where newlines always end rows.
  """
  with open(part.file, "rb") as stream:
    stream.seek(max(part.start - 1, 0))
    last = stream.read(1) if part.start else b"\n"
    text = stream.read(part.stop - part.start)
    ends = _row_ends(text, quotes)
    begin = 0
    if last != b"\n" or (quotes or 0) % 2:
      begin = int(ends[0]) if len(ends) else len(text)  # a row that began before ends here
    if begin == len(text):
      return part.stop, b""
    if not len(ends) or ends[-1] < len(text):
      while more := stream.read(1 << 16):
        ends = _row_ends(more, None if quotes is None else quotes + text.count(b'"'))
        text += more[: ends[0]] if len(ends) else more
        if len(ends):
          break
  return part.start + begin, text[begin:]


def _row_ends(text: bytes, quotes: int | None) -> np.ndarray:
  """The places after each newline that ends a row, `quotes` quotes before the text."""
  byte_T = np.frombuffer(text, np.uint8)
  at = np.flatnonzero(byte_T == ord("\n"))
  if quotes is not None:
    inside = (quotes + np.searchsorted(np.flatnonzero(byte_T == ord('"')), at)) % 2
    at = at[inside == 0]
  return at + 1


@contextlib.contextmanager
def _at_its_line(file: str, begin: int, header: bytes) -> Generator[None]:
  """Puts the line of the file into messages that count lines from `header`, before `begin`."""
  try:
    yield
  except ValueError as error:
    found = re.match(re.escape(file) + r":(\d+)(.*)", str(error), re.DOTALL)
    if not found or not begin:
      raise
    with open(file, "rb") as stream:
      line = int(found[1]) + stream.read(begin).count(b"\n") - header.count(b"\n")
    raise ValueError(f"{file}:{line}{found[2]}") from error
