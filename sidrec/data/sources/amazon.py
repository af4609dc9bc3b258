"""Amazon reviews of 2014, 5-core, in sequence form: a folder of two files to a `Dataset`.

  Beauty.txt or .txt.gz     `user item item …`, one user a line, oldest first, ids from 1
  items.tsv or .tsv.gz      item_id, title, brand, categories ('a > b > c') and keywords, in any
                            order, among other columns; may be absent

The first is the file of S3-Rec (Zhou et al., CIKM 2020, arXiv:2008.07873), on which TIGER and the
work after it are measured. No licence is stated for the reviews: they may be used for research
and not be redistributed; cite McAuley et al., 'Image-based Recommendations on Styles and
Substitutes', SIGIR 2015, arXiv:1506.04757. For the reviews as published see `amazon_reviews`.

Letters: T interactions.
"""

import gzip
import html
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from sidrec.data import dataset
from sidrec.data.sources.build import item_table
from sidrec.data.sources.build_arrays import build_arrays as build

# Source → name of its sequence file.
SEQUENCES = {"amazon-beauty": "Beauty.txt", "amazon-sports": "Sports_and_Outdoors.txt"}
_ITEMS = "items.tsv"
_COLUMNS = ("item_id", "title", "brand", "categories", "keywords")
_MAX_DIGITS = 18  # any such number fits int64
_NO_BRAND = ("", "Unknown")  # how the table says that it has none


def read_amazon_sequences(
  source: str, path: str = "", min_interactions: int = 3
) -> dataset.Dataset:
  """Reads one category's sequences and item table.

  Titles, categories (the path from the root, in order) and free text (brand and keywords) are
  missing where the item table has none. A time is an interaction's place in its user's history,
  from 0, so times of different users do not compare; ratings are NaN.

  Args:
    source: a name in SEQUENCES.
    path: the folder of the files; where it is empty, $SIDREC_DATA_DIR/<source>.
    min_interactions: users with fewer are dropped.

  Raises:
    FileNotFoundError: if there is no such folder, or no sequence file in it.
    ValueError: for a malformed line, naming file, line number and content.
  """
  sequences, table = _files(source, path)
  user_T, item_T, place_T = parse_sequences(sequences)
  notes = [
    "the source has no times: a time is the interaction's place in its user's history",
    "the source has no ratings",
  ]
  if table is None:
    notes.append(f"{sequences.parent} has no {_ITEMS}: nothing is known of the items")
    items = item_table(np.zeros(0, np.int64), [], [], {})
  else:
    items = parse_items(table)
    untitled = int((items.titles_N == "").sum())
    if untitled:
      notes.append(f"{untitled:,} of {items.num_items:,} items have no title")
  rating_T = np.full(len(item_T), np.nan, np.float32)
  return build(source, user_T, item_T, place_T, rating_T, items, min_interactions, notes)


def signature_amazon_sequences(source: str, path: str = "") -> dict[str, Any]:
  """What identifies the raw files that `read_amazon_sequences` would read, without reading them."""
  files = [file for file in _files(source, path) if file is not None]
  return {
    "folder": str(files[0].parent.resolve()),
    "files": [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files],
  }


# Where the data is.


def _files(source: str, path: str) -> tuple[Path, Path | None]:
  """The sequence file, and the item table or None."""
  named = os.environ.get("SIDREC_DATA_DIR")
  if path:
    folder, origin = Path(path).expanduser(), "the path given"
  elif named:
    folder, origin = Path(named).expanduser() / source, "SIDREC_DATA_DIR"
  else:
    raise FileNotFoundError(
      f"{source} is not shipped or downloaded: give the path of a folder with {SEQUENCES[source]}, "
      f"or put that folder at $SIDREC_DATA_DIR/{source}"
    )
  if not folder.is_dir():
    raise FileNotFoundError(f"{folder} ({origin}) is not a folder")
  sequences = _plain_or_gzip(folder / SEQUENCES[source])
  if sequences is None:
    name = SEQUENCES[source]
    raise FileNotFoundError(f"{folder} ({origin}) has no {name} or {name}.gz")
  return sequences, _plain_or_gzip(folder / _ITEMS)


def _plain_or_gzip(file: Path) -> Path | None:
  choices = file, file.with_name(f"{file.name}.gz")
  return next((choice for choice in choices if choice.is_file()), None)


# What the files say.


def parse_sequences(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Parses lines `user item item …`, plain or gzip.

  Returns:
    user_T, item_T and place_T (in the user's line, from 0), int64, in file order.

  Raises:
    ValueError: naming file, line number and content of the first malformed line: other than
      whole numbers, an item 0, no item, or a user who stands on an earlier line already.
  """
  line_of: dict[int, int] = {}
  items: list[np.ndarray] = []
  for number, line in enumerate(_lines(file), 1):
    fields = line.split()
    if len(fields) < 2:
      fault = f"{len(fields)} fields instead of `user item item …`"
    elif not all(map(_is_number, fields)):
      fault = "a field is not a whole number"
    elif int(fields[0]) in line_of:
      fault = f"user {int(fields[0])} stands on line {line_of[int(fields[0])]} already"
    else:
      items.append(np.array(fields[1:]).astype(np.int64))
      if items[-1].min() > 0:
        line_of[int(fields[0])] = number
        continue
      fault = "item ids count from 1, but one is 0"
    raise ValueError(f"{file}:{number}: {fault}: {_shown(line)}")
  lengths_U = np.array([len(item_S) for item_S in items])
  user_T = np.repeat(np.array(list(line_of), np.int64), lengths_U)
  place_T = np.arange(len(user_T)) - np.repeat(np.cumsum(lengths_U) - lengths_U, lengths_U)
  return user_T, np.concatenate(items), place_T


def parse_items(file: Path) -> dataset.Items:
  """Parses the item table, plain or gzip: tab-separated UTF-8 under a line of column names.

  Brands lose their HTML entities ('L&#39;Oreal'); the brand 'Unknown' counts as none.

  Raises:
    ValueError: naming file, line number and content of the first malformed line.
  """
  header, *rows = _lines(file)
  names = header.decode("utf-8", "replace").split("\t")
  lacking = [name for name in _COLUMNS if name not in names]
  if lacking:
    raise ValueError(f"{file}:1: no column {', '.join(lacking)}: {_shown(header)}")
  ids, titles, categories, texts = {}, [], [], []
  for number, line in enumerate(rows, 2):
    fields = line.split(b"\t")
    row = dict(zip(names, fields, strict=False))
    if len(fields) != len(names):
      fault = f"{len(fields)} fields instead of {len(names)}"
    elif not _is_number(row["item_id"]):
      fault = "the item id is not a whole number"
    elif int(row["item_id"]) in ids:
      fault = f"item {int(row['item_id'])} stands on line {ids[int(row['item_id'])]} already"
    elif (text := _decoded(row)) is None:
      fault = "not UTF-8"
    else:
      ids[int(row["item_id"])] = number
      titles.append(text["title"].strip())
      categories.append([name for name in text["categories"].split(" > ") if name])
      texts.append(free_text(html.unescape(text["brand"]).strip(), text["keywords"].strip()))
      continue
    raise ValueError(f"{file}:{number}: {fault}: {_shown(line)}")
  return item_table(np.array(list(ids), np.int64), titles, categories, {}, texts)


def free_text(brand: str, words: str) -> str:
  """'Brand: OPI. nail lacquer simmer and shimmer', or what there is of it."""
  return ". ".join(filter(None, ["" if brand in _NO_BRAND else f"Brand: {brand}", words]))


def _lines(file: Path) -> list[bytes]:
  data = file.read_bytes()
  if file.suffix == ".gz":
    try:
      data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
      raise ValueError(f"{file} is not a readable gzip file: {error}") from error
  return data.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")


def _decoded(row: dict[str, bytes]) -> dict[str, str] | None:
  try:
    return {name: value.decode("utf-8") for name, value in row.items()}
  except UnicodeDecodeError:
    return None


def _is_number(field: bytes) -> bool:
  return field.isdigit() and len(field) <= _MAX_DIGITS


def _shown(line: bytes) -> str:
  return repr(line[:200].decode("utf-8", "replace"))
