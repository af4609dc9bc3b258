"""RecBole's atomic files: `<name>.inter`, and in the same folder `<name>.item` and `<name>.user`.

Tab-separated text, UTF-8, without quoting, plain or compressed (.gz). The first line names the
columns and their types: `user_id:token`, `title:token_seq`, `price:float`, `vector:float_seq`.
See https://recbole.io/docs/user_guide/data/atomic_files.html.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from etils import epath

from sidrec.core.content import stamps
from sidrec.core.paths import as_path, files_in
from sidrec.data import dataset
from sidrec.data.sources import rules
from sidrec.data.sources.items import NOTHING, Described, read_items, split_at
from sidrec.data.sources.log import read_data, scan_log
from sidrec.data.sources.quoted_lines import TextForm
from sidrec.data.sources.scan import Scan, separated
from sidrec.data.sources.shown import shown
from sidrec.data.sources.users import DescribedUsers, read_users, with_users

COLUMNS = {"user": "user_id", "item": "item_id", "time": "timestamp", "rating": "rating"}
# Columns of type token that say how a user met an item.
_ACTIONS = ("action", "action_type", "behavior", "behavior_type", "event", "event_type")
_TYPES = ("token", "token_seq", "float", "float_seq")
# What the names of columns of the .item file say they are.
_TITLE = re.compile(r"title|^name$|(item|product|business|movie|artist|book)_?name")
_CATEGORIES = re.compile(r"categor|genre|class|tags?$|brand|type$")
_TEXT = re.compile(r"text|description|summary|abstract|overview")
_YEAR = re.compile(r"(^|_)year$")
_QUOTED = r"""(?:'[^']*'|"[^"]*")"""
_QUOTED_LIST = rf"^\[?{_QUOTED}(?:, ?{_QUOTED})*\]?$"


def read_atomic(
  path: str,
  min_interactions: int = 3,
  *,
  columns: Mapping[str, str] = COLUMNS,
  repeats: str = "keep",
) -> dataset.Dataset:
  """Reads atomic files.

  What is in the files is read by the rules of `log` and `items`; each thing that
  was dropped or assumed is counted in a note of the data set. Of the .item file:
    * a token or token_seq column whose name speaks of a title (or is 'name') is the title;
    * such columns whose names speak of categories (category, genre, class, tag, brand, type)
      are the categories. A value of type token is one category. A token_seq column is split
      at ', ' if any of its values has one, else at '|' likewise, else at blanks; a value that
      is a list of quoted names, such as 'Shoes', "Men's", is those names;
    * such columns whose names speak of text (description, text, summary …) are the free text;
    * a float column is a number. A column called year or …_year, float or token, is the year,
      missing where a token is no whole number;
    * all other columns are not used, which a note says.
  Of the .user file, token and token_seq columns become text and float columns numbers in the data
  set's `users`; float_seq columns are not used.

  Args:
    path: an .inter file, or a folder with one.
    min_interactions: users with fewer are dropped; at least 3.
    columns: role → column of the .inter file, without its type: 'user', 'item', 'time', 'rating'
      and 'action'. If the file has no such time, the order of the file stands for time. Without a
      name for the action, it is a token column called action, behavior or event, or one of these
      with _type, which a note says.
    repeats: 'keep' keeps every interaction with an item, 'first' the first of a user with an item.

  Raises:
    FileNotFoundError: if there is no such file or folder, or no .inter file in it.
    ValueError: if the folder has several .inter files, and in one sentence with file and line
      for what cannot be read.
  """
  rules.check_repeats(repeats)
  inter, item, user = find_files(path)
  scan, types = _typed_scan(inter)
  optional = {r: c for r, c in columns.items() if r in ("user", "item") or c in types}
  kinds = [name for name in _ACTIONS if types.get(name) == "token" and "action" not in columns]
  optional |= {"action": kinds[0]} if kinds else {}
  log = scan_log(scan, optional)
  described = _described(item) if item else NOTHING
  name = inter.name.split(".inter")[0]
  data = read_data(name, [log], described, min_interactions, repeats)
  if kinds:
    names = ", ".join(data.histories.actions or ())
    note = f"actions are those of the column {kinds[0]!r}: {names}"
    data = data._replace(notes=(*data.notes, note))
  return with_users(data, _users(user)) if user else data


def signature_atomic(path: str, **settings: Any) -> dict[str, Any]:
  """What identifies the files that `read_atomic` would read, without reading them."""
  del settings  # those of `read_atomic`; they do not matter
  files = [file for file in find_files(path) if file]
  return {"files": stamps(files)}


def find_files(path: str) -> tuple[epath.Path, epath.Path | None, epath.Path | None]:
  """The .inter file and, if they are there, the .item and .user file of the same name.

  Each may end in .gz.

  Raises:
    FileNotFoundError: if there is no such file or folder, or no .inter file in it.
    ValueError: if the folder has several .inter files, or no path is given.
  """
  if not path:
    raise ValueError("atomic files need a path: an .inter file, or the folder that holds it")
  place = as_path(path)
  if place.is_dir():
    found = [file for file in files_in(place) if file.name.endswith((".inter", ".inter.gz"))]
    if not found:
      raise FileNotFoundError(f"{place} has no .inter file")
    if len(found) > 1:
      raise ValueError(f"{place} has several .inter files; name one: {', '.join(map(str, found))}")
    place = found[0]
  elif not place.is_file():
    raise FileNotFoundError(f"there is no file or folder {place}")
  if not re.search(r"\.inter(\.gz)?$", place.name):
    raise ValueError(f"{place} is no atomic file of interactions: its name must end in .inter")
  name = place.name.rpartition(".inter")[0]

  def other(kind: str) -> epath.Path | None:
    files = (place.with_name(f"{name}.{kind}{end}") for end in ("", ".gz"))
    return next((file for file in files if file.is_file()), None)

  return place, other("item"), other("user")


def _typed_scan(file: epath.Path) -> tuple[Scan, dict[str, str]]:
  """A file with bare column names, and name → type."""
  scan = separated(file, TextForm("\t", "none"))
  types = {}
  for column in scan.names:
    name, _, kind = column.rpartition(":")
    if kind not in _TYPES or not name:
      raise ValueError(
        f"{file}:1: the column {shown(column)} does not say its type; write name:type, separated "
        f"by tabs, with a type of {', '.join(_TYPES)}"
      )
    if name in types:
      raise ValueError(f"{file}:1: two columns are called {name!r}; rename one")
    types[name] = kind

  def frame(names: Sequence[str]) -> pl.LazyFrame:
    full = {f"{name}:{types[name]}": name for name in names}
    return scan.frame(list(full)).rename(full)

  return scan._replace(names=list(types), frame=frame), types


def _described(file: epath.Path) -> Described:
  scan, types = _typed_scan(file)
  columns, unused = _roles(types)
  year = columns.get("year", "")
  if types.get(year) == "token":
    scan = _only_whole_numbers(scan, year)
  described = read_items(scan, columns, functools.partial(_split, types))
  notes = list(described.notes)
  if year and (missing := described.frame["year"].null_count()):
    notes.append(f"{missing:,} of {len(described.frame):,} items of {file.name} have no {year}")
  if unused:
    notes.append(f"columns of {file.name} that are not used: {', '.join(unused)}")
  return described._replace(notes=tuple(notes))


def _users(file: epath.Path) -> DescribedUsers:
  """What a .user file says; of several rows of a user the first."""
  scan, types = _typed_scan(file)
  id_ = COLUMNS["user"]
  of = {n: kind for n, kind in types.items() if n != id_ and kind != "float_seq"}
  texts = [name for name, kind in of.items() if kind != "float"]
  return read_users(scan, id_, texts, [name for name, kind in of.items() if kind == "float"])


def _roles(types: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
  """Role → column or columns of an .item file, and the columns that have none."""
  id_column = COLUMNS["item"]
  columns: dict[str, Any] = {"id": id_column, "categories": [], "text": []}
  unused = []
  for name, kind in types.items():
    low = name.lower()
    is_year = kind in ("float", "token") and _YEAR.search(low) and "year" not in columns
    if name == id_column:
      continue
    if is_year:
      columns["year"] = name
    elif kind == "float" and name not in ("id", "item", "title", "categories", "text"):
      columns[name] = name
    elif kind in ("float", "float_seq"):
      unused.append(name)
    elif _TITLE.search(low) and "title" not in columns:
      columns["title"] = name
    elif _CATEGORIES.search(low):
      columns["categories"].append(name)
    elif _TEXT.search(low):
      columns["text"].append(name)
    else:
      unused.append(name)
  return columns, unused


def _only_whole_numbers(scan: Scan, column: str) -> Scan:
  """The table, with nothing in a column where it is no whole number."""
  whole = pl.when(pl.col(column).str.contains(r"^\p{Nd}+$")).then(pl.col(column))

  def frame(names: Sequence[str]) -> pl.LazyFrame:
    return scan.frame(names).with_columns(whole.alias(column)).select("row", "faulty", *names)

  return scan._replace(frame=frame)


def _split(types: Mapping[str, str], column: str, texts: pl.Series) -> pl.Series:
  """The names in each value of a column of categories."""
  if types[column] != "token_seq":
    return split_at("")(column, texts)
  found = (s for s in (", ", "|") if texts.str.contains(s, literal=True).any())
  separator = next(found, " ")
  is_list = texts.str.contains(_QUOTED_LIST)
  names = texts.str.extract_all(_QUOTED).list.eval(pl.element().str.head(-1).str.slice(1))
  return names.zip_with(is_list, split_at(separator)(column, texts))
