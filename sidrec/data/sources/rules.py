"""Rules that every log goes through, as Polars expressions: in memory, and in shares by user.

A log is a frame with one interaction a row, in file order: 'user' and 'item' (UInt32, numbers
that stand for ids and sort alike), 'time' (Int64, in ticks of any length), 'rating' (Float32,
NaN where there is none) and, where the log has actions, 'action' (Int16, -1 where unknown).

  * Exact duplicates (same user, item, time, rating and action) are one interaction, written twice.
  * Repeats (same user and item at different times) are real: people watch, buy and listen
    again. They stay unless repeats='first' keeps only the oldest, of each action.
  * Users with fewer than `min_interactions` are dropped.
  * A history is ordered by time; equal times keep file order.
  * The k-core leaves users and items with at least k interactions each.

All rules but the k-core look at one user at a time, so a part of the log that holds all
interactions of its users may go through them alone. The k-core needs the counts of items over
all parts (see `drop_rare`).
"""

from typing import NamedTuple

import numpy as np
import polars as pl

REPEATS = ("keep", "first")
_PAIR = pl.col("user").cast(pl.UInt64) * 2**32 + pl.col("item")


class Counts(NamedTuple):
  """What the rules met in a log; adds up over parts by user."""

  copies: int = 0  # exact duplicates
  later: int = 0  # later interactions with an item, where the first is kept
  short: int = 0  # users with too few interactions
  users: int = 0  # that are left
  interactions: int = 0  # that are left
  ties: int = 0  # interactions at the time of their user's previous one


def check_repeats(repeats: str) -> None:
  """Raises ValueError for another value than 'keep' or 'first'."""
  if repeats not in REPEATS:
    raise ValueError(f"repeats must be 'keep' or 'first', not {repeats!r}")


def check_min_interactions(min_interactions: int) -> None:
  """Raises ValueError for fewer than 3."""
  if min_interactions < 3:
    raise ValueError(
      f"min_interactions is {min_interactions}; it must be at least 3, for each user's last item "
      "tests, the last but one validates and the rest trains"
    )


def without_duplicates(log: pl.DataFrame) -> pl.DataFrame:
  """Keeps the first of interactions that agree in everything; a missing rating equals another."""
  # Only these can be duplicates, and most logs have few.
  at = log.select(_PAIR.is_duplicated()).to_series().arg_true()
  if not len(at):
    return log
  keep = np.ones(len(log), bool)
  first = pl.struct(_PAIR, "time", "rating", *actions_in(log)).is_first_distinct()
  keep[at.to_numpy()] = log[at].select(first).to_series().to_numpy()
  return log if keep.all() else log.filter(keep)


def actions_in(log: pl.DataFrame | pl.LazyFrame) -> list[str]:
  """The column of actions, if a log has one."""
  return [name for name in log.collect_schema().names() if name == "action"]


def first_of_pairs(log: pl.DataFrame) -> pl.DataFrame:
  """Keeps each user's earliest interaction with an item and action, of equal times the first."""
  kind, pair = actions_in(log), _PAIR.alias("pair")
  order = log.select(pair, "time", *kind).with_row_index().sort("time", maintain_order=True)
  first = pl.struct("pair", *kind) if kind else pl.col("pair")
  return log[order.filter(first.is_first_distinct())["index"].sort()]


def in_order(log: pl.DataFrame) -> pl.DataFrame:
  """Sorts by user and time; equal times keep file order."""
  return log.sort("user", "time", maintain_order=True)


def histories(
  log: pl.DataFrame, repeats: str, min_interactions: int, ticks: int = 1
) -> tuple[pl.DataFrame, Counts]:
  """Applies all rules of one user to a log, or to a part of it that has whole users.

  Args:
    log: as the module says.
    repeats: 'keep' or 'first'; '' where duplicates have been dropped before.
    min_interactions: users with fewer are dropped.
    ticks: of the times, in a second. Finer ticks still order; the result has seconds.

  Returns:
    The log that is left, by user and time in seconds, and what was met.
  """
  size = len(log)
  if repeats:
    log = without_duplicates(log)
  copies, size = size - len(log), len(log)
  if repeats == "first":
    log = first_of_pairs(log)
  later = size - len(log)
  lengths = log.group_by("user").len()
  long = lengths.filter(pl.col("len") >= min_interactions).select("user")
  if len(long) < len(lengths):
    log = log.join(long, on="user", how="semi", maintain_order="left")
  log = in_order(log)
  if ticks > 1:
    log = log.with_columns(pl.col("time") // ticks)
  return log, counts_of(log)._replace(copies=copies, later=later, short=len(lengths) - len(long))


def counts_of(log: pl.DataFrame) -> Counts:
  """The users, interactions and ties of a log that `in_order` has sorted."""
  same_user, same_time = (pl.col(name) == pl.col(name).shift() for name in ("user", "time"))
  users, ties = log.select(
    (~same_user).sum().alias("users"), (same_user & same_time).sum().alias("ties")
  ).row(0)
  return Counts(users=users + bool(len(log)), interactions=len(log), ties=ties)


def item_counts(log: pl.DataFrame) -> pl.DataFrame:
  """How often each item comes: 'item' and 'len'."""
  return log.group_by("item").len()


def drop_rare(log: pl.DataFrame, counts: pl.DataFrame, k: int) -> pl.DataFrame:
  """Drops items that come fewer than k times in all, then users with fewer than k interactions.

  Args:
    log: all interactions of its users.
    counts: `item_counts`, summed over all parts of the log.
    k: of the core.
  """
  rare = counts.filter(pl.col("len") < k)
  if len(rare):
    log = log.join(rare, on="item", how="anti", maintain_order="left")
  short = log.group_by("user").len().filter(pl.col("len") < k)
  return log.join(short, on="user", how="anti", maintain_order="left") if len(short) else log


def k_core(log: pl.DataFrame, k: int) -> pl.DataFrame:
  """The largest part of a log in which every user and item has k or more interactions.

  Users and items with fewer are dropped in turn until none is left to drop. Repeats count.
  """
  while len(left := drop_rare(log, item_counts(log), k)) < len(log):
    log = left
  return left


# What the rules say of themselves.


def duplicate_notes(copies: int, later: int, *, actions: bool = False) -> list[str]:
  """What was dropped: exact duplicates, and later interactions with an item, of equal actions."""
  same = "user, item, time, rating and action" if actions else "user, item, time and rating"
  notes = []
  if copies:
    notes.append(
      f"dropped {counted(copies, 'interaction')} that repeat{'s' if copies == 1 else ''} another "
      f"in {same}"
    )
  if later:
    notes.append(
      f"dropped {counted(later, 'interaction')} with an item that the user had met before"
      + (" in the same action" if actions else "")
    )
  return notes


def build_notes(
  counts: Counts, min_interactions: int, num_metadata: int, described: int, num_items: int
) -> list[str]:
  """What building a data set dropped or assumed.

  Args:
    counts: of the whole log.
    min_interactions: what a user must have.
    num_metadata: items that the metadata describes.
    described: how many of them are in the catalogue.
    num_items: of the catalogue.
  """
  notes = []
  unused, unknown = num_metadata - described, num_items - described
  if counts.short:
    notes.append(
      f"dropped {counted(counts.short, 'user')} with fewer than {min_interactions} interactions"
    )
  if unused:
    notes.append(
      f"{unused:,} of {counted(num_metadata, 'item')} have no interaction left and are not in "
      "the catalogue"
    )
  if unknown:
    notes.append(f"the metadata lacks {counted(unknown, 'item')} of the catalogue")
  return [*notes, tie_note(counts)]


def tie_note(counts: Counts) -> str:
  """How many interactions share a time with the one before."""
  return (
    f"{counts.ties:,} of {counted(counts.interactions, 'interaction')} share their user's previous "
    "timestamp; equal timestamps keep file order"
  )


def counted(number: int, noun: str) -> str:
  """'1 item', '2,000 items'."""
  return f"{number:,} {noun}{'' if number == 1 else 's'}"
