"""What sources say about users: a table of attributes, a row for each user of the data set.

Rows without an id are dropped, and of several rows with one id the first describes the user; a note
counts both. Users that the log lacks are left out, and those that the table lacks have nothing.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from etils import epath

from sidrec.data.dataset import TEXT, Dataset
from sidrec.data.sources import values
from sidrec.data.sources.build import as_array
from sidrec.data.sources.file_lines import named_faults
from sidrec.data.sources.items import read_numbers
from sidrec.data.sources.line_frames import read_lines, refuse, with_fields, with_number
from sidrec.data.sources.rules import counted
from sidrec.data.sources.scan import Scan, require_columns
from sidrec.data.sources.shown import shown
from sidrec.data.sources.values import USUAL, ValueForm


class DescribedUsers(NamedTuple):
  """What a table says about users."""

  frame: pl.DataFrame  # 'user' (distinct ids, as text) and attributes: String, or Float32
  file: epath.Path  # for messages
  notes: tuple[str, ...] = ()


def with_users(dataset: Dataset, described: DescribedUsers) -> Dataset:
  """The data set with what is known about its users."""
  columns, notes = users_among(dataset.histories.user_ids_U, described)
  return dataset._replace(users=columns, notes=(*dataset.notes, *notes))


def users_among(
  user_ids_U: np.ndarray, described: DescribedUsers
) -> tuple[dict[str, np.ndarray], list[str]]:
  """What a table says of these users, in their order, as `Dataset.users`; and notes."""
  users, file = described.frame, described.file
  ids_U = pl.Series(user_ids_U.astype(TEXT).tolist(), dtype=pl.String)
  known = int(ids_U.is_in(users["user"].implode()).sum())
  if not known:
    like = f": its ids look like {shown(users['user'][0])}" if len(users) else ""
    log = f", those of the log like {shown(ids_U[0])}" if len(users) else ""
    return {}, [*described.notes, f"{file.name} describes no user of the log{like}{log}"]
  rows = ids_U.alias("user").to_frame().join(users, on="user", how="left", maintain_order="left")
  columns = {
    name: as_array(rows[name].fill_null("" if users.schema[name] == pl.String else float("nan")))
    for name in users.columns
    if name != "user"
  }
  unknown = len(ids_U) - known
  lacking = [f"{file.name} lacks {counted(unknown, 'user')} of the data set"] if unknown else []
  return columns, [*described.notes, *lacking]


def read_users(
  scan: Scan, id_: str, texts: Sequence[str], numbers: Sequence[str], form: ValueForm = USUAL
) -> DescribedUsers:
  """Reads what is known about users.

  Args:
    scan: one user a row.
    id_: the column of ids.
    texts: columns that become text.
    numbers: columns that become numbers.
    form: how values are written.

  Raises:
    ValueError: if a column is not there, or a number is none (with file and line).
  """
  for name in (id_, *texts, *numbers):
    require_columns(scan, {"user" if name == id_ else "attribute of users": name})
  with named_faults(scan.file):
    rows = scan.frame(list(dict.fromkeys([id_, *texts, *numbers]))).collect(engine="streaming")
  if len(faulty := rows.filter("faulty")):
    scan.explain(faulty["row"][0])
  table = rows.select(
    values.text_of(id_, rows.schema[id_], form.missing).alias("user"),
    *(values.text_of(name, rows.schema[name], form.missing).alias(f"a {name}") for name in texts),
    *(
      read_numbers(scan, rows, name, name, form).cast(pl.Float32).alias(f"a {name}")
      for name in numbers
    ),
  )
  named = table.drop_nulls("user")
  kept = named.unique("user", keep="first", maintain_order=True)
  notes, file = scan.notes(), scan.file
  if nameless := len(table) - len(named):
    notes.append(f"dropped {counted(nameless, 'row')} of users without an id")
  if repeated := len(named) - len(kept):
    notes.append(f"dropped {counted(repeated, 'row')} of users that an earlier row describes")
  attributes = {f"a {name}": name for name in (*texts, *numbers)}
  frame = kept.select("user", *(pl.col(at).alias(name) for at, name in attributes.items()))
  return DescribedUsers(frame, file, tuple(notes))


def columns_of_users(
  columns: Mapping[str, str | Sequence[str]],
) -> tuple[str, list[str], list[str]]:
  """The columns of ids, of text and of numbers that `data.table.user_columns` names.

  Raises:
    ValueError: for another role, no id, a name that is given twice, or no attribute.
  """
  roles = ("id", "categories", "numbers")
  if strange := [role for role in columns if role not in roles]:
    raise ValueError(
      f"data.table.user_columns has {strange[0]!r}; there are {', '.join(roles)}, and the last two "
      "are lists of columns"
    )
  named = {
    role: list(filter(None, [names] if isinstance(names, str) else names))
    for role, names in columns.items()
  }
  ids, texts, numbers = (named.get(role, []) for role in roles)
  if len(ids) != 1:
    raise ValueError("data.table.user_columns.id names no column of users' ids, or several")
  every = [*ids, *texts, *numbers]
  if twice := [name for name in every if every.count(name) > 1]:
    raise ValueError(f"data.table.user_columns names the column {twice[0]!r} twice")
  if "user" in every[1:]:
    raise ValueError(
      "data.table.user_columns: no attribute can be called 'user'; rename the column"
    )
  if not texts and not numbers:
    raise ValueError(
      "data.table.users_path names a table of users, and no attribute is named; give columns in "
      "data.table.user_columns.categories or numbers"
    )
  return ids[0], texts, numbers


def parse_users(file: epath.Path, separator: str, names: tuple[str, ...]) -> DescribedUsers:
  """Parses a MovieLens file of users, latin-1 lines of their id and attributes.

  Args:
    file: its path; may be compressed.
    separator: between fields.
    names: of the fields, the user's id first and 'age', a number, among them.

  Raises:
    ValueError: naming file, line number and content of the first malformed line.
  """
  rows = with_number(with_fields(read_lines(file, "latin-1"), separator, names), names[0])
  faults = {
    f"{{count}} fields instead of {separator.join(names)}": pl.col("count") != len(names),
    "the user is not a whole number": ~pl.col(names[0]).str.contains("^[0-9]{1,16}$"),
    "user {whole} stands on line {first} already": pl.col("number") != pl.col("first"),
    "the age is not a whole number": ~pl.col("age").str.contains("^[0-9]{1,3}$"),
  }
  refuse(file, rows, faults)
  frame = rows.select(
    pl.col("whole").cast(pl.String).alias("user"),
    *(pl.col(name).cast(pl.Float32) if name == "age" else name for name in names[1:]),
  )
  return DescribedUsers(frame, file)
