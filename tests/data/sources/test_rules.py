"""Rules on raw interactions, against plain loops."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.data.sources import array_rules as rules

_LOGS = st.lists(
  st.tuples(
    st.integers(0, 3), st.integers(0, 4), st.integers(0, 2), st.sampled_from([1.0, np.nan])
  ),
  max_size=40,
)


def _columns(log: list[tuple], text: bool = False) -> list[np.ndarray]:
  user_T, item_T, time_T, rating_T = (np.array([row[column] for row in log]) for column in range(4))
  if text:
    user_T, item_T = user_T.astype(str), item_T.astype(str)
  return [user_T, item_T, time_T.astype(np.int64), rating_T.astype(np.float32)]


@settings(max_examples=200, deadline=None)
@given(_LOGS, st.booleans())
def test_the_first_of_equal_rows_stays(log: list[tuple], text: bool) -> None:
  seen, expected = set(), []
  for row in log:
    key = (*row[:3], str(row[3]))
    expected.append(key not in seen)
    seen.add(key)
  assert rules.distinct_rows(*_columns(log, text)).tolist() == expected


@settings(max_examples=200, deadline=None)
@given(_LOGS, st.booleans())
def test_the_first_of_repeats_is_the_oldest(log: list[tuple], text: bool) -> None:
  oldest = {}
  for row, (user, item, time, _) in enumerate(log):
    kept = oldest.get((user, item))
    if kept is None or time < log[kept][2]:
      oldest[user, item] = row
  user_T, item_T, time_T, _ = _columns(log, text)
  keep_T = rules.first_of_pairs(user_T, item_T, time_T)
  assert np.flatnonzero(keep_T).tolist() == sorted(oldest.values())


@settings(max_examples=200, deadline=None)
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
  user_T, item_T, *_ = _columns(log)
  assert np.flatnonzero(rules.k_core(user_T, item_T, k)).tolist() == sorted(left)


def test_a_chain_of_drops_empties_the_core() -> None:
  # Each user shares an item with the next one; the ends have one interaction, and so on.
  user_T = np.repeat(np.arange(6), 2)[1:]
  item_T = np.repeat(np.arange(7), 2)[2:-1]
  assert not rules.k_core(user_T, item_T, 2).any()
  assert rules.k_core(user_T, item_T, 1).all()


def test_counts_are_told() -> None:
  log = [(1, 1, 5, 2.0), (1, 1, 5, 2.0), (1, 1, 5, 3.0), (1, 1, 4, 2.0), (1, 2, 5, 2.0)]
  columns, notes = rules.without_duplicates(*_columns(log))
  assert [column.tolist() for column in columns][2:] == [[5, 5, 4, 5], [2, 3, 2, 2]]
  assert notes == ["dropped 1 interaction that repeats another in user, item, time and rating"]
  columns, notes = rules.without_duplicates(*_columns(log), repeats="first")
  assert [column.tolist() for column in columns] == [[1, 1], [1, 2], [4, 5], [2, 2]]
  assert notes[1:] == ["dropped 2 interactions with an item that the user had met before"]
  with pytest.raises(ValueError, match="repeats must be 'keep' or 'first', not 'last'"):
    rules.without_duplicates(*_columns(log), repeats="last")


def test_large_and_negative_ids_are_told_apart() -> None:
  ids = np.array([-5, 1 << 62, -5, 1 << 62, (1 << 62) + 1])
  keep_T = rules.distinct_rows(ids, ids[::-1], np.zeros(5, np.int64), np.ones(5))
  assert keep_T.tolist() == [True, True, True, False, True]
  assert rules.distinct_rows(ids, ids, np.zeros(5, np.int64), np.ones(5)).tolist() == [
    True, True, False, False, True
  ]  # fmt: skip


@pytest.mark.parametrize(
  ("users", "items"),
  [([0, 1, 9], [0, -3, 2]), ([0, 1 << 24, 0], [5, 5, (1 << 40) - 1])],
)
def test_no_two_pairs_get_one_number(users: list[int], items: list[int]) -> None:
  same = np.zeros(3, np.int64)
  assert rules.distinct_rows(np.array(users), np.array(items), same, np.ones(3)).all()
  assert rules.first_of_pairs(np.array(users), np.array(items), same).all()
