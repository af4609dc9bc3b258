"""Tables of users and items from Polars, Pandas or anything that has columns by name."""

import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

ROLES = ("user", "item", "time", "rating", "action")


def is_frame(value: Any) -> bool:
  """Whether it has named columns."""
  return hasattr(value, "columns") and hasattr(value, "__getitem__") and hasattr(value, "shape")


def columns_of(frame: Any, columns: Mapping[str, str]) -> dict[str, str]:
  """The column of each role: as the run calls it, or as the role is called.

  Raises:
    ValueError: if there is none of users or of items, or none of times and one that may be it.
  """
  there = list(frame.columns)
  found = {}
  for role in ROLES:
    names = [name for name in (columns.get(role, role), role) if name in there]
    if names:
      found[role] = names[0]
    elif role in ("user", "item"):
      looked = " or ".join(dict.fromkeys(filter(None, (columns.get(role), role))))
      raise ValueError(
        f"the table has no column of {role}s; call it {looked}; there are: "
        f"{', '.join(map(str, there))[:200]}"
      )
  others = [name for name in there if name not in found.values()]
  if "time" not in found and others:
    wanted = " or ".join(dict.fromkeys(filter(None, (columns.get("time"), "time"))))
    raise ValueError(
      f"the table has no column {wanted}, but {', '.join(map(str, others))[:200]}; call the column "
      f"of times {wanted}, or leave the others out if the rows are in order, oldest first"
    )
  return found


def polars_frame(frame: Any) -> pl.DataFrame:
  """The same table in Polars; what Pandas writes for nothing, as NaN among text, is nothing."""
  if isinstance(frame, pl.DataFrame):
    return frame

  def column(name: Any) -> pl.Series:
    values = list(frame[name])
    if not all(isinstance(value, float) for value in values):
      values = [None if _is_nothing(value) else value for value in values]
    return pl.Series(str(name), values, strict=True)

  return pl.DataFrame([column(name) for name in frame.columns])


def _is_nothing(value: Any) -> bool:
  """Whether it is None, NaN, or what stands for them in the types of Pandas that may be empty."""
  if value is None or type(value).__name__ in ("NAType", "NaTType"):
    return True
  return isinstance(value, numbers.Real) and value != value


class FrameHistory(NamedTuple):
  """A user's rows of a table, oldest first."""

  user: Any
  items: list[Any]
  times: list[Any] | None  # seconds, where the table has times
  ratings: list[Any] | None
  actions: list[Any] | None = None


def histories_of_frame(frame: Any, columns: Mapping[str, str]) -> list[FrameHistory]:
  """Each user with their items, oldest first, in the order in which users first come.

  Of equal times, and without times, the row that comes first is older.

  Raises:
    ValueError: for a row without a user, an item or a time, or as `columns_of` does.
  """
  names = columns_of(frame, columns)
  table = polars_frame(frame).select(
    pl.col(names[role]).alias(role) for role in ROLES if role in names
  )
  for role in set(table.columns) - {"rating", "action"}:
    lacking = table[role].is_null()
    if table[role].dtype.is_float():
      lacking = lacking | table[role].is_nan()
    if lacking.any():
      raise ValueError(
        f"row {int(lacking.arg_true()[0])} of the table has no {role}; leave such rows out"
      )
  users = table["user"].unique(maintain_order=True).to_list()
  if "time" in table.columns:
    table = table.sort("time", maintain_order=True)
    if table["time"].dtype.is_temporal():
      table = table.with_columns(pl.col("time").dt.epoch("s"))
  parts = table.partition_by("user", maintain_order=True, as_dict=True)

  def column(part: pl.DataFrame, role: str) -> list[Any] | None:
    return part[role].to_list() if role in part.columns else None

  found = []
  for user in users:
    part = parts[(user,)]
    rest = (column(part, role) for role in ("time", "rating", "action"))
    found.append(FrameHistory(user, part["item"].to_list(), *rest))
  return found
