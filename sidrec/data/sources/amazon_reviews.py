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
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from etils import epath

from sidrec.core.content import stamps
from sidrec.core.paths import as_path
from sidrec.data import dataset
from sidrec.data.sources import rules
from sidrec.data.sources.amazon_lines import has_half, numbered_lines, parse_line
from sidrec.data.sources.amazon_metadata import read_metadata
from sidrec.data.sources.items import NOTHING, Described
from sidrec.data.sources.json_values import whole_characters
from sidrec.data.sources.log import read_data, scan_log
from sidrec.data.sources.rules import counted
from sidrec.data.sources.scan import Scan
from sidrec.data.sources.shown import listed
from sidrec.data.sources.values import ValueForm

# Of 2023, and of 2014 and 2018: columns by role, and the unit of time.
_FORMS = (
  ({"user": "user_id", "item": "parent_asin", "time": "timestamp", "rating": "rating"}, "ms"),
  ({"user": "reviewerID", "item": "asin", "time": "unixReviewTime", "rating": "overall"}, "s"),
)
_TYPES = {"user": pl.String, "item": pl.String, "time": pl.Int64, "rating": pl.Float64}
_HEAD_LINES = 1 << 10  # tell the form
_BLOCK_LINES = 1 << 14


def read_amazon_reviews(
  path: str,
  min_interactions: int = 3,
  *,
  metadata_path: str = "",
  max_characters: int = 512,
  repeats: str = "keep",
) -> dataset.Dataset:
  """Reads the reviews of one category.

  What is in the files is read by the rules of `log` and `amazon_metadata`; each thing
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
  names, columns, unit = _form(reviews)
  lacking = [name for name in columns.values() if name not in names]  # `scan_log` says so
  table, halves = (pl.DataFrame(), 0) if lacking else _table(reviews, columns)
  said = f"{counted(halves, 'review')} with half of a surrogate pair, which is no character; "
  notes = [f"{said}\ufffd replaces it in ids"] if halves else []

  def frame(names: Sequence[str]) -> pl.LazyFrame:
    return table.lazy().select("row", pl.lit(False).alias("faulty"), *names)

  def where(row: int) -> str:
    number, _ = next(itertools.islice(numbered_lines(reviews), row, None))
    return f"{reviews}:{number}"

  log = scan_log(Scan(reviews, names, frame, where, notes=lambda: notes), columns, ValueForm(unit))
  described = NOTHING
  if metadata:
    wanted = table[columns["item"]].drop_nulls().unique().to_list()
    described = Described(*read_metadata(metadata[0], wanted, max_characters), metadata[0])
  name = reviews.name.split(".")[0]
  data = read_data(name, [log], described, min_interactions, repeats)
  # Some ids are all digits, and if all of a category were, they would have become numbers.
  histories, items = data.histories, data.items
  return data._replace(
    histories=histories._replace(user_ids_U=histories.user_ids_U.astype(dataset.TEXT)),
    items=items._replace(ids_N=items.ids_N.astype(dataset.TEXT)),
  )


def signature_amazon_reviews(
  path: str, *, metadata_path: str = "", **settings: Any
) -> dict[str, Any]:
  """What identifies the files that `read_amazon_reviews` would read, without reading them."""
  del settings  # the others of `read_amazon_reviews`; they do not matter
  files = _files(path, metadata_path)
  return {"files": stamps(files)}


def _files(path: str, metadata_path: str) -> list[epath.Path]:
  """The file of the reviews and, if there is one, of the metadata."""
  if not path:
    raise ValueError("Amazon reviews need a path: the file of the reviews")
  files = [as_path(name) for name in (path, metadata_path) if name]
  for file in files:
    if not file.is_file():
      raise FileNotFoundError(f"there is no file {file}")
  return files


def _form(file: epath.Path) -> tuple[list[str], dict[str, str], str]:
  """The names in the first lines, the columns by role, and the unit of time."""
  head = itertools.islice(numbered_lines(file), _HEAD_LINES)
  names = list(dict.fromkeys(name for line in head for name in parse_line(file, *line)))
  for columns, unit in _FORMS:
    if {columns["user"], columns["item"]} <= set(names):
      return names, columns, unit
  known = " or ".join(f"{columns['user']} and {columns['item']}" for columns, _ in _FORMS)
  raise ValueError(
    f"{file} holds no Amazon reviews: its first lines name no {known}, but "
    f"{listed(names) or 'nothing'}"
  )


def _table(file: epath.Path, columns: Mapping[str, str]) -> tuple[pl.DataFrame, int]:
  """The columns of all reviews, and 'row'; of text where a value is not of the usual type.

  Also, how many of them spell half of a surrogate pair, of which Polars makes another character.
  """
  schema = {name: _TYPES[role] for role, name in columns.items()}
  lines, blocks, halves = numbered_lines(file), [], 0
  while block := list(itertools.islice(lines, _BLOCK_LINES)):
    found = sum(map(has_half, (line for _, line in block)))
    halves += found
    rows = None if found else _fast_rows(block, schema)
    if rows is None:
      objects = [parse_line(file, *line) for line in block]
      texts = {name: [_text(row.get(name)) for row in objects] for name in schema}
      rows = pl.DataFrame(texts, dict.fromkeys(schema, pl.String))
    blocks.append(rows)
  table = pl.concat(blocks, how="vertical_relaxed")
  return table.with_row_index("row").with_columns(pl.col("row").cast(pl.UInt32)), halves


def _fast_rows(block: Sequence[tuple[int, bytes]], schema: Mapping) -> pl.DataFrame | None:
  """The columns of lines of JSON whose values are of the usual types; None for others."""
  try:
    return pl.read_ndjson(b"\n".join(line for _, line in block), schema=dict(schema))
  except pl.exceptions.PolarsError:
    return None


def _text(value: Any) -> str | None:
  return value if value is None else whole_characters(str(value))
