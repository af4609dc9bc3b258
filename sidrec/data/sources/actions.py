"""Actions of a log, such as view, cart and buy: their names, and numbers that stand for them."""

from collections.abc import Iterable, Sequence

import polars as pl

_MOST = 1000  # different actions; more are no kinds of interactions


def names_in(log: pl.DataFrame) -> tuple[str, ...]:
  """The distinct actions of a log, sorted, or those of an Enum; none without such a column.

  Raises:
    ValueError: if the column is empty, or has too many different values.
  """
  if "action" not in log.columns:
    return ()
  if isinstance(log.schema["action"], pl.Enum):
    return tuple(log.schema["action"].categories)
  return checked(log["action"].cast(pl.String).unique())


def checked(values: Iterable[str | None]) -> tuple[str, ...]:
  """Distinct values of a column of actions, sorted, without what is missing; raises as above."""
  names = sorted({name for name in values if name})
  if not names:
    raise ValueError("the column of actions is empty; leave data.table.columns.action out")
  if len(names) > _MOST:
    raise ValueError(
      f"the column of actions has {len(names):,} different values, such as {names[0]!r:.40}; name "
      f"one of kinds of interactions, at most {_MOST:,}"
    )
  return tuple(names)


def numbered(names: Sequence[str]) -> pl.Expr:
  """The column 'action' as rows of these names: Int16, -1 where it is missing."""
  return (
    pl.col("action")
    .cast(pl.String)
    .replace_strict(names, range(len(names)), default=-1, return_dtype=pl.Int16)
  )
