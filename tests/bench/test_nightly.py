"""Updates night after night: how the log is cut, who is asked for, and what is made of costs."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import make_dataset, make_histories, tiny_config

from sidrec.bench import nightly, nightly_cost
from sidrec.run.settings import run_config

# Users come back in turn: event i of user u is at time 10 i + u.
ROWS = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14], [15, 16], [17, 18, 19, 20]]


def dataset():
  data = make_dataset(ROWS)
  time_T = np.concatenate([10 * np.arange(len(row)) + user for user, row in enumerate(ROWS)])
  return data._replace(histories=make_histories(ROWS)._replace(time_T=time_T.astype(np.int64)))


def test_slices_hold_equally_many_events_and_end_where_the_next_begins():
  stop_X = nightly.ends_of(dataset().histories, nightly.Slices(0.5, 1.0, 3))
  time_T = dataset().histories.time_T
  assert [int((time_T < stop).sum()) for stop in stop_X] == [10, 14, 18, 21]
  for wrong in (nightly.Slices(0.0), nightly.Slices(0.9, 0.8), nightly.Slices(0.9, 1.0, 1)):
    with pytest.raises(ValueError, match="make no nights"):
      nightly.ends_of(dataset().histories, wrong)


def test_each_event_of_a_slice_is_asked_for_from_all_that_came_before():
  whole = dataset()
  log = nightly.prefix(whole, 30)
  assert log.histories.user_ids_U.tolist() == [0, 1, 2, 4]  # user 3 has two events
  task = nightly.slice_task(whole, log, 30, 42)
  ids = log.items.ids_N
  histories = [ids[task.histories.of(row)].tolist() for row in range(task.histories.num_users)]
  # The log lacks the items of the slice: none is in a history, and each is missed.
  assert histories == [[0, 1, 2]] * 2 + [[6, 7, 8]] * 2 + [[11, 12, 13], [17, 18, 19]]
  assert task.target_U.tolist() == [-2] * 6
  assert task.histories.user_ids_U.tolist() == [0, 0, 1, 1, 2, 4]
  assert task.histories.request_time_U.tolist() == [30, 40, 31, 41, 32, 34]
  again = dataset_with(3, 2)
  task = nightly.slice_task(again, nightly.prefix(again, 30), 30, 42)
  assert task.target_U.tolist() == [2, -2, -2, -2, -2, -2]
  assert ids[task.histories.of(1)].tolist() == [0, 1, 2, 2]  # what came in the slice itself is read


def test_a_user_of_whom_the_log_knows_no_item_is_not_asked_for():
  whole = dataset()
  log = nightly.prefix(whole, 30)
  assert 3 not in nightly.slice_task(whole, log, 0, 100).histories.user_ids_U


def test_users_weigh_as_much_as_they_have_events():
  value_R, user_R = np.array([0.2, 0.4, 1.0, 0.0]), np.array([7, 7, 3, 7])
  by_user = nightly.by_user(value_R, user_R)
  np.testing.assert_allclose(by_user, [0.5, 0.3])
  found = nightly.compared(value_R, np.zeros(4), user_R)
  assert (found["events"], found["users"]) == (4, 2)
  assert found["difference"] == pytest.approx(value_R.mean()) == pytest.approx(found["updated"])
  # Of two users, one or both are drawn: the interval reaches from one to the other.
  assert (found["difference_low"], found["difference_high"]) == pytest.approx((0.3, 0.5))


def dataset_with(event, item):
  """User 0 meets another item at this event."""
  data = dataset()
  item_T = data.histories.item_T.copy()
  item_T[event] = item
  return data._replace(histories=data.histories._replace(item_T=item_T))


def test_shares_are_those_of_all_nights_together():
  cost = nightly_cost.Cost
  nights = [
    {
      **nightly.compared(np.array(a), np.array(b), np.arange(len(a))),
      "ids_equal": True,
      **nightly._seconds(dict(zip(("update", "tokenizing", "training"), costs, strict=True))),
    }
    for a, b, costs in [
      ([1.0, 0.0, 0.5], [1.0, 1.0, 0.0], (cost(10.0, 4.0), cost(20.0, 5.0), cost(60.0, 20.0))),
      ([1.0], [0.0], (cost(20.0, 6.0), cost(20.0, 5.0), cost(40.0, 20.0))),
    ]
  ]
  found = nightly.overall(nights)
  assert found["updated_of_from_zero"] == pytest.approx(2.5 / 2)
  assert found["update_of_training_cpu"] == pytest.approx(0.3)
  assert found["update_of_from_zero_cpu"] == pytest.approx(30 / 140)
  assert found["update_of_training_cpu_without_compilation"] == pytest.approx(20 / 60)
  assert not nightly.overall([*nights, {**nights[0], "ids_equal": False}])["ids_equal"]


def test_cpu_seconds_of_making_programs_are_told_from_those_of_running_them():
  assert nightly_cost.union([(5, 6), (1, 3), (2, 2.5), (2.9, 4)]) == [(1, 4), (5, 6)]
  looks = [(0.0, 0.0), (2.0, 2.0), (4.0, 2.0), (6.0, 4.0)]  # at rest for two seconds
  assert nightly_cost.cpu_within([(1, 4), (5, 6)], looks) == pytest.approx(2.0)
  assert nightly_cost.cpu_within([], looks) == 0.0


def test_a_cost_holds_what_was_compiled_in_its_block():
  meter = nightly_cost.CostMeter()
  with meter.cost() as idle:
    pass
  with meter.cost() as found:
    jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x))(jnp.ones((7, 7))).block_until_ready()
    end = time.process_time() + 0.2
    while time.process_time() < end:
      pass
  ((cpu_s, making_s),) = found
  assert idle[0].making_s == 0.0
  assert 0 < making_s < cpu_s
  assert cpu_s - making_s > 0.1


@pytest.mark.slow
def test_nights_are_measured(tmp_path):
  """Two slices, hence one night: of 60 users with an event at each of 8 times."""
  config = tiny_config(tmp_path)
  config.nightly.steps_share = 1.0
  folder = tmp_path / "nights"
  folder.mkdir()
  found = nightly.measure(run_config(config), folder, nightly.Slices(0.5, 1.0, 2))
  (night,) = found["nights"]
  assert (night["users"], night["new_items"], found["ids_equal"]) == (60, 0, True)
  assert night["first_events"]["events"] == 60 < night["events"]
  assert 0 <= night["updated"] <= 1
  assert 0 < night["update_making_s"] < night["update_cpu_s"]
  assert found["update_of_from_zero_cpu"] < found["update_of_training_cpu"]
  config.nightly.steps_share = 0.0
  found = nightly.measure(run_config(config), folder, nightly.Slices(0.5, 1.0, 2))
  (again,) = found["nights"]
  assert (again["from_zero"], again["training_cpu_s"]) == (
    night["from_zero"],
    night["training_cpu_s"],
  )
  assert again["update_cpu_s"] < night["update_cpu_s"]


def test_a_folder_of_other_nights_is_refused(tmp_path):
  config, slices = run_config(tiny_config(tmp_path)), nightly.Slices(0.5, 1.0, 2)
  nightly._claim(tmp_path, config, slices)
  other = dataclasses.replace(config, nightly=dataclasses.replace(config.nightly, replay=3.0))
  nightly._claim(tmp_path, other, slices)  # that is what the folder is kept for
  for changed in (
    lambda: nightly._claim(tmp_path, dataclasses.replace(config, seed=1), slices),
    lambda: nightly._claim(tmp_path, config, slices._replace(count=3)),
  ):
    with pytest.raises(ValueError, match="have other settings"):
      changed()
  log = dataset()
  first = nightly._of_log(config, log, tmp_path)
  assert nightly._of_log(config, log, tmp_path) == first
  with pytest.raises(ValueError, match="is of another log"):
    nightly._of_log(config, dataset_with(3, 2), tmp_path)
