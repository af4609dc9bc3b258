"""On which users and targets models are compared, and in whose rows."""

import numpy as np
import pytest
from tiny import make_dataset

from sidrec.run.settings import UpdateConfig
from sidrec.update import compare, report
from sidrec.update.logs import Growth

DATA = make_dataset([[0, 1, 2, 3], [4, 0, 5, 1], [0, 0, 0, 2], [6, 7, 8, 9]])
# Item 0 is new, item 1 was row 0, …; the last events of users 0, 1 and 2 are new.
OLD_ROW_N = np.arange(-1, 29)
NEW_T = np.zeros(16, bool)
NEW_T[[3, 7, 8, 9, 10, 11]] = True
GROWTH = Growth(OLD_ROW_N, NEW_T, NEW_T, 1, 0)


def test_last_events_that_are_new_are_the_targets():
  task = compare.newest_task(DATA, GROWTH, 0, 0)
  assert task.held_out.target_U.tolist() == [3, 1, 2]
  assert task.held_out.histories.user_ids_U.tolist() == [0, 1, 2]
  assert task.held_out.histories.of(1).tolist() == [4, 0, 5]
  assert task.held_out.histories.request_time_U.tolist() == [3, 7, 11]
  assert (task.are_newest, task.num_users) == (True, 3)
  drawn = compare.newest_task(DATA, GROWTH, 2, 0)
  assert (len(drawn.held_out.target_U), drawn.num_users) == (2, 3)
  nothing_new = compare.newest_task(DATA, GROWTH._replace(new_T=np.zeros(16, bool)), 0, 0)
  assert (len(nothing_new.held_out.target_U), nothing_new.are_newest) == (4, False)


def test_rows_of_the_catalogue_before_lack_new_items():
  whole = compare.newest_task(DATA, GROWTH, 0, 0).held_out
  before = compare.in_rows_of(whole, GROWTH.old_row_N)
  assert before.target_U.tolist() == [2, 0, 1]
  assert [before.histories.of(user).tolist() for user in range(3)] == [[0, 1], [3, 4], []]
  assert before.histories.time_T.tolist() == [1, 2, 4, 6]
  assert before.histories.request_time_U.tolist() == [3, 7, 11]
  target_of_new = whole._replace(target_U=np.array([0, 1, 2], np.int32))
  assert compare.in_rows_of(target_of_new, GROWTH.old_row_N).target_U.tolist() == [-2, 0, 1]


@pytest.mark.parametrize(
  ("updated", "force", "decision"),
  [(0.5, False, "promoted"), (0.491, False, "promoted"), (0.489, False, "refused")]
  + [(0.489, True, "forced"), (0.6, True, "promoted")],
)
def test_decisions(updated, force, decision):
  task = compare.newest_task(DATA, GROWTH, 0, 0)
  of_system = {"updated": np.full(3, updated), "before": np.full(3, 0.5)}
  found = compare.figures(task, np.array([True, True, False]), of_system)
  settings = UpdateConfig(max_worse=0.02)
  assert report.decide(found, settings, force=force) == decision
  said = report.sentence(decision, found, settings)
  assert said.startswith(f"{decision}: NDCG@10 on the new last events of 3 users is {updated:.4f}")
  assert ("--force" in said) == (decision != "promoted")
  assert found["targets that are new items"] == 1


def test_from_zero_is_one_more_system():
  task = compare.newest_task(DATA, GROWTH, 0, 0)
  of_system = {name: np.full(3, x) for name, x in (("updated", 0.4), ("before", 0.3))}
  found = compare.figures(task, np.ones(3, bool), {**of_system, "from zero": np.full(3, 0.5)})
  assert found["updated - from zero"]["mean"] == pytest.approx(-0.1)
  assert found["from zero - before"]["mean"] == pytest.approx(0.2)


@pytest.mark.parametrize(
  "name", ["steps_share", "learning_rate_share", "replay", "most_passes", "max_worse"]
)
def test_settings_are_checked(name):
  with pytest.raises(ValueError, match=rf"nightly.{name} is -1"):
    UpdateConfig(**{name: -1})
  with pytest.raises(ValueError, match="recent_share is 2"):
    UpdateConfig(recent_share=2)
  with pytest.raises(ValueError, match=r"trained_share is 1\.5"):
    UpdateConfig(trained_share=1.5)
