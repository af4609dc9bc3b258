"""Rules on raw interactions, against plain loops."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.data.sources import rules

_LOGS = st.lists(
  st.tuples(
    st.integers(0, 3), st.integers(0, 4), st.integers(0, 2), st.sampled_from([1.0, np.nan])
  ),
  max_size=40,
)


_TYPES = {"user": pl.UInt32, "item": pl.UInt32, "time": pl.Int64, "rating": pl.Float32}


def _frame(log: list[tuple]) -> pl.DataFrame:
  """A log; its rows say where they stood."""
  return pl.DataFrame(log, _TYPES, orient="row").with_row_index("at")


@settings(max_examples=200)
@given(_LOGS)
def test_the_first_of_equal_rows_stays(log: list[tuple]) -> None:
  seen, expected = set(), []
  for at, row in enumerate(log):
    if (key := (*row[:3], str(row[3]))) not in seen:
      expected.append(at)
    seen.add(key)
  assert rules.without_duplicates(_frame(log))["at"].to_list() == expected


@settings(max_examples=200)
@given(_LOGS)
def test_the_first_of_repeats_is_the_oldest(log: list[tuple]) -> None:
  oldest = {}
  for row, (user, item, time, _) in enumerate(log):
    kept = oldest.get((user, item))
    if kept is None or time < log[kept][2]:
      oldest[user, item] = row
  assert rules.first_of_pairs(_frame(log))["at"].to_list() == sorted(oldest.values())


@settings(max_examples=200)
@given(_LOGS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_core_is_what_dropping_one_by_one_leaves(log: list[tuple], k: int, random) -> None:
  left = set(range(len(log)))
  while True:
    users = Counter(log[row][0] for row in left)
    items = Counter(log[row][1] for row in left)
    short = [row for row in left if users[log[row][0]] < k or items[log[row][1]] < k]
    if not short:
      break
    left.remove(random.choice(short))  # in any order
  assert rules.k_core(_frame(log), k)["at"].to_list() == sorted(left)


@settings(max_examples=200)
@given(_LOGS, st.sampled_from(["keep", "first"]), st.integers(1, 3), st.integers(1, 2))
def test_parts_of_whole_users_go_through_the_rules_alone(
  log: list[tuple], repeats: str, shortest: int, ticks: int
) -> None:
  whole, counts = rules.histories(_frame(log), repeats, shortest, ticks)
  parts = [
    rules.histories(_frame([row for row in log if row[0] == user]), repeats, shortest, ticks)
    for user in range(4)
  ]
  joined = pl.concat(part for part, _ in parts)
  assert joined.drop("at").equals(whole.drop("at"))
  assert list(counts) == [sum(column) for column in zip(*(met for _, met in parts), strict=True)]


def test_a_chain_of_drops_empties_the_core() -> None:
  # Each user shares an item with the next one; the ends have one interaction, and so on.
  user_T = np.repeat(np.arange(6), 2)[1:]
  item_T = np.repeat(np.arange(7), 2)[2:-1]
  log = _frame([(user, item, 0, 1.0) for user, item in zip(user_T, item_T, strict=True)])
  assert not len(rules.k_core(log, 2))
  assert len(rules.k_core(log, 1)) == len(log)


def test_what_was_met_is_counted() -> None:
  log = [(1, 1, 5, 2.0), (1, 1, 5, 2.0), (1, 1, 5, 3.0), (1, 1, 4, 2.0), (1, 2, 5, 2.0)]
  kept, counts = rules.histories(_frame([*log, (2, 1, 0, 1.0)]), "keep", 2)
  assert kept["at"].to_list() == [3, 0, 2, 4]
  assert counts == rules.Counts(copies=1, short=1, users=1, interactions=4, ties=2)
  assert rules.duplicate_notes(1, 0) == [
    "dropped 1 interaction that repeats another in user, item, time and rating"
  ]
  kept, counts = rules.histories(_frame(log), "first", 2)
  assert kept["at"].to_list() == [3, 4]
  assert counts == rules.Counts(copies=1, later=2, users=1, interactions=2)
  assert rules.duplicate_notes(0, 2) == [
    "dropped 2 interactions with an item that the user had met before"
  ]
  with pytest.raises(ValueError, match="repeats must be 'keep' or 'first', not 'last'"):
    rules.check_repeats("last")


@pytest.mark.parametrize("largest", [1 << 16, (1 << 32) - 1])
def test_no_two_pairs_get_one_number(largest: int) -> None:
  pairs = [(0, largest), (1, 0), (largest, 0), (largest, largest), (0, 0)]
  log = _frame([(*pair, 0, 1.0) for pair in pairs])
  assert len(rules.without_duplicates(log)) == len(rules.first_of_pairs(log)) == len(pairs)
