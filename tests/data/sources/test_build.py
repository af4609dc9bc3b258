"""From raw columns to a data set."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import build_from

from sidrec.data import dataset
from sidrec.data.sources.build import item_table

_NO_METADATA = item_table(np.array([], int), [], [], {})


def _build(rows: list[tuple], metadata: dataset.Items = _NO_METADATA, **kwargs) -> dataset.Dataset:
  users, items, times = map(np.array, zip(*rows, strict=True))
  return build_from("small", users, items, times, np.arange(len(rows)), metadata, **kwargs)


def test_equal_times_keep_file_order() -> None:
  rows = [(1, 50, 7), (1, 40, 7), (2, 40, 1), (1, 60, 3), (2, 50, 1), (1, 30, 7), (2, 30, 0)]
  data = _build(rows)
  assert data.items.ids_N.tolist() == [30, 40, 50, 60]
  assert data.histories.user_ids_U.tolist() == [1, 2]
  assert data.items.ids_N[data.histories.of(0)].tolist() == [60, 50, 40, 30]
  assert data.items.ids_N[data.histories.of(1)].tolist() == [30, 40, 50]
  assert data.histories.rating_T.tolist() == [3, 0, 1, 5, 6, 2, 4]
  assert data.notes[-1] == (
    "3 of 7 interactions share their user's previous timestamp; equal timestamps keep file order"
  )


@settings(max_examples=50)
@given(
  st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 3)), min_size=15, max_size=40
  )
)
def test_histories_are_each_users_rows_sorted_by_time(rows: list[tuple[int, int, int]]) -> None:
  expected = {}
  for user in sorted({user for user, _, _ in rows}):
    own = sorted([row for row in rows if row[0] == user], key=lambda row: row[2])  # is stable
    if len(own) >= 3:
      expected[user] = [(item, time) for _, item, time in own]
  data = _build(rows)
  histories = data.histories
  spans = [slice(*histories.offsets_Up1[u : u + 2]) for u in range(histories.num_users)]
  found = {
    user: list(
      zip(data.items.ids_N[histories.item_T[s]].tolist(), histories.time_T[s].tolist(), strict=True)
    )
    for user, s in zip(histories.user_ids_U.tolist(), spans, strict=True)
  }
  assert found == expected
  ties = sum(a[1] == b[1] for own in expected.values() for a, b in itertools.pairwise(own))
  assert data.notes[-1].startswith(f"{ties} of {sum(map(len, expected.values()))} interactions")
  assert data.items.ids_N.tolist() == sorted({i for own in expected.values() for i, _ in own})


def test_short_users_and_their_items_are_dropped_and_counted() -> None:
  metadata = item_table(np.arange(5), list("abcde"), [()] * 5, {})
  rows = [(u, i, 0) for u, i in [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 3)]]
  data = _build(rows, metadata)
  assert data.histories.user_ids_U.tolist() == [2]
  assert data.items.titles_N.tolist() == ["a", "b", "c"]
  assert data.notes[0] == "dropped 2 users with fewer than 3 interactions"
  assert data.notes[1] == "2 of 5 items have no interaction left and are not in the catalogue"
  rows += [(1, 3, 0)]
  assert _build(rows, metadata).notes[0] == "dropped 1 user with fewer than 3 interactions"
  assert _build(rows[:3] + rows[-1:], metadata).notes[0].startswith("dropped 1 user")


def test_nothing_dropped_is_not_noted() -> None:
  metadata = item_table(np.arange(3), list("abc"), [()] * 3, {})
  assert len(_build([(1, i, 0) for i in range(3)], metadata).notes) == 1


def test_metadata_in_any_order_finds_its_item() -> None:
  metadata = item_table(
    ids=["b", "z", "a"],
    titles=["B", "Z", "A"],
    categories=[["y", "x"], ["unused"], []],
    numeric={"year": [1990, 1991, float("nan")], "price": [2, 3, 1]},
    text=["tb", "tz", "ta"],
  )
  data = _build([("u", item, 0) for item in ("c", "b", "a")], metadata, notes=["first"])
  items = data.items
  assert items.ids_N.tolist() == ["a", "b", "c"]
  assert items.titles_N.tolist() == ["A", "B", ""]
  assert items.text_N.tolist() == ["ta", "tb", ""]
  assert [items.categories_of(row) for row in range(3)] == [[], ["y", "x"], []]
  assert items.categories_C.tolist() == ["x", "y"]
  np.testing.assert_array_equal(items.numeric["year"], [np.nan, 1990, np.nan])
  np.testing.assert_array_equal(items.numeric["price"], np.array([1, 2, np.nan], np.float32))
  assert data.notes[:3] == (
    "first",
    "1 of 3 items have no interaction left and are not in the catalogue",
    "the metadata lacks 1 item of the catalogue",
  )


def test_types_are_those_of_the_contract() -> None:
  data = _build([("u", item, 0) for item in "abc"])
  histories, items = data.histories, data.items
  assert (histories.offsets_Up1.dtype, histories.time_T.dtype) == (np.int64, np.int64)
  assert (histories.item_T.dtype, histories.rating_T.dtype) == (np.int32, np.float32)
  assert (items.category_offsets_Np1.dtype, items.category_E.dtype) == (np.int64, np.int32)
  assert {items.titles_N.dtype.kind, items.text_N.dtype.kind, items.categories_C.dtype.kind} == {
    "T"
  }


@pytest.mark.parametrize(
  ("ids", "ordered"),
  [
    (["10", "9", "0100", "012", "12"], ["9", "10", "012", "12", "0100"]),
    (["9" * 30, "1" + "0" * 30, "2"], ["2", "9" * 30, "1" + "0" * 30]),
    (["10", "9", "x"], ["10", "9", "x"]),
  ],
)
def test_ids_are_ordered_by_number_if_all_are_numbers(ids: list[str], ordered: list[str]) -> None:
  data = _build([("u", item, time) for time, item in enumerate(ids)])
  assert data.items.ids_N.tolist() == ordered
  assert data.items.ids_N[data.histories.of(0)].tolist() == ids


def test_refusals() -> None:
  rows = [(1, item, 0) for item in range(3)]
  with pytest.raises(ValueError, match="min_interactions is 2; it must be at least 3"):
    _build(rows, min_interactions=2)
  with pytest.raises(ValueError, match="none of its 1 user has 4 or more"):
    _build(rows, min_interactions=4)
  with pytest.raises(ValueError, match="describes item 2 twice"):
    _build(rows, item_table([2, 1, 2], list("abc"), [()] * 3, {}))
  with pytest.raises(ValueError, match="read both as integers or both as text"):
    _build(rows, item_table(list("012"), list("abc"), [()] * 3, {}))
