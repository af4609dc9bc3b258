"""The steps from tables of interactions to shards, on frames that hold a part of the log.

`local` runs them one part after another on this machine, `beam_graph` on a cluster. The rules
are those of `sources.rules`; what is here splits the log into shares of whole users, and numbers
ids in their order: 'user' and 'item' become UInt32 once the whole log is known.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from sidrec.data import shards
from sidrec.data.dataset import Histories
from sidrec.data.sources import rules
from sidrec.data.sources.actions import numbered
from sidrec.data.sources.build import as_array
from sidrec.data.sources.items import Described
from sidrec.data.sources.log import TICKS, LogScan, Met, named_rows, type_of, with_times
from sidrec.data.sources.users import DescribedUsers

_SHARE_ROWS = 1 << 22


class RawLog(NamedTuple):
  """A log in tables, not read yet, and what is known about its items."""

  name: str
  logs: Sequence[LogScan]  # of its files, in their order
  described: Described
  repeats: str  # 'keep' or 'first'
  users: DescribedUsers | None = None  # None where nothing is known of users


class Plan(NamedTuple):
  """What the rules need to know of the whole log."""

  met: Met
  users: pl.DataFrame  # 'user' (String), 'id' (Int64 or Enum), 'number', 'share'; in order
  # 'item', 'id', 'number', 'logged' (Boolean: not only in the metadata); in order
  items: pl.DataFrame
  actions: tuple[str, ...] = ()  # names, where the log has actions

  @property
  def num_shares(self) -> int:
    """How many shares of users there are."""
    return self.users["share"].n_unique()


class Result(NamedTuple):
  """What the shards hold, and what was met on the way."""

  plan: Plan
  before: rules.Counts  # of histories, before the k-core
  after: rules.Counts  # after it
  first_items: np.ndarray  # numbers of items with an interaction before the k-core
  item_counts: np.ndarray  # int64, interactions left of each number of items
  user_numbers: np.ndarray  # of the users left, in order
  lengths_U: np.ndarray  # int64 [U], their interactions
  shards: Sequence[shards.Shard]


def plan(
  met: Met,
  users: pl.DataFrame,
  items: pl.Series,
  described: Described,
  actions: tuple[str, ...] = (),
) -> Plan:
  """Orders the ids of a whole log, and divides its users into shares.

  Args:
    met: summed over all rows.
    users: 'user' (distinct, String) and 'len', their rows.
    items: distinct ids, String.
    described: whose ids count for the type of item ids.
    actions: names, where the log has actions.
  """
  logged, items = items, pl.concat([items, described.frame["item"]]).unique()
  ordered = (
    users.with_columns(id=pl.col("user").cast(type_of(users["user"])))
    .sort("id")
    .with_row_index("number")
    .with_columns(share=(pl.col("len").cum_sum() // _SHARE_ROWS).rle_id())
  )
  numbered = pl.DataFrame(
    {"item": items, "id": items.cast(type_of(items)), "logged": items.is_in(logged.implode())}
  ).sort("id")
  return Plan(met, ordered.drop("len"), numbered.with_row_index("number"), actions)


def in_numbers(rows: pl.LazyFrame, whole: Plan) -> pl.LazyFrame:
  """The rows that stay, with numbers for ids: 'share', 'place' and the columns of a log."""
  users, items = whole.users.lazy().drop("id"), whole.items.lazy().drop("id", "logged")
  return (
    with_times(named_rows(rows), untimed=not whole.met.timed)
    .join(users.rename({"number": "user number"}), on="user")
    .join(items.rename({"number": "item number"}), on="item")
    .select(
      "share",
      "place",
      pl.col("user number").alias("user"),
      pl.col("item number").alias("item"),
      "time",
      pl.col("rating").fill_null(float("nan")),
      *([numbered(whole.actions)] if whole.actions else []),
    )
  )


def histories_of(
  share: pl.DataFrame, repeats: str, min_interactions: int
) -> tuple[pl.DataFrame, rules.Counts]:
  """The histories of a share's users by the rules, and what was met."""
  log = share.sort("place").select("user", "item", "time", "rating", *rules.actions_in(share))
  return rules.histories(log, repeats, min_interactions, TICKS)


def item_counts(share: pl.DataFrame, num_items: int) -> np.ndarray:
  """How often each number of items comes: int64 [num_items]."""
  return np.bincount(share["item"].to_numpy(), minlength=num_items)


def drop_rare(share: pl.DataFrame, counts: np.ndarray, k: int) -> pl.DataFrame:
  """`rules.drop_rare` with counts by number of item."""
  table = pl.DataFrame({"item": np.arange(len(counts), dtype=np.uint32), "len": counts})
  return rules.drop_rare(share, table.filter(pl.col("len") > 0), k)


def add_counts(found: Iterable[rules.Counts]) -> rules.Counts:
  """Counts of several shares together."""
  return rules.Counts(*(int(sum(column)) for column in zip(rules.Counts(), *found, strict=True)))


def bounds(num_users: int, num_shards: int) -> np.ndarray:
  """The first user of each shard among those left, and their number: int64 [num_shards + 1]."""
  return np.linspace(0, num_users, min(num_shards, num_users) + 1).astype(int)


def write_shard(
  path: Path, log: pl.DataFrame, whole: Plan, counts: np.ndarray
) -> tuple[shards.Shard, np.ndarray, np.ndarray]:
  """Writes some users' histories.

  Args:
    path: of the shard.
    log: their interactions, by user and time.
    whole: of the whole log.
    counts: of the items left, whose rows follow from it.

  Returns:
    What was written, the users' numbers and their lengths.
  """
  row_of = (np.cumsum(counts > 0) - 1).astype(np.int32)
  users = log["user"].rle().struct.unnest()
  lengths = users["len"].to_numpy().astype(np.int64)
  ids = whole.users["id"].gather(users["value"])
  histories = Histories(
    np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    row_of[log["item"].to_numpy()],
    log["time"].to_numpy(),
    log["rating"].to_numpy(),
    as_array(ids),
    action_T=log["action"].to_numpy() if whole.actions else None,
    actions=whole.actions or None,
  )
  return shards.write_shard(path, histories), users["value"].to_numpy(), lengths
