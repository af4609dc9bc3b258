"""Interactions of one user at the same time."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import build_from

from sidrec.data import dataset, tie_breaking
from sidrec.data.sources.build import item_table

_USERS = st.lists(
  st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=3, max_size=6),
  min_size=1,
  max_size=4,
)


def _dataset(users: list[list[tuple[int, int]]]) -> dataset.Dataset:
  """Each user's (time, item) pairs, in file order."""
  rows = [(user, time, item) for user, pairs in enumerate(users) for time, item in pairs]
  user_T, time_T, item_T = np.array(rows).T
  metadata = item_table(ids=np.arange(3), titles=["a", "b", "c"], categories=[[]] * 3, numeric={})
  return build_from("d", user_T, item_T, time_T, np.arange(len(rows)), metadata)


@settings(max_examples=100)
@given(_USERS, st.integers(0, 5))
def test_shuffling_moves_nothing_between_times(users: list, seed: int) -> None:
  data = _dataset(users)
  shuffled = tie_breaking.shuffle_ties(data, seed)
  before, after = data.histories, shuffled.histories
  dataset.validate(shuffled)
  np.testing.assert_array_equal(after.time_T, before.time_T)
  of_user_T = np.repeat(np.arange(before.num_users), before.lengths_U)

  def rows(histories: dataset.Histories) -> list[tuple]:
    columns = (of_user_T, histories.time_T, histories.item_T, histories.rating_T)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))

  assert rows(after) == rows(before)  # an item keeps its rating
  again = tie_breaking.shuffle_ties(data, seed).histories
  np.testing.assert_array_equal(again.item_T, after.item_T)


def test_every_order_of_a_tie_comes_about_as_often() -> None:
  data = _dataset([[(5, 0), (5, 1), (5, 2)]])
  orders = [
    tuple(tie_breaking.shuffle_ties(data, seed).histories.item_T.tolist()) for seed in range(300)
  ]
  for order in itertools.permutations(range(3)):
    assert 25 <= orders.count(order) <= 80  # 50 expected


def test_the_note_on_ties_says_so() -> None:
  data = _dataset([[(5, 0), (5, 1), (6, 2)]])
  assert tie_breaking.shuffle_ties(data, 7).notes == (
    "1 of 3 interactions share their user's previous timestamp; equal timestamps stand in random "
    "order (seed 7)",
  )
  bare = data._replace(notes=("something else",))
  assert tie_breaking.shuffle_ties(bare, 7).notes == (
    "something else",
    "equal timestamps stand in random order (seed 7)",
  )


@settings(max_examples=100)
@given(_USERS, st.sampled_from([("test", 1), ("valid", 2)]))
@example([[(1, 0), (2, 1), (3, 2)], [(3, 0), (4, 1), (5, 2)]], ("test", 1))
def test_tied_targets_are_those_that_another_order_replaces(users: list, split) -> None:
  name, back = split
  histories = _dataset(users).histories
  tied = 0
  for user in range(histories.num_users):
    span = slice(histories.offsets_Up1[user], histories.offsets_Up1[user + 1])
    pairs = list(zip(histories.time_T[span], histories.item_T[span], strict=True))
    targets = {
      order[-back][1]
      for order in itertools.permutations(pairs)
      if all(a[0] <= b[0] for a, b in itertools.pairwise(order))
    }
    tied += len(targets) > 1
  assert tie_breaking.tied_share(histories, name) == pytest.approx(tied / histories.num_users)


def test_another_split_is_refused() -> None:
  with pytest.raises(ValueError, match="'valid' or 'test', not 'train'"):
    tie_breaking.tied_share(_dataset([[(1, 0), (1, 1), (1, 2)]]).histories, "train")
