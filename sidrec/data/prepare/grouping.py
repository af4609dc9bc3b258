"""Blocks of a raw log → histories by user, in shares that fit a worker: the steps, in NumPy.

`beam_graph` runs them side by side. Each takes whole blocks, for a million rows one by one would
cost more in hand-overs than in work.

Letters: T interactions, U users and N items of a share.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sidrec.data.batches import ragged_arange, user_tokens
from sidrec.data.prepare.log_parts import NO_TIME, Block
from sidrec.data.sources import rules
from sidrec.data.sources.interactions import kind_of


class Grouped(NamedTuple):
  """Complete histories of some users; no user and no item is without an interaction."""

  user_ids_U: np.ndarray  # [U], sorted, int64 or str
  offsets_Up1: np.ndarray  # int64 [U + 1]
  item_ids_N: np.ndarray  # [N], sorted, int64 or str
  item_T: np.ndarray  # int64 [T], rows of item_ids_N
  time_T: np.ndarray  # int64 [T], seconds
  rating_T: np.ndarray  # float32 [T]


class Summary(NamedTuple):
  """What the rules need to know of the whole log."""

  first_row: dict[int, int]  # part → the number of its first row
  untimed: bool  # no row has a time
  nameless: int  # rows without a user or an item
  user_kind: str  # as `kind_of` says
  item_kind: str
  user_width: int  # of the longest id as text
  item_width: int


class Counts(NamedTuple):
  """What was met while grouping; adds up over shares."""

  timeless: int = 0  # rows without a time
  copies: int = 0  # exact duplicates
  later: int = 0  # later interactions with an item
  short: int = 0  # users with too few interactions
  users: int = 0
  interactions: int = 0
  ties: int = 0  # interactions at the time of their user's previous one


def facts_of(block: Block) -> tuple:
  """What `summarise` needs to know of a block."""
  ids = (block.user_ids_U, block.item_ids_N)
  return (
    block.part,
    block.num_rows,
    block.num_rows - len(block.row_T),
    bool((block.time_T != NO_TIME).any()),
    *(_flags(ids_U) for ids_U in ids),
    *(ids_U.dtype.itemsize // 4 if ids_U.dtype.kind == "U" else 0 for ids_U in ids),
  )


def _flags(ids_U: np.ndarray) -> tuple[bool, bool]:
  """Whether all ids are whole numbers, and whether all are digits."""
  if ids_U.dtype.kind != "U":
    return True, False
  ids = ids_U.tolist()
  return kind_of(ids) == "whole", all(map(str.isdecimal, ids))


def summarise(
  facts: Sequence[tuple], kinds: tuple[str, str] | None, metadata_ids: Sequence[str]
) -> Summary:
  """Joins the facts of all blocks.

  Args:
    facts: of each block.
    kinds: of user and item ids, where they are known.
    metadata_ids: other item ids that count for the kind.
  """
  facts = sorted(facts)
  sizes = [fact[1] for fact in facts]
  first_rows = np.cumsum([0, *sizes])[:-1].tolist() if sizes else []

  def kind(flags: Iterable[tuple[bool, bool]]) -> str:
    whole, digits = (all(column) for column in zip(*flags, strict=True))
    return "whole" if whole else "digits" if digits else "text"

  if kinds is None and facts:
    others = np.array(metadata_ids, dtype=str)
    kinds = (
      kind(fact[4] for fact in facts),
      kind([*(fact[5] for fact in facts), _flags(others)]),
    )
  return Summary(
    first_row=dict(zip((fact[0] for fact in facts), first_rows, strict=True)),
    untimed=not any(fact[3] for fact in facts),
    nameless=sum(fact[2] for fact in facts),
    user_kind=kinds[0] if kinds else "whole",
    item_kind=kinds[1] if kinds else "whole",
    user_width=max((fact[6] for fact in facts), default=0),
    item_width=max([fact[7] for fact in facts] + [len(id_) for id_ in metadata_ids], default=0),
  )


def by_user(block: Block, num_shares: int) -> Iterator[tuple[int, Block]]:
  """A block in shares by a hash of the user."""
  share_U = user_tokens(block.user_ids_U, num_shares)
  share_T = share_U[block.user_T]
  for share in np.unique(share_U).tolist():
    at_T = np.flatnonzero(share_T == share)
    user_U, user_T = np.unique(block.user_T[at_T], return_inverse=True)
    item_N, item_T = np.unique(block.item_T[at_T], return_inverse=True)
    yield (
      share,
      block._replace(
        row_T=block.row_T[at_T],
        user_ids_U=block.user_ids_U[user_U],
        user_T=user_T,
        item_ids_N=block.item_ids_N[item_N],
        item_T=item_T,
        time_T=block.time_T[at_T],
        rating_T=block.rating_T[at_T],
      ),
    )


def group(
  blocks: Iterable[Block], summary: Summary, ticks: int, repeats: str, min_interactions: int
) -> tuple[Grouped, Counts]:
  """Histories of the users of a share, by the rules of `interactions`, `rules` and `build`.

  Args:
    blocks: all that `by_user` gave for this share.
    summary: of the whole log.
    ticks: of the times, in a second.
    repeats: 'keep' or 'first'; '' applies none of `rules`.
    min_interactions: users with fewer are dropped.
  """
  blocks = sorted(blocks, key=lambda block: block.part)
  user_ids_U, user_T = _joined([(b.user_ids_U, b.user_T) for b in blocks], summary.user_kind)
  item_ids_N, item_T = _joined([(b.item_ids_N, b.item_T) for b in blocks], summary.item_kind)
  time_T = np.concatenate([block.time_T for block in blocks])
  rating_T = np.concatenate([block.rating_T for block in blocks])
  timeless = copies = later = 0
  if summary.untimed:  # a second each, as the whole log has it
    time_T = ticks * np.concatenate([summary.first_row[b.part] + b.row_T for b in blocks])
  elif timeless := int((time_T == NO_TIME).sum()):
    user_T, item_T, time_T, rating_T = _take(time_T != NO_TIME, user_T, item_T, time_T, rating_T)
  if repeats:
    keep_T = rules.distinct_rows(user_T, item_T, time_T, rating_T)
    copies = int((~keep_T).sum())
    user_T, item_T, time_T, rating_T = _take(keep_T, user_T, item_T, time_T, rating_T)
  if repeats == "first":
    keep_T = rules.first_of_pairs(user_T, item_T, time_T)
    later = int((~keep_T).sum())
    user_T, item_T, time_T, rating_T = _take(keep_T, user_T, item_T, time_T, rating_T)

  count_U = np.bincount(user_T, minlength=len(user_ids_U))
  order_T = np.lexsort((time_T, user_T))  # stable: equal times keep file order
  offsets_Up1 = np.concatenate([[0], np.cumsum(count_U)]).astype(np.int64)
  columns = (item_T[order_T], time_T[order_T] // ticks, rating_T[order_T])
  grouped = _select(
    Grouped(user_ids_U, offsets_Up1, item_ids_N, *columns),
    np.repeat(count_U >= min_interactions, count_U),
  )
  short = int(((count_U > 0) & (count_U < min_interactions)).sum())
  return grouped, counts_of(grouped)._replace(
    timeless=timeless, copies=copies, later=later, short=short
  )


def _joined(
  parts: Sequence[tuple[np.ndarray, np.ndarray]], kind: str
) -> tuple[np.ndarray, np.ndarray]:
  """Distinct ids of all parts, sorted, and the rows of them: int64 [T]."""
  all_ids = np.concatenate([ids for ids, _ in parts])
  if kind == "whole":
    all_ids = all_ids.astype(np.int64)
  ids, row = np.unique(all_ids, return_inverse=True)
  ends = np.cumsum([len(ids_U) for ids_U, _ in parts])
  starts = [0, *ends[:-1].tolist()]
  at_T = np.concatenate([start + row_T for start, (_, row_T) in zip(starts, parts, strict=True)])
  return ids, row[at_T]


def _take(keep_T: np.ndarray, *columns: np.ndarray) -> list[np.ndarray]:
  return [column[keep_T] for column in columns]


def _select(grouped: Grouped, keep_T: np.ndarray) -> Grouped:
  """Some interactions; users and items without any are left out."""
  user_T = np.repeat(np.arange(len(grouped.user_ids_U)), np.diff(grouped.offsets_Up1))[keep_T]
  user_U, count_U = np.unique(user_T, return_counts=True)
  item_N, item_T = np.unique(grouped.item_T[keep_T], return_inverse=True)
  return Grouped(
    grouped.user_ids_U[user_U],
    np.concatenate([[0], np.cumsum(count_U)]).astype(np.int64),
    grouped.item_ids_N[item_N],
    item_T,
    grouped.time_T[keep_T],
    grouped.rating_T[keep_T],
  )


def counts_of(grouped: Grouped) -> Counts:
  """The users, interactions and ties of a share."""
  tied_T = np.diff(grouped.time_T, prepend=0) == 0
  tied_T[grouped.offsets_Up1[:-1]] = False
  return Counts(
    users=len(grouped.user_ids_U), interactions=len(grouped.item_T), ties=int(tied_T.sum())
  )


def add_up(counts: Iterable[Counts]) -> Counts:
  """Counts of several shares together."""
  return Counts(*(int(sum(column)) for column in zip(Counts(), *counts, strict=True)))


# The k-core.


def item_counts(grouped: Grouped) -> tuple[np.ndarray, np.ndarray]:
  """The items of a share, and how often each comes: int64 [N]."""
  return grouped.item_ids_N, np.bincount(grouped.item_T, minlength=len(grouped.item_ids_N))


def add_item_counts(
  counts: Iterable[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
  """Item counts of several shares together."""
  parts = [part for part in counts if len(part[0])]  # ids of no item have no type
  if not parts:
    return np.zeros(0, np.int64), np.zeros(0, np.int64)
  ids_N, row = np.unique(np.concatenate([ids for ids, _ in parts]), return_inverse=True)
  total_N = np.zeros(len(ids_N), np.int64)
  np.add.at(total_N, row, np.concatenate([count for _, count in parts]))
  return ids_N, total_N


def drop_rare(grouped: Grouped, counts: tuple[np.ndarray, np.ndarray], k: int) -> Grouped:
  """Drops items that come fewer than k times in all, then users with fewer than k interactions."""
  ids_N, total_N = counts
  if (total_N >= k).all() and (np.diff(grouped.offsets_Up1) >= k).all():
    return grouped
  frequent_N = total_N[np.searchsorted(ids_N, grouped.item_ids_N)] >= k
  kept = _select(grouped, frequent_N[grouped.item_T])
  length_U = np.diff(kept.offsets_Up1)
  return _select(kept, np.repeat(length_U >= k, length_U))


# Shards.


class Layout(NamedTuple):
  """Which users a shard holds."""

  num_shards: int
  keys: np.ndarray  # [num_shards - 1], the order key of each shard's first user but shard 0's


def order_keys(ids_U: np.ndarray, kind: str) -> np.ndarray:
  """What ids are sorted by, so that NumPy's order is the order of the contract."""
  if kind != "digits":
    return ids_U
  plain = [id_.lstrip("0") for id_ in ids_U.tolist()]
  keys = [f"{len(p):06d}{p} {id_}" for p, id_ in zip(plain, ids_U.tolist(), strict=True)]
  return np.array(keys, dtype=str)


def lay_out(user_ids: Sequence[np.ndarray], kind: str, num_shards: int) -> Layout:
  """Spreads all users evenly over shards, in order.

  Args:
    user_ids: of each share.
    kind: of the ids.
    num_shards: how many, if there are as many users.
  """
  parts = [ids_U for ids_U in user_ids if len(ids_U)]
  keys = np.sort(order_keys(np.concatenate(parts), kind)) if parts else np.zeros(0, np.int64)
  num_shards = min(num_shards, len(keys))
  return Layout(num_shards, keys[np.linspace(0, len(keys), num_shards + 1).astype(int)[1:-1]])


def by_shard(grouped: Grouped, layout: Layout, kind: str) -> Iterator[tuple[int, Grouped]]:
  """The users of a share by the shard that holds them."""
  keys_U = order_keys(grouped.user_ids_U, kind)
  shard_U = np.searchsorted(layout.keys, keys_U, side="right") if len(layout.keys) else keys_U == ""
  shard_U = np.asarray(shard_U, np.int64)
  length_U = np.diff(grouped.offsets_Up1)
  for shard in np.unique(shard_U).tolist():
    yield shard, _select(grouped, np.repeat(shard_U == shard, length_U))


def in_order(shares: Iterable[Grouped], kind: str) -> Grouped:
  """Several shares in one, users ordered as the contract asks."""
  shares = list(shares)
  item_ids_N, item_T = _joined([(s.item_ids_N, s.item_T) for s in shares], "")
  user_ids_U = np.concatenate([s.user_ids_U for s in shares])
  length_U = np.concatenate([np.diff(s.offsets_Up1) for s in shares])
  start_U = np.cumsum(length_U) - length_U
  order_U = np.argsort(order_keys(user_ids_U, kind))
  of_T, within_T = ragged_arange(length_U[order_U])
  at_T = start_U[order_U][of_T] + within_T
  return Grouped(
    user_ids_U[order_U],
    np.concatenate([[0], np.cumsum(length_U[order_U])]).astype(np.int64),
    item_ids_N,
    item_T[at_T],
    np.concatenate([s.time_T for s in shares])[at_T],
    np.concatenate([s.rating_T for s in shares])[at_T],
  )
