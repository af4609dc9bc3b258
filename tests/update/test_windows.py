"""Which pieces of histories an update trains on."""

import numpy as np
from tiny import make_histories

from sidrec.update.windows import windows_to_train


def rows_of(histories):
  return [histories.of(user).tolist() for user in range(histories.num_users)]


HISTORIES = make_histories(
  [list(range(10)), list(range(10, 16)), list(range(20, 23)), [30, 31, 32]]
)


def test_what_is_recent_comes_with_what_it_is_predicted_from():
  """Training views end two events before the histories do."""
  recent_from_U = np.array([6, 4, 0, 1])
  windows = windows_to_train(HISTORIES, recent_from_U, 0.0, 3, 0)
  # Of user 1 nothing is recent, and the only event of user 2 has nothing before it.
  assert rows_of(windows.histories) == [[3, 4, 5, 6, 7]]
  assert windows.histories.user_ids_U.tolist() == [0]
  assert windows.histories.time_T.tolist() == [3, 4, 5, 6, 7]
  assert (windows.recent_targets, windows.replayed, windows.num_targets) == (2, 0, 4)
  whole = windows_to_train(HISTORIES, np.array([8, 0, 1, 1]), 0.0, 3, 0)
  assert rows_of(whole.histories) == [[10, 11, 12, 13]]
  assert whole.recent_targets == 3  # the first event of all is no target


def test_older_windows_are_drawn_until_there_are_enough():
  recent_from_U = np.array([7, 4, 1, 1])
  none, half, all_ = (
    windows_to_train(HISTORIES, recent_from_U, replay, 3, 0) for replay in (0.0, 0.5, 9.0)
  )
  assert rows_of(none.histories) == [[4, 5, 6, 7]]
  # The older windows of users 0 and 1, none of which holds an event that is recent.
  assert rows_of(all_.histories)[0] == [4, 5, 6, 7]
  assert sorted(rows_of(all_.histories)[1:]) == [[0, 1], [1, 2, 3, 4], [10, 11, 12, 13]]
  assert len(rows_of(half.histories)) == 2
  assert half.replayed >= 1.5
  again = windows_to_train(HISTORIES, recent_from_U, 0.5, 3, 0)
  assert rows_of(again.histories) == rows_of(half.histories)
  other = {
    str(rows_of(windows_to_train(HISTORIES, recent_from_U, 0.5, 3, s).histories)) for s in range(9)
  }
  assert len(other) > 1


def test_nothing_recent_trains_nothing():
  windows = windows_to_train(HISTORIES, np.array([8, 4, 1, 1]), 1.0, 3, 0)
  assert windows.num_targets == 0
