import numpy as np
from tiny import make_histories

from sidrec.data.dataset import held_out_view
from sidrec.data.seen import has_repeats, seen_items


def test_seen_items_are_sorted_distinct_and_leave_the_target_out():
  histories = make_histories([[5, 1, 5, 4, 0], [2, 2, 2, 2], [3, 0, 1]])
  seen = seen_items(held_out_view(histories, "test").histories)
  assert [seen.of(user).tolist() for user in range(3)] == [[1, 4, 5], [2], [0, 3]]
  assert seen.item_X.dtype == np.int32
  seen = seen_items(held_out_view(histories, "valid").histories)
  assert [seen.of(user).tolist() for user in range(3)] == [[1, 5], [2], [3]]


def test_users_without_history_have_seen_nothing():
  for rows in [[[], [1], []], [[], []]]:
    seen = seen_items(make_histories(rows))
    assert [seen.of(user).tolist() for user in range(len(rows))] == rows


def test_repeats_are_of_one_user():
  assert has_repeats(make_histories([[1, 2], [3, 1, 3]]))
  assert not has_repeats(make_histories([[1, 2], [2, 1], []]))
