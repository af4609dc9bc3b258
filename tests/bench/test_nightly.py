"""Updates night after night: how the log is cut, who is asked for, and what is made of costs."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
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


def test_who_comes_back_is_asked_for_from_all_that_came_before():
  whole = dataset()
  log = nightly.prefix(whole, 30)
  assert log.histories.user_ids_U.tolist() == [0, 1, 2, 4]  # user 3 has two events
  task = nightly.next_task(whole, log, 30, 42)
  ids = log.items.ids_N
  histories = [ids[task.histories.of(user)].tolist() for user in range(task.histories.num_users)]
  assert histories == [[0, 1, 2], [6, 7, 8], [11, 12, 13], [17, 18, 19]]
  # The items of the slice are none of the log's, so all are missed.
  assert task.target_U.tolist() == [-2] * 4
  assert task.histories.request_time_U.tolist() == [30, 31, 32, 34]
  again = nightly.next_task(dataset_with(3, 2), nightly.prefix(dataset_with(3, 2), 30), 30, 32)
  assert again.target_U.tolist() == [2, -2]  # of two users, for the others come later


def dataset_with(event, item):
  """User 0 meets another item at this event."""
  data = dataset()
  item_T = data.histories.item_T.copy()
  item_T[event] = item
  return data._replace(histories=data.histories._replace(item_T=item_T))


def test_shares_are_those_of_all_nights_together():
  cost = nightly_cost.Cost
  nights = [
    {**nightly.compared(np.array(a), np.array(b)), "ids_equal": True, **nightly._costs(*costs)}
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
  folder = epath.Path(tmp_path / "nights")
  folder.mkdir()
  found = nightly.measure(run_config(config), folder, nightly.Slices(0.5, 1.0, 2))
  (night,) = found["nights"]
  assert (night["users"], night["new_items"], found["ids_equal"]) == (60, 0, True)
  assert 0 <= night["updated"] <= 1
  assert 0 < night["update_making_s"] < night["update_cpu_s"]
  assert found["update_of_from_zero_cpu"] < found["update_of_training_cpu"]
  assert not (folder / "from_zero").exists()
