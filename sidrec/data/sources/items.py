"""A table of items of any kind → what is known about each.

Rules, each with a note that counts what it met: rows without an id are dropped, and of several
rows with one id the first describes the item. A missing title or text is '', a missing number NaN.
Categories keep their places: a name that is missing before others is ''. Several columns of
categories are levels, each a place; only the last of them can hold several names without moving
those after it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sidrec.data.sources import values
from sidrec.data.sources.build import ITEM_SCHEMA
from sidrec.data.sources.file_lines import named_faults
from sidrec.data.sources.rules import counted
from sidrec.data.sources.scan import Scan, require_columns
from sidrec.data.sources.shown import shown
from sidrec.data.sources.values import ValueForm

Split = Callable[[str, pl.Series], pl.Series]  # column, its values → List(String), names in each
_UNKNOWN = pl.lit([""], pl.List(pl.String))  # a level without a name
_TEXTS = ("id", "title", "categories", "text")  # roles; all others are numbers


class Described(NamedTuple):
  """What a table says about items; ids are distinct, text, and as they are written."""

  frame: pl.DataFrame  # as `build` takes it
  notes: tuple[str, ...]
  file: Path | None  # None if there is no table


NOTHING = Described(pl.DataFrame(schema={**ITEM_SCHEMA, "item": pl.String}), (), None)


def split_at(separator: str) -> Split:
  """Splits values into names, without the blanks around them; '' leaves a value whole."""

  def split(column: str, texts: pl.Series) -> pl.Series:
    del column  # all are split alike
    text, name = pl.col("text"), pl.element()
    parts = text.str.split(separator) if separator else pl.concat_list(text)
    names = without_end(parts.list.eval(name.str.strip_chars()))
    return texts.alias("text").to_frame().select(names.fill_null([])).to_series()

  return split


def without_end(names: pl.Expr) -> pl.Expr:
  """Lists without the '' at their ends."""
  named = pl.element() != ""
  return names.list.eval(pl.element().filter(named.reverse().cum_max().reverse()))


def read_items(
  scan: Scan,
  columns: Mapping[str, str | Sequence[str]],
  split: Split,
  form: ValueForm = ValueForm(),
) -> Described:
  """Reads what is known about items.

  Args:
    scan: one item a row.
    columns: role → column, '' for none: 'id', and perhaps 'title', 'categories' and 'text', of
      which the last two may be several columns; every further role, such as 'year', is the
      name of a numeric column.
    split: how to split the values of a column of categories.
    form: how values are written.

  Raises:
    ValueError: if no column is named for the id, a column is not there, or a number is none
      (with file and line).
  """
  named = _columns(scan, columns)
  with named_faults(scan.file):
    rows = _rows(scan, named, form)
    notes = scan.notes()
  size = len(rows)
  described = rows.drop_nulls("id")
  nameless, size = size - len(described), len(described)
  described = described.unique("id", keep="first", maintain_order=True)
  if nameless:
    notes.append(f"dropped {counted(nameless, 'row')} of items without an id")
  if repeated := size - len(described):
    notes.append(f"dropped {counted(repeated, 'row')} of items that an earlier row describes")
  lists = {
    f"categories {k}": split(name, described[f"categories {k}"].fill_null(""))
    for k, name in enumerate(named.get("categories", ()))
  }
  levels = [pl.when(pl.col(k).list.len() == 0).then(_UNKNOWN).otherwise(pl.col(k)) for k in lists]
  if long := [name for name, k in zip(named.get("categories", ())[:-1], lists, strict=False)
              if (lists[k].list.len() > 1).any()]:
    notes.append(
      f"several categories in one {shown(long[0])} move those of the columns after it; name it last"
    )
  texts = [f"text {k}" for k in range(len(named.get("text", ())))]
  given = pl.element().filter(pl.element() != "")
  no_names, no_text = pl.lit([], pl.List(pl.String)), pl.lit("")
  frame = described.with_columns(**lists).select(
    pl.col("id").alias("item"),
    (pl.col("title 0") if "title" in named else no_text).alias("title"),
    (without_end(pl.concat_list(levels)) if levels else no_names).alias("categories"),
    (pl.concat_list(texts).list.eval(given).list.join(" ") if texts else no_text).alias("text"),
    *(pl.col(f"{role} 0").alias(role) for role in named if role not in _TEXTS),
  )
  return Described(frame, tuple(notes), scan.file)


def _columns(scan: Scan, columns: Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
  """Role → columns, those that there are."""
  named = {role: [c] if isinstance(c, str) else list(c) for role, c in columns.items()}
  named = {role: list(filter(None, names)) for role, names in named.items()}
  named = {role: names for role, names in named.items() if names}
  if "item" in named:
    raise ValueError(f"{scan.file}: no role is called 'item'; that of an item's id is 'id'")
  if "id" not in named:
    raise ValueError(f"{scan.file}: no column is named for the id of an item")
  for role, names in named.items():
    if len(names) > 1 and role not in ("categories", "text"):
      raise ValueError(f"{scan.file}: {role!r} is one column, not {', '.join(names)}")
    for name in names:
      require_columns(scan, {role: name})
  return named


def _rows(scan: Scan, named: Mapping[str, Sequence[str]], form: ValueForm) -> pl.DataFrame:
  """'id', and '<role> <number>' for each column of each other role: text, or Float64."""
  names = list(dict.fromkeys(name for names in named.values() for name in names))
  rows = scan.frame(names).collect(engine="streaming")
  if len(faulty := rows.filter("faulty")):
    scan.explain(faulty["row"][0])
  numbers = {r: values.numbers(rows[n[0]], form) for r, n in named.items() if r not in _TEXTS}
  for role, column in numbers.items():
    if len(at := column.is_infinite().arg_true()):
      written, row = shown(str(rows[named[role][0]][at[0]])), rows["row"][at[0]]
      raise ValueError(f"{scan.where(row)}: the {role} {written} is no number")
  return rows.select(
    values.text_of(named["id"][0], rows.schema[named["id"][0]], form.missing).alias("id"),
    *(
      values.text_of(name, rows.schema[name]).alias(f"{role} {k}")
      for role in _TEXTS[1:]
      for k, name in enumerate(named.get(role, ()))
    ),
    *(column.alias(f"{role} 0") for role, column in numbers.items()),
  )
