"""Histories as LC-Rec, LETTER and MiniOneRec exchange them: two files to a `Dataset`.

  NAME.inter.json  {"0": [0, 5, 3], …}: the numbers of each user's items, oldest first
  NAME.item.json   {"0": {"title": …, "description": …, "brand": …, "categories": "a,b"}, …};
                   in the same folder; may be absent, and so may each of the four

Format: github.com/zhengbw0324/LC-Rec, data_process/amazon18_data_process.py.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl
from etils import epath

from sidrec.core.content import stamps
from sidrec.core.paths import as_path, files_in
from sidrec.core.readers import parse_json
from sidrec.data import dataset
from sidrec.data.sources.amazon import free_text
from sidrec.data.sources.build import NO_ITEMS, build
from sidrec.data.sources.shown import listed, shown

INTERACTIONS, ITEMS = ".inter.json", ".item.json"
_LOG = ("user", "item", "time")
_MOST_DIGITS = 18  # any such number fits int64


def read_lcrec(path: str, min_interactions: int = 3) -> dataset.Dataset:
  """Reads the histories, and what there is about items.

  A time is an interaction's place in its user's history, from 0, so times of different users do not
  compare; ratings are NaN. Categories are split at commas.

  Args:
    path: the .inter.json file, or the folder of one.
    min_interactions: users with fewer are dropped.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: for a malformed file, naming the user or item, or a folder with several.
  """
  file, item_file = _files(path)
  users, items, times = [], [], []
  for user, sequence in _objects(file, "user"):
    if not isinstance(sequence, list) or not all(map(_is_number, sequence)):
      raise ValueError(f"{file}: user {user} has {shown(sequence)}, not a list of item numbers")
    users += [user] * len(sequence)
    items += sequence
    times += range(len(sequence))
  log = pl.DataFrame({"user": users, "item": items, "time": times}, dict.fromkeys(_LOG, pl.Int64))
  notes = [
    f"{dataset.NO_TIMES}: a time is the interaction's place in its user's history",
    "the source has no ratings",
  ]
  described = NO_ITEMS
  if item_file.is_file():
    described = _items(item_file)
  else:
    notes.append(f"there is no {item_file.name}: nothing is known of the items")
  return build(file.name.removesuffix(INTERACTIONS), log, described, min_interactions, notes)


def signature_lcrec(path: str) -> dict[str, Any]:
  """What identifies the files that `read_lcrec` would read, without reading them."""
  return {"files": stamps([file for file in _files(path) if file.is_file()])}


def _files(path: str) -> tuple[epath.Path, epath.Path]:
  """The interactions, and where the items are if there are any."""
  if not path:
    raise FileNotFoundError(f"give the path of a {INTERACTIONS} file, or of its folder")
  file = as_path(path)
  if file.is_dir():
    found = [file for file in files_in(file) if file.name.endswith(INTERACTIONS)]
    if not found:
      raise FileNotFoundError(f"{path} has no *{INTERACTIONS}")
    if len(found) > 1:
      names = listed(file.name for file in found)
      raise ValueError(f"{path} has several files that may be meant; name one: {names}")
    file = found[0]
  if not file.is_file():
    raise FileNotFoundError(f"there is no file {file}")
  if not file.name.endswith(INTERACTIONS):
    raise ValueError(f"{file}: the name has to end in {INTERACTIONS}")
  return file, file.with_name(file.name.removesuffix(INTERACTIONS) + ITEMS)


def _items(file: epath.Path) -> pl.DataFrame:
  """item (Int64), title, categories and text, as `build.build` takes them."""
  rows = []
  for item, described in _objects(file, "item"):
    if not isinstance(described, dict):
      raise ValueError(f"{file}: item {item} has {shown(described)}, not an object such as a title")
    title, words, brand, categories = (
      _text(file, item, described, name) for name in ("title", "description", "brand", "categories")
    )
    names = [name.strip() for name in categories.split(",") if name.strip()]
    rows.append((item, title, names, free_text(brand, words)))
  schema = {"item": pl.Int64, "title": pl.String, "categories": pl.List(pl.String)}
  return pl.DataFrame(rows, {**schema, "text": pl.String}, orient="row")


def _text(file: epath.Path, item: int, described: Mapping[str, Any], name: str) -> str:
  value = described.get(name) or ""
  if not isinstance(value, str):
    raise ValueError(f"{file}: the {name} of item {item} is {shown(value)}, not text")
  return value.strip()


def _objects(file: epath.Path, what: str) -> list[tuple[int, Any]]:
  """The entries of a file's object, whose names are numbers."""

  def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
      names = [name for name, _ in pairs]
      twice = next(name for name in names if names.count(name) > 1)
      raise ValueError(f"the name {shown(twice)} stands twice; keep one")
    return dict(pairs)

  try:
    content = parse_json(file.read_bytes(), once)
  except ValueError as error:
    raise ValueError(f"{file}: {error}") from None
  if not isinstance(content, dict) or not content:
    raise ValueError(f'{file}: not a JSON object of {what}s, as {{"0": …}}')
  for name in content:
    if not (name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS):
      raise ValueError(f"{file}: the {what} {shown(name)} is no whole number")
  if len(set(map(int, content))) != len(content):
    raise ValueError(f"{file}: a {what} stands twice, with zeros in front")
  return [(int(name), value) for name, value in content.items()]


def _is_number(value: Any) -> bool:
  return type(value) is int and 0 <= value < 10**_MOST_DIGITS
