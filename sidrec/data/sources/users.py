"""What sources say about users: a table of attributes, a row for each user of the data set."""

import polars as pl
from etils import epath

from sidrec.data.dataset import TEXT, Dataset
from sidrec.data.sources.build import as_array
from sidrec.data.sources.line_frames import read_lines, refuse, with_fields, with_number
from sidrec.data.sources.rules import counted
from sidrec.data.sources.shown import shown


def with_users(dataset: Dataset, users: pl.DataFrame, file: epath.Path) -> Dataset:
  """The data set with what is known about its users.

  Args:
    dataset: what a reader built.
    users: 'user' (distinct ids, as text) and attributes: String, or Float32.
    file: the table, for messages.
  """
  ids_U = pl.Series(dataset.histories.user_ids_U.astype(TEXT).tolist(), dtype=pl.String)
  known = int(ids_U.is_in(users["user"].implode()).sum())
  notes = dataset.notes
  if not known:
    like = f": its ids look like {shown(users['user'][0])}" if len(users) else ""
    log = f", those of the log like {shown(ids_U[0])}" if len(users) else ""
    return dataset._replace(notes=(*notes, f"{file.name} describes no user of the log{like}{log}"))
  rows = ids_U.alias("user").to_frame().join(users, on="user", how="left", maintain_order="left")
  columns = {
    name: as_array(rows[name].fill_null("" if users.schema[name] == pl.String else float("nan")))
    for name in users.columns
    if name != "user"
  }
  if unknown := len(ids_U) - known:
    notes = (*notes, f"{file.name} lacks {counted(unknown, 'user')} of the data set")
  return dataset._replace(users=columns, notes=notes)


def parse_users(file: epath.Path, separator: str, names: tuple[str, ...]) -> pl.DataFrame:
  """Parses a MovieLens file of users, latin-1 lines of their id and attributes.

  Args:
    file: its path; may be compressed.
    separator: between fields.
    names: of the fields, the user's id first and 'age', a number, among them.

  Returns:
    'user' and the other fields, as `with_users` takes them.

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
  return rows.select(
    pl.col("whole").cast(pl.String).alias("user"),
    *(pl.col(name).cast(pl.Float32) if name == "age" else name for name in names[1:]),
  )
