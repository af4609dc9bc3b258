"""What is new in a log, by original ids."""

import numpy as np
import pytest
from tiny import build_from, make_items

from sidrec.data.targets import Targets, with_targets
from sidrec.update.logs import compare_logs, is_newest, may_choose, untrained_from

OLD = [(user, item, 10 * user + time) for user in (2, 3) for time, item in enumerate((5, 6, 7, 8))]
NEW = [(1, 4, 90), (1, 5, 91), (1, 6, 92), (2, 4, 93), (3, 4, 31)]


def data(events, ids=int, rating=0.5):
  users, items, times = zip(*events, strict=True)
  users = [ids(user) for user in users]
  return build_from("x", users, items, times, [rating] * len(users), make_items(list(range(4, 9))))


def test_rows_move_and_new_events_are_known():
  old, new = data(OLD), data(OLD + NEW)
  growth = compare_logs(old, new)
  assert growth.old_row_N.tolist() == [-1, 0, 1, 2, 3]
  assert growth.new_rows.tolist() == [0]
  # The event of user 3 came late: its time is in the midst of the others.
  assert growth.new_T.tolist() == [True] * 3 + [False] * 4 + [True] + [
    False,
    False,
    True,
    False,
    False,
  ]
  assert (growth.new_users, growth.gone_items) == (1, 0)
  assert is_newest(new, growth).tolist() == [True, True, False]
  # All but the last two events of a user are trained on, before and now.
  assert untrained_from(new, growth, 0.0).tolist() == [0, 2, 2]
  assert untrained_from(new, growth, 1.0).tolist() == [0, 0, 0]


def test_equal_logs_have_nothing_new():
  growth = compare_logs(data(OLD), data(OLD))
  assert not growth.new_T.any()
  assert untrained_from(data(OLD), growth, 0.0).tolist() == [2, 2]  # the ends of the training views


@pytest.mark.parametrize(
  ("events", "sentence"),
  [
    (OLD[1:] + NEW, "1 events that the run knows are no longer in the log, or changed.*(2)"),
    (OLD[:4] + NEW[:3], "4 events"),
    ([(2, 5, 19), *OLD[1:]], "1 events"),
  ],
)
def test_an_event_that_is_gone_or_changed_is_refused(events, sentence):
  with pytest.raises(ValueError, match=sentence):
    compare_logs(data(OLD), data(events))


def test_another_rating_is_another_event_and_none_is_none():
  with pytest.raises(ValueError, match="8 events"):
    compare_logs(data(OLD), data(OLD, rating=1.0))
  unknown = np.float32(np.nan)
  assert not compare_logs(data(OLD, rating=unknown), data(OLD, rating=unknown)).new_T.any()


def with_actions(events, buys):
  """A log in which these events, by user and item, are purchases, and predicted."""
  made = data(events)
  users = np.repeat(made.histories.user_ids_U, made.histories.lengths_U).tolist()
  pairs = zip(users, made.items.ids_N[made.histories.item_T].tolist(), strict=True)
  action_T = np.array([pair not in buys for pair in pairs], np.int16)
  histories = made.histories._replace(action_T=action_T, actions=("buy", "view"))
  return with_targets(made._replace(histories=histories), Targets(("buy",)))


def test_the_newest_are_those_with_a_new_target():
  more = [(2, 4, 93), (2, 5, 94), (3, 4, 93), (3, 7, 94)]
  old_buys = {(2, 7), (2, 8), (3, 6)}  # user 3 has one target: all of their events trained
  old = with_actions(OLD, old_buys)
  new = with_actions(OLD + more, {*old_buys, (2, 4), (3, 4)})
  growth = compare_logs(old, new)
  assert growth.new_T.tolist() == [False] * 4 + [True] * 2 + [False] * 4 + [True] * 2
  assert growth.untrained_T.tolist() == [False] * 2 + [True] * 4 + [False] * 4 + [True] * 2
  assert is_newest(new, growth).tolist() == [True, True]
  # What validates user 3 now has been trained on.
  assert may_choose(new, growth).tolist() == [True, False]
  assert untrained_from(new, growth, 0.0).tolist() == [2, 1]


def test_another_action_is_another_event():
  with pytest.raises(ValueError, match="1 events"):
    compare_logs(with_actions(OLD, {(2, 7), (2, 8)}), with_actions(OLD, {(2, 6), (2, 7), (2, 8)}))


def test_forgotten_users_may_go_and_no_others_and_must_have_gone():
  growth = compare_logs(data(OLD), data(OLD[4:] + NEW[:3]), ["2"])
  assert growth.old_row_N.tolist() == [-1, 0, 1, 2, 3]
  with pytest.raises(ValueError, match=r"4 events .* of 1 users \(2\)"):
    compare_logs(data(OLD), data(OLD[4:]), ["7"])
  with pytest.raises(
    ValueError, match=r"still holds 1 of the users to forget.*out of the log first"
  ):
    compare_logs(data(OLD), data(OLD), ["3", "7"])


def test_ids_that_became_text_are_refused():
  with pytest.raises(ValueError, match="users' ids were numbers and are text now"):
    compare_logs(data(OLD), data(OLD, ids=str))
