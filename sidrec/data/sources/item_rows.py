"""A table of items of any kind → what is known about each.

Rules, each with a note that counts what it met: rows without an id are dropped, and of several
rows with one id the first describes the item. A missing title or text is '', a missing number NaN.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sidrec.data.sources.rows import Rows, require_columns
from sidrec.data.sources.text_numbers import floats

Split = Callable[[str, Sequence[str]], list[list[str]]]  # column, its values → names in each
_TEXTS = ("id", "title", "categories", "text")  # roles; all others are numbers


class Described(NamedTuple):
  """One value per item that a table describes; ids are distinct, and as they are written."""

  ids: list[str]
  titles: list[str]
  categories: list[list[str]]
  numeric: dict[str, np.ndarray]  # name → float64 [len(ids)], NaN where unknown
  text: list[str]
  notes: tuple[str, ...]


NOTHING = Described([], [], [], {}, [], ())


def split_at(separator: str) -> Split:
  """Splits values into names, without the blanks around them; '' leaves a value whole."""

  def split(column: str, values: Sequence[str]) -> list[list[str]]:
    del column  # all are split alike
    parts = [value.split(separator) if separator else [value] for value in values]
    return [[name.strip() for name in names if name.strip()] for names in parts]

  return split


def read_items(rows: Rows, columns: Mapping[str, str | Sequence[str]], split: Split) -> Described:
  """Reads what is known about items.

  Args:
    rows: one item each.
    columns: role → column, '' for none: 'id', and perhaps 'title', 'categories' and 'text', of
      which the last two may be several columns; every further role, such as 'year', is the
      name of a numeric column.
    split: how to split the values of a column of categories.

  Raises:
    ValueError: if no column is named for the id, a column is not there, or a number is none
      (with file and line).
  """
  named = {role: _names(column) for role, column in columns.items()}
  named = {role: names for role, names in named.items() if names}
  if "id" not in named:
    raise ValueError(f"{rows.file}: no column is named for the id of an item")
  for role, names in named.items():
    if len(names) > 1 and role not in ("categories", "text"):
      raise ValueError(f"{rows.file}: {role!r} is one column, not {', '.join(names)}")
    for name in names:
      require_columns(rows, {role: name})
  wanted = list(dict.fromkeys(name for names in named.values() for name in names))
  values: dict[str, list[str]] = {name: [] for name in wanted}
  for block in rows.blocks(wanted):
    for name, column in zip(wanted, block, strict=True):
      values[name].extend(column)

  ids = values[named["id"][0]]
  first_of: dict[str, int] = {}
  for row, id_ in enumerate(ids):
    first_of.setdefault(id_, row)
  nameless = ids.count("")
  first_of.pop("", None)
  at = list(first_of.values())
  repeated = len(ids) - nameless - len(at)
  notes = []
  if nameless:
    notes.append(f"dropped {nameless:,} row{'' if nameless == 1 else 's'} of items without an id")
  if repeated:
    plural = "" if repeated == 1 else "s"
    notes.append(f"dropped {repeated:,} row{plural} of items that an earlier row describes")

  def picked(role: str) -> list[list[str]]:
    return [[values[name][row] for row in at] for name in named.get(role, [])]

  blank = [""] * len(at)
  split_columns = [
    split(name, column)
    for name, column in zip(named.get("categories", []), picked("categories"), strict=True)
  ]
  return Described(
    ids=list(first_of),
    titles=picked("title")[0] if "title" in named else blank,
    categories=[
      list(dict.fromkeys(name for column in split_columns for name in column[item]))
      for item in range(len(at))
    ],
    numeric={
      role: floats(values[names[0]], role, rows, 0)[at]
      for role, names in named.items()
      if role not in _TEXTS
    },
    text=[" ".join(filter(None, parts)) for parts in zip(*picked("text"), strict=True)] or blank,
    notes=tuple(notes),
  )


def _names(column: str | Sequence[str]) -> list[str]:
  return [name for name in ([column] if isinstance(column, str) else column) if name]
