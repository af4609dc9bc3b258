"""Sequences of items, such as Amazon's reviews of 2014 (5-core): a file to a `Dataset`.

  *.txt or *.txt.gz         `user item item …`, one user a line, oldest first
  items.tsv or .tsv.gz      in the same folder: item_id, title, brand, categories ('a > b > c')
                            and keywords, in any order, among other columns; may be absent

S3-Rec (Zhou et al., CIKM 2020, arXiv:2008.07873) published the files that TIGER and the work
after it are measured on. No licence is stated for the reviews: they may be used for research
and not be redistributed; cite McAuley et al., 'Image-based Recommendations on Styles and
Substitutes', SIGIR 2015, arXiv:1506.04757. For the reviews as published see `amazon_reviews`.
"""

import fnmatch
import html
import os
from collections.abc import Sequence
from typing import Any

import polars as pl
from etils import epath

from sidrec.core.content import stamps
from sidrec.core.paths import as_path, files_in
from sidrec.data import dataset
from sidrec.data.sources.build import NO_ITEMS, build
from sidrec.data.sources.line_frames import (
  plain_or_gz,
  read_lines,
  refuse,
  with_fields,
  with_number,
)
from sidrec.data.sources.shown import brief, shown

# Source → name of its sequence file; '' for any. Items of the named ones count from 1.
SEQUENCES = {
  "amazon-beauty": "Beauty.txt",
  "amazon-sports": "Sports_and_Outdoors.txt",
  "sequences": "",
}
_ITEMS = "items.tsv"
_COLUMNS = ("item_id", "title", "brand", "categories", "keywords")
_WHOLE = "[0-9]{1,18}"  # any such number fits int64


def read_sequences(source: str, path: str = "", min_interactions: int = 3) -> dataset.Dataset:
  """Reads the sequences of one category and its item table.

  Titles, categories (the path from the root, in order) and free text (brand and keywords) are
  missing where the item table has none. A time is an interaction's place in its user's history,
  from 0, so times of different users do not compare; ratings are NaN.

  Args:
    source: a name in SEQUENCES.
    path: the folder of the files, and for 'sequences' also the file, of any name; where it is
      empty, $SIDREC_DATA_DIR/<source>.
    min_interactions: users with fewer are dropped.

  Returns:
    A data set that is called as the source is, or for 'sequences' as the file is.

  Raises:
    FileNotFoundError: if there is no such folder or file, or no sequence file in the folder.
    ValueError: for a malformed line, naming file, line number and content, or if a folder holds
      several files that may be meant.
  """
  file, table = _files(source, path)
  any_file = not SEQUENCES[source]
  interactions = parse_sequences(file, first_item=0 if any_file else 1)
  notes = [
    f"{dataset.NO_TIMES}: a time is the interaction's place in its user's history",
    "the source has no ratings",
  ]
  if table.is_file():
    items = parse_items(table, required=_COLUMNS[:1] if any_file else _COLUMNS)
    if untitled := int((items["title"] == "").sum()):
      notes.append(f"{untitled:,} of {len(items):,} items have no title")
  else:
    items = NO_ITEMS
    notes.append(f"the folder of {file.name} has no {_ITEMS}: nothing is known of the items")
  name = file.name.split(".")[0] if any_file else source
  return build(name, interactions, items, min_interactions, notes)


def signature_sequences(source: str, path: str = "") -> dict[str, Any]:
  """What identifies the raw files that `read_sequences` would read, without reading them."""
  files = [file for file in _files(source, path) if file.is_file()]
  return {"files": stamps(files)}


# Where the data is.


def _files(source: str, path: str) -> tuple[epath.Path, epath.Path]:
  """The sequence file, and where the item table is if there is one."""
  name, named = SEQUENCES[source], os.environ.get("SIDREC_DATA_DIR")
  if path:
    folder, origin = as_path(path), "the path given"
  elif named:
    folder, origin = as_path(named) / source, "SIDREC_DATA_DIR"
  else:
    raise FileNotFoundError(
      f"{source} is not shipped or downloaded: give the path of a folder with {name or 'a .txt'}, "
      f"or put that folder at $SIDREC_DATA_DIR/{source}"
    )
  if not name and folder.is_file():
    return folder, plain_or_gz(folder.parent, _ITEMS)
  if not folder.is_dir():
    raise FileNotFoundError(
      f"{folder} ({origin}) is not a {'folder' if name else 'file or folder'}"
    )
  wanted = [f"{name or '*.txt'}{end}" for end in ("", ".gz")]
  files = [f for f in files_in(folder) if any(fnmatch.fnmatchcase(f.name, w) for w in wanted)]
  if not files:
    name = name or "file of sequences, *.txt"
    raise FileNotFoundError(f"{folder} ({origin}) has no {name} or {name}.gz")
  if len(files) > 1 and not name:
    names = ", ".join(file.name for file in files)
    raise ValueError(
      f"{folder} ({origin}) has several files that may be meant; name one: {brief(names)}"
    )
  return files[0], plain_or_gz(folder, _ITEMS)  # a plain file before a compressed one


# What the files say.


def parse_sequences(file: epath.Path, first_item: int = 0) -> pl.DataFrame:
  """Parses lines `user item item …`, plain or gzip.

  Args:
    file: its path.
    first_item: 1 where item ids count from 1, 0 where they may be 0.

  Returns:
    user, item and time (the place in the user's line, from 0; all Int64), in file order.

  Raises:
    ValueError: naming file, line number and content of the first malformed line: other than
      whole numbers, an item 0 where they count from 1, no item, or a user who stands on an
      earlier line already.
  """
  lines = read_lines(file)
  if not len(lines):
    lines = pl.DataFrame({"number": [1], "line": [""]})
  fields = pl.col("line").str.extract_all(r"\S+")
  rows = lines.with_columns(fields.alias("fields"), fields.list.len().alias("count"))
  rows = with_number(rows.with_columns(pl.col("fields").list.first().alias("user")), "user")
  faults = {
    "{count} fields instead of `user item item …`": pl.col("count") < 2,
    "a field is not a whole number": ~pl.col("line").str.contains(rf"^\s*({_WHOLE}(\s+|$))+$"),
    "user {whole} stands on line {first} already": pl.col("number") != pl.col("first"),
  }
  if first_item:
    faults["item ids count from 1, but one is 0"] = pl.col("line").str.contains(r"\s0+(\s|$)")
  refuse(file, rows, faults)
  items = pl.col("fields").list.slice(1).cast(pl.List(pl.Int64)).alias("item")
  places = pl.int_ranges(pl.col("count") - 1, dtype=pl.Int64).alias("time")
  return rows.select(pl.col("whole").alias("user"), items, places).explode("item", "time")


def parse_items(file: epath.Path, required: Sequence[str] = _COLUMNS) -> pl.DataFrame:
  """Parses the item table, plain or gzip: tab-separated UTF-8 under a line of column names.

  Brands lose their HTML entities ('L&#39;Oreal'); the brand 'Unknown' counts as none.

  Args:
    file: its path.
    required: columns that must be there; what others would say is missing.

  Returns:
    item (Int64), title, categories and text, as `build.build` takes them.

  Raises:
    ValueError: naming file, line number and content of the first malformed line.
  """
  lines = read_lines(file)
  header = next(iter(lines["line"]), "")
  names = header.split("\t")
  if lacking := [name for name in required if name not in names]:
    raise ValueError(f"{file}:1: no column {', '.join(lacking)}: {shown(header)}")
  if twice := [name for name in _COLUMNS if names.count(name) > 1]:
    raise ValueError(f"{file}:1: two columns are called {twice[0]!r}; rename one")
  known = [name if name in _COLUMNS else f"column {place}" for place, name in enumerate(names)]
  rows = with_number(with_fields(lines[1:], "\t", known), "item_id")
  faults = {
    f"{{count}} fields instead of {len(names)}": pl.col("count") != len(names),
    "the item id is not a whole number": ~pl.col("item_id").str.contains(f"^{_WHOLE}$"),
    "item {whole} stands on line {first} already": pl.col("number") != pl.col("first"),
  }
  refuse(file, rows, faults)
  rows = rows.with_columns(pl.lit("").alias(name) for name in _COLUMNS if name not in names)
  brands = (html.unescape(brand).strip() for brand in rows["brand"])
  text = list(map(free_text, brands, rows["keywords"].str.strip_chars()))
  path = pl.col("categories").str.split(" > ").list.eval(pl.element().filter(pl.element() != ""))
  title = pl.col("title").str.strip_chars()
  return rows.select(pl.col("whole").alias("item"), title, path, pl.Series("text", text, pl.String))


def free_text(brand: str, words: str) -> str:
  """'Brand: OPI. nail lacquer simmer and shimmer', or what there is of it; no 'Brand: Unknown'."""
  return ". ".join(filter(None, ["" if brand in ("", "Unknown") else f"Brand: {brand}", words]))
