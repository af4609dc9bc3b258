"""Amazon reviews as published: a file of reviews and one of metadata → `Dataset`.

          a review's user, item, time and rating                     published at
  2014    reviewerID, asin, unixReviewTime (seconds), overall        jmcauley.ucsd.edu/data/amazon
  2018    the same                                                   nijianmo.github.io/amazon
  2023    user_id, parent_asin, timestamp (milliseconds), rating     amazon-reviews-2023.github.io

One review a line, of whole categories or their 5-cores. The times of 2014 and 2018 are days, so
many reviews of a user share theirs. An item of 2023 is a parent_asin, which stands for all
variants of a product, as in the metadata. For the sequences of earlier studies see `amazon`.

No licence is stated: the data may be used for research and not be redistributed. Cite McAuley et
al., SIGIR 2015, arXiv:1506.04757 (2014); Ni et al., EMNLP 2019 (2018); Hou et al., 2024,
arXiv:2403.03952 (2023).
"""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from sidrec.data import dataset
from sidrec.data.sources import rules
from sidrec.data.sources.amazon_lines import is_missing, numbered_lines, parse_line
from sidrec.data.sources.amazon_metadata import read_metadata
from sidrec.data.sources.build import NO_ITEMS, apply_rules, sort_ids

# Of 2023, and of 2014 and 2018: columns by role, and the microseconds in a unit of time.
_FORMS = (
  ({"user": "user_id", "item": "parent_asin", "time": "timestamp", "rating": "rating"}, 10**3),
  ({"user": "reviewerID", "item": "asin", "time": "unixReviewTime", "rating": "overall"}, 10**6),
)
_TYPES = {"user": pl.String, "item": pl.String, "time": pl.Int64, "rating": pl.Float64}
_HEAD_LINES = 1 << 10  # tell the form
_BLOCK_LINES = 1 << 14
_LATEST = 253_402_300_800 * 10**6  # the year 10000


def read_amazon_reviews(
  path: str,
  min_interactions: int = 3,
  *,
  metadata_path: str = "",
  max_characters: int = 512,
  repeats: str = "keep",
) -> dataset.Dataset:
  """Reads the reviews of one category.

  What is in the files is read by the rules of `table` and `amazon_metadata`; each thing
  that was dropped or assumed is counted in a note of the data set. Ids are text.

  Args:
    path: of the reviews, plain or gzip (its name ends in .gz); the first lines tell the form.
    min_interactions: users with fewer are dropped; at least 3.
    metadata_path: of the metadata, plain or gzip; '' if there is none.
    max_characters: of a title, of a category's name and of a free text, which are cut there.
    repeats: 'keep' keeps every review of an item, 'first' the first of a user of an item.

  Returns:
    A data set that is called as the file of reviews is.

  Raises:
    FileNotFoundError: if a file is not there.
    ValueError: in one sentence with file and line, for what cannot be read.
  """
  rules.check_repeats(repeats)
  if max_characters < 1:
    raise ValueError(f"max_characters is {max_characters}; it must be at least 1")
  reviews, *metadata = _files(path, metadata_path)
  log, notes = _read_log(reviews)
  items = NO_ITEMS.cast({"item": pl.String})
  if metadata:
    items, said = read_metadata(metadata[0], log["item"].unique().to_list(), max_characters)
    notes += said
  # The order of all ids, even of those that the rules drop, tells that of the ones that stay.
  users, ids = (pl.Enum(sort_ids(log[role].unique())[0]) for role in ("user", "item"))
  return apply_rules(
    reviews.name.split(".")[0],
    log.with_columns(pl.col("user").cast(users), pl.col("item").cast(ids)),
    items.with_columns(pl.col("item").cast(ids)),
    min_interactions,
    notes,
    repeats=repeats,
    ticks=10**6,
  )


def signature_amazon_reviews(
  path: str, *, metadata_path: str = "", **settings: Any
) -> dict[str, Any]:
  """What identifies the files that `read_amazon_reviews` would read, without reading them."""
  del settings  # the others of `read_amazon_reviews`; they do not matter
  files = _files(path, metadata_path)
  return {"files": [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]}


def _files(path: str, metadata_path: str) -> list[Path]:
  """The file of the reviews and, if there is one, of the metadata."""
  if not path:
    raise ValueError("Amazon reviews need a path: the file of the reviews")
  files = [Path(name).expanduser() for name in (path, metadata_path) if name]
  for file in files:
    if not file.is_file():
      raise FileNotFoundError(f"there is no file {file}")
  return files


def _read_log(file: Path) -> tuple[pl.DataFrame, list[str]]:
  """Reviews with a user, an item and a time: these in microseconds, and the rating; and notes."""
  columns, unit = _form(file)
  lines, blocks = numbered_lines(file), []
  while block := list(itertools.islice(lines, _BLOCK_LINES)):
    blocks.append(_parse_block(file, block, columns, unit))
  log, notes = pl.concat(blocks), []
  if not log["time"].count():  # a second each, so that no two rows are at the same time
    log = log.with_columns(time=pl.int_range(pl.len(), dtype=pl.Int64) * 10**6)
    notes.append(f"column {columns['time']!r} is empty: the order of the file stands for time")
  named = log.filter(pl.col("user") != "", pl.col("item") != "")
  timed = named.drop_nulls("time")
  for count, what in ((len(log) - len(named), "user or item"), (len(named) - len(timed), "time")):
    if count:
      notes.append(f"dropped {rules.counted(count, 'row')} without a {what}")
  return timed, notes


def _form(file: Path) -> tuple[dict[str, str], int]:
  """The columns by role, and the microseconds in a unit of time, as the first lines tell."""
  head = itertools.islice(numbered_lines(file), _HEAD_LINES)
  names = dict.fromkeys(name for line in head for name in parse_line(file, *line))
  for columns, unit in _FORMS:
    if {columns["user"], columns["item"]} <= set(names):
      for role, name in columns.items():
        if name not in names:
          raise ValueError(
            f"{file} has no column {name!r}, which was to be its {role}; it has: {', '.join(names)}"
          )
      return columns, unit
  known = " or ".join(f"{columns['user']} and {columns['item']}" for columns, _ in _FORMS)
  raise ValueError(
    f"{file} holds no Amazon reviews: its first lines name no {known}, but "
    f"{', '.join(names) or 'nothing'}"
  )


def _parse_block(
  file: Path, lines: list[tuple[int, bytes]], columns: Mapping[str, str], unit: int
) -> pl.DataFrame:
  """The reviews on some numbered lines: user and item ('' for none), time and rating."""
  try:  # Polars reads plain JSON whose values are of the usual types
    schema = {name: _TYPES[role] for role, name in columns.items()}
    rows = pl.read_ndjson(b"\n".join(line for _, line in lines), schema=schema)
    rows = rows.select(pl.col(name).alias(role) for role, name in columns.items())
    if (rows["time"].abs() < _LATEST // unit).all():
      return rows.with_columns(pl.col("user", "item").fill_null(""), pl.col("time") * unit)
  except pl.exceptions.PolarsError:
    pass
  reviews = []
  for number, line in lines:
    row, where = parse_line(file, number, line), f"{file}:{number}"
    user, item, time, rating = (row.get(name) for name in columns.values())
    ids = ["" if id_ is None else str(id_) for id_ in (user, item)]
    seconds, stars = _number(time, "time", where), _number(rating, "rating", where)
    ticks = None if seconds is None else round(seconds * unit)
    if ticks is not None and abs(ticks) >= _LATEST:
      raise ValueError(f"{where}: the time {str(time)!r} lies beyond the year 9999")
    reviews.append((*ids, ticks, stars))
  return pl.DataFrame(reviews, _TYPES, orient="row")


def _number(value: Any, what: str, where: str) -> int | float | None:
  """A finite number, or None for a missing one."""
  text = "" if value is None else str(value)
  if is_missing(text):
    return None
  try:
    number = float(text)
  except ValueError:
    number = math.nan
  if "_" in text or not math.isfinite(number):  # Python reads 1_000 as a number
    raise ValueError(f"{where}: the {what} {text[:200]!r} is no number")
  return value if type(value) is int else number
