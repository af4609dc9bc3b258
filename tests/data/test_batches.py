"""Windows cover every target once; batches are a pure function of the step."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_histories

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data import batches


def histories_of(lengths):
  """User u's items are 1000·u, 1000·u + 1, …, so that an item tells its user and place."""
  return make_histories([list(range(1000 * u, 1000 * u + n)) for u, n in enumerate(lengths)])


def windows_as_lists(cut, lengths, history_length):
  histories = histories_of(lengths)
  windows = cut(histories.offsets_Up1, history_length)
  spans = zip(windows.start_W, windows.stop_W, strict=True)
  return [histories.item_T[start:stop].tolist() for start, stop in spans]


def all_last_positions(offsets_Up1, history_length):
  count, windows_at = batches.last_position(offsets_Up1, history_length)
  return windows_at(np.arange(count))


LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


@settings(max_examples=50)
@given(LENGTHS, st.integers(1, 5))
def test_dense_windows_hold_every_target_once(lengths, history_length):
  windows = windows_as_lists(batches.all_positions, lengths, history_length)
  targets = [item for window in windows for item in window[1:]]
  expected = [1000 * u + i for u, n in enumerate(lengths) for i in range(1, n)]
  assert sorted(targets) == expected
  for window in windows:
    assert 2 <= len(window) <= history_length + 1
    assert window == list(range(window[0], window[0] + len(window)))


def test_dense_windows_are_cut_from_the_newest_end():
  windows = windows_as_lists(batches.all_positions, [6], 3)
  assert sorted(windows) == [[0, 1, 2], [2, 3, 4, 5]]


@settings(max_examples=50)
@given(LENGTHS, st.integers(1, 5))
def test_sliding_windows_end_in_each_target(lengths, history_length):
  windows = windows_as_lists(all_last_positions, lengths, history_length)
  expected = [
    list(range(1000 * u + max(0, i - history_length), 1000 * u + i + 1))
    for u, n in enumerate(lengths)
    for i in range(1, n)
  ]
  assert windows == expected


def test_last_items_are_left_aligned():
  got = batches.last_items(histories_of([0, 2, 5]), 3)
  np.testing.assert_array_equal(got, [[NO_ITEM] * 3, [1000, 1001, NO_ITEM], [2002, 2003, 2004]])
  empty = batches.last_items(histories_of([0, 0]), 2)
  np.testing.assert_array_equal(empty, np.full((2, 2), NO_ITEM))


@settings(max_examples=50)
@given(LENGTHS, st.integers(1, 5))
def test_rows_hold_every_window_once_within_the_history_length(lengths, history_length):
  windows = batches.all_positions(histories_of(lengths).offsets_Up1, history_length)
  packed = batches.pack(windows, history_length)
  rows = [packed.window_W[i:j] for i, j in itertools.pairwise(packed.offsets_Rp1)]
  size = windows.stop_W - windows.start_W - 1
  assert sorted(w for row in rows for w in row) == list(range(len(size)))
  assert all(0 < size[row].sum() <= history_length for row in rows)
  # Best fit leaves no two rows that would fit into one.
  fill = sorted(size[row].sum() for row in rows)
  assert len(fill) < 2 or fill[0] + fill[1] > history_length


def test_packed_batches_pair_each_position_with_its_target():
  histories = histories_of([6, 2, 3, 1, 9])
  batch_at = batches.packed_batches(histories, history_length=5, batch_size=2, seed=0)
  pairs = []
  for step in range(2):  # four rows in all
    batch = batch_at(step)
    for history, target, segment in zip(*batch.values(), strict=True):
      real = history != NO_ITEM
      np.testing.assert_array_equal(real, target != NO_ITEM)
      np.testing.assert_array_equal(target[real], history[real] + 1)
      assert (np.diff(segment) >= 0).all()
      assert (segment[~real] == 5).all()
      for number in np.unique(segment[real]):
        run = history[segment == number]
        np.testing.assert_array_equal(run, np.arange(run[0], run[0] + len(run)))
      # Two histories in a row are two segments.
      same_user = history[1:] // 1000 == history[:-1] // 1000
      assert not (real[1:] & ~same_user & (segment[1:] == segment[:-1])).any()
      pairs += history[real].tolist()
  expected = [1000 * u + i for u, n in enumerate([6, 2, 3, 1, 9]) for i in range(n - 1)]
  assert sorted(pairs) == expected


def test_sliding_batches_hold_one_target_each():
  histories = histories_of([4, 1])
  batch = batches.sliding_batches(histories, history_length=2, batch_size=3, seed=0)(0)
  rows = sorted(zip(batch["target_Bx1"][:, 0], batch["history_BxS"].tolist(), strict=True))
  assert rows == [(1, [0, NO_ITEM]), (2, [0, 1]), (3, [1, 2])]


def test_sliding_batches_start_with_the_token_of_the_user():
  histories = histories_of([0, 4, 0, 1, 0, 3])._replace(user_ids_U=np.array(list("abcdef")))
  plain = batches.sliding_batches(histories, 2, 5, seed=0)(0)
  batch = batches.sliding_batches(histories, 2, 5, seed=0, num_user_tokens=1000)(0)
  np.testing.assert_array_equal(batch["history_BxS"][:, 1:], plain["history_BxS"])
  np.testing.assert_array_equal(batch["target_Bx1"], plain["target_Bx1"])
  user_B = batch["target_Bx1"][:, 0] // 1000
  assert set(user_B) == {1, 5}
  expected = batches.user_tokens(histories.user_ids_U, 1000)[user_B]
  np.testing.assert_array_equal(batch["history_BxS"][:, 0], expected)


def test_user_tokens_are_the_same_everywhere_and_spread_evenly():
  # CRC-32 of the id as text: what every process and Python version computes.
  np.testing.assert_array_equal(batches.user_tokens(np.array(["anna", "7"]), 2000), [263, 1346])
  np.testing.assert_array_equal(batches.user_tokens(np.array([7]), 2000), [1346])
  count = np.bincount(batches.user_tokens(np.arange(1, 20_001), 100), minlength=100)
  assert count.min() > 120
  assert count.max() < 280


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("make_batches", [batches.packed_batches, batches.sliding_batches])
def test_global_batch_does_not_depend_on_the_process_count(count, make_batches):
  histories = histories_of([9, 4, 7, 3])
  make = lambda i, n: make_batches(histories, 2, 8, 7, i, n)
  parts = [make(i, count) for i in range(count)]
  whole = make(0, 1)
  for step in (0, 1, 5, 100):
    for name, expected in whole(step).items():
      joined = np.concatenate([part(step)[name] for part in parts])
      np.testing.assert_array_equal(joined, expected)


def test_batches_depend_on_step_and_seed_only():
  indices = batches.shuffled(10, 4, seed=0)
  again = batches.shuffled(10, 4, seed=0)
  # Asked in another order, the answers are the same.
  forwards = [indices(step).tolist() for step in range(6)]
  assert forwards == [again(step).tolist() for step in reversed(range(6))][::-1]
  assert forwards != [batches.shuffled(10, 4, seed=1)(step).tolist() for step in range(6)]


def test_every_example_comes_once_before_any_comes_twice():
  indices = batches.shuffled(10, 4, seed=0)
  stream = np.concatenate([indices(step) for step in range(5)])
  np.testing.assert_array_equal(np.sort(stream[:10]), np.arange(10))
  np.testing.assert_array_equal(np.sort(stream[10:]), np.arange(10))
  assert stream[:10].tolist() != stream[10:].tolist()


def test_a_batch_may_be_larger_than_the_data():
  counts = np.bincount(batches.shuffled(3, 7, 0)(0), minlength=3)
  assert sorted(counts) == [2, 2, 3]


def test_no_example_is_an_error():
  with pytest.raises(ValueError, match="no training example"):
    batches.shuffled(0, 4, 0)


def test_processes_must_share_the_batch_evenly():
  with pytest.raises(ValueError, match="batch of 6 cannot be shared by 4"):
    batches.shuffled(10, 6, 0, 0, 4)
