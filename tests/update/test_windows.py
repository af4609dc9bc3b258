"""Which pieces of histories an update trains on, and what it predicts in them."""

import jax
import numpy as np
from tiny import all_codes, init_params, make_histories, make_model

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import packed_batches, sliding_batches
from sidrec.trainers.recommender import recommender_task
from sidrec.training.gradient import gradient
from sidrec.update.windows import windows_to_train


def rows_of(windows):
  histories = windows.histories
  return [histories.of(user).tolist() for user in range(histories.num_users)]


def targets_of(windows):
  return windows.histories.item_T[windows.target_T].tolist()


HISTORIES = make_histories(
  [list(range(10)), list(range(10, 16)), list(range(20, 23)), [30, 31, 32]]
)


def test_windows_with_something_recent_are_read_and_only_that_is_predicted():
  """Training views end two events before the histories do."""
  recent_from_U = np.array([6, 4, 0, 1])
  windows = windows_to_train(HISTORIES, recent_from_U, 0.0, 3, 0)
  # Of user 1 nothing is recent, and the only event of user 2 has nothing before it.
  assert rows_of(windows) == [[4, 5, 6, 7]]
  assert targets_of(windows) == [6, 7]
  assert windows.histories.user_ids_U.tolist() == [0]
  assert windows.histories.time_T.tolist() == [4, 5, 6, 7]
  assert (windows.recent_targets, windows.replayed, windows.num_targets) == (2, 0, 2)
  longer = windows_to_train(HISTORIES, np.array([3, 4, 1, 1]), 0.0, 3, 0)
  assert sorted(rows_of(longer)) == [[1, 2, 3, 4], [4, 5, 6, 7]]
  assert sorted(targets_of(longer)) == [3, 4, 5, 6, 7]
  whole = windows_to_train(HISTORIES, np.array([8, 0, 1, 1]), 0.0, 3, 0)
  assert rows_of(whole) == [[10, 11, 12, 13]]
  assert targets_of(whole) == [11, 12, 13]  # the first event of all is no target


def test_older_windows_are_drawn_until_there_are_enough():
  recent_from_U = np.array([7, 4, 1, 1])
  none, half, all_ = (
    windows_to_train(HISTORIES, recent_from_U, replay, 3, 0) for replay in (0.0, 2.0, 9.0)
  )
  assert rows_of(none) == [[4, 5, 6, 7]]
  assert targets_of(none) == [7]
  # The older windows of users 0 and 1, all of whose events are predicted but the first.
  assert rows_of(all_)[0] == [4, 5, 6, 7]
  assert sorted(rows_of(all_)[1:]) == [[0, 1], [1, 2, 3, 4], [10, 11, 12, 13]]
  assert sorted(targets_of(all_)) == [1, 2, 3, 4, 7, 11, 12, 13]
  assert (all_.recent_targets, all_.replayed) == (1, 7)
  assert 2 <= half.replayed <= 4
  again = windows_to_train(HISTORIES, recent_from_U, 2.0, 3, 0)
  assert rows_of(again) == rows_of(half)
  other = {str(rows_of(windows_to_train(HISTORIES, recent_from_U, 2.0, 3, s))) for s in range(9)}
  assert len(other) > 1


def test_older_windows_are_drawn_until_there_are_enough_events():
  recent_from_U = np.array([7, 4, 1, 1])
  few, some, all_ = (
    windows_to_train(HISTORIES, recent_from_U, 0.0, 3, 0, least) for least in (3.0, 4.0, 99.0)
  )
  # The recent window holds three events behind its first, two of which are only read.
  assert rows_of(few) == [[4, 5, 6, 7]]
  assert len(rows_of(some)) == 2
  assert sorted(rows_of(all_)) == [[0, 1], [1, 2, 3, 4], [4, 5, 6, 7], [10, 11, 12, 13]]
  both = windows_to_train(HISTORIES, recent_from_U, 9.0, 3, 0, 4.0)
  assert sorted(rows_of(both)) == sorted(rows_of(all_))  # the larger wish counts


def test_nothing_recent_trains_nothing():
  windows = windows_to_train(HISTORIES, np.array([8, 4, 1, 1]), 1.0, 3, 0)
  assert windows.num_targets == 0


def test_sliding_windows_have_recent_targets_alone():
  windows = windows_to_train(HISTORIES, np.array([6, 3, 0, 1]), 0.0, 3, 0)
  batch = sliding_batches(windows.source, 3, 3, 0)(0)
  rows = sorted(zip(batch["target_Bx1"][:, 0], batch["history_BxS"].tolist(), strict=True))
  assert rows == [(6, [4, 5, NO_ITEM]), (7, [4, 5, 6]), (13, [10, 11, 12])]


def test_what_was_to_be_predicted_before_the_recent_part_changes_no_bit_of_a_gradient():
  model, trie, _ = make_model(all_codes(2, 6))
  task, params = recommender_task(model, trie), init_params(*make_model(all_codes(2, 6)))
  windows = windows_to_train(HISTORIES, np.array([6, 2, 0, 1]), 0.0, 4, 0)
  at = int(np.flatnonzero(windows.histories.item_T == 5)[0])
  assert not windows.target_T[at]
  jitted = jax.jit(lambda batch: gradient(task, params, (), batch, jax.random.key(0)))

  def gradients(source, item):
    """Of a batch in which event `at` is read as it is, and would be predicted as `item`."""
    batch = packed_batches(source, 4, 2, 0)(0)
    item_T = windows.histories.item_T.copy()
    item_T[at] = item
    changed = source._replace(
      columns_of=lambda start_W, stop_W, names: [
        np.concatenate([item_T[a:b] for a, b in zip(start_W, stop_W, strict=True)]) for _ in names
      ]
    )
    target_BxS = packed_batches(changed, 4, 2, 0)(0)["target_BxS"]
    loss, _, _, grads = jitted({**batch, "target_BxS": target_BxS})
    return [np.asarray(x).tobytes() for x in (loss, *jax.tree.leaves(grads))]

  assert gradients(windows.source, 5) == gradients(windows.source, 33)
  everything = windows.source._replace(target_T=None)
  assert gradients(everything, 5) != gradients(everything, 33)
