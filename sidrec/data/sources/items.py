"""A table of items of any kind → what is known about each.

Rules, each with a note that counts what it met: rows without an id are dropped, and of several
rows with one id the first describes the item. A missing title or text is '', a missing number NaN.
Names in a column of categories are distinct. If the columns are levels, each keeps its place: a
level that is missing before others is ''.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import polars as pl
from etils import epath

from sidrec.data.sources import values
from sidrec.data.sources.build import ITEM_SCHEMA
from sidrec.data.sources.file_lines import named_faults
from sidrec.data.sources.rules import counted
from sidrec.data.sources.scan import Scan, require_columns
from sidrec.data.sources.shown import shown
from sidrec.data.sources.values import USUAL, ValueForm

Split = Callable[[str, pl.Series], pl.Series]  # column, its values → List(String), names in each
_TEXTS = ("id", "title", "categories", "text")  # roles; all others are numbers


class Described(NamedTuple):
  """What a table says about items; ids are distinct, text, and as they are written."""

  frame: pl.DataFrame  # as `build` takes it
  notes: tuple[str, ...]
  file: epath.Path | None  # None if there is no table


NOTHING = Described(pl.DataFrame(schema={**ITEM_SCHEMA, "item": pl.String}), (), None)


def split_at(separator: str) -> Split:
  """Splits values into names, without the blanks around them; '' leaves a value whole."""

  def split(column: str, texts: pl.Series) -> pl.Series:
    del column  # all are split alike
    text, name = pl.col("text"), pl.element()
    parts = text.str.split(separator) if separator else pl.concat_list(text)
    names = parts.list.eval(name.str.strip_chars()).list.eval(name.filter(name != ""))
    return texts.alias("text").to_frame().select(names.fill_null([])).to_series()

  return split


def read_items(
  scan: Scan,
  columns: Mapping[str, str | Sequence[str]],
  split: Split,
  form: ValueForm = USUAL,
  *,
  several: Literal["levels", "names"] = "names",
) -> Described:
  """Reads what is known about items.

  Args:
    scan: one item a row.
    columns: role → column, '' for none: 'id', and perhaps 'title', 'categories' and 'text', of
      which the last two may be several columns; every further role, such as 'year', is the
      name of a numeric column.
    split: how to split the values of a column of categories.
    form: how values are written.
    several: what several columns of categories are: the levels of a path, or names of any order.

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
  columns_of = named.get("categories", ())
  if several == "names" or len(lists) < 2:
    categories = _names(list(lists.values()), len(described))
  else:
    categories = _levels(list(lists.values()))
    long = (n for n, c in zip(columns_of[:-1], lists.values(), strict=False) if _has_several(c))
    notes += [
      f"some values of {shown(name)} are several categories, which moves those of the columns "
      "after it; name it last"
      for name in long
    ]
  texts = [f"text {k}" for k in range(len(named.get("text", ())))]
  given = pl.element().filter(pl.element() != "")
  no_text = pl.lit("")
  frame = described.with_columns(**lists).select(
    pl.col("id").alias("item"),
    (pl.col("title 0") if "title" in named else no_text).alias("title"),
    categories.alias("categories"),
    (pl.concat_list(texts).list.eval(given).list.join(" ") if texts else no_text).alias("text"),
    *(pl.col(f"{role} 0").alias(role) for role in named if role not in _TEXTS),
  )
  return Described(frame, tuple(notes), scan.file)


def _names(lists: Sequence[pl.Series], count: int) -> pl.Series:
  """The distinct names in all columns of each of `count` items."""
  if not lists:
    return pl.Series([[]] * count, dtype=pl.List(pl.String))
  return pl.select(pl.concat_list(*lists).list.unique(maintain_order=True)).to_series()


def _levels(lists: Sequence[pl.Series]) -> pl.Series:
  """The names in all columns, '' for a column without any before others."""
  unknown = pl.lit([""], pl.List(pl.String))
  filled = [pl.when(pl.lit(c).list.len() == 0).then(unknown).otherwise(pl.lit(c)) for c in lists]
  named = (pl.element() != "").reverse().cum_max().reverse()
  return pl.select(pl.concat_list(filled).list.eval(pl.element().filter(named))).to_series()


def _has_several(column: pl.Series) -> bool:
  return bool((column.list.len() > 1).any())


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
  numbers = {
    role: read_numbers(scan, rows, columns[0], role, form)
    for role, columns in named.items()
    if role not in _TEXTS
  }
  return rows.select(
    values.text_of(named["id"][0], rows.schema[named["id"][0]], form.missing).alias("id"),
    *(
      values.text_of(name, rows.schema[name]).alias(f"{role} {k}")
      for role in _TEXTS[1:]
      for k, name in enumerate(named.get(role, ()))
    ),
    *(column.alias(f"{role} 0") for role, column in numbers.items()),
  )


def read_numbers(
  scan: Scan, rows: pl.DataFrame, column: str, role: str, form: ValueForm = USUAL
) -> pl.Series:
  """A column of a table as numbers: Float64, null where one is missing.

  Args:
    scan: the table, for messages.
    rows: what was read of it, with 'row'.
    column: its name.
    role: what the numbers are, for messages.
    form: how values are written.

  Raises:
    ValueError: for the first value that is no number.
  """
  numbers = values.numbers(rows[column], form)
  if len(at := numbers.is_infinite().arg_true()):
    written, row = shown(str(rows[column][at[0]])), rows["row"][at[0]]
    raise ValueError(f"{scan.where(row)}: the {role} {written} is no number")
  return numbers
