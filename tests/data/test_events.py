"""What models read of histories: relative times, when each next event is asked for, and ratings."""

import numpy as np
import pytest
from tiny import make_dataset, make_histories

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data import batches
from sidrec.data.columns import earlier_items, last_events
from sidrec.data.dataset import NO_TIMES, ORDER_FOR_TIME, held_out_view, training_view
from sidrec.data.events import Events, check_inputs, newest_first
from sidrec.data.inputs import ITEMS_ALONE, InputsConfig, without_idle_inputs

KNOWN = InputsConfig(gap=True, time_bias=True, rating=True, request_time="known")
UNKNOWN = InputsConfig(gap=True, rating=True, rating_step=0.5)
RNG = np.random.default_rng(0)
LENGTHS = [9, 1, 4, 3, 14, 2, 6]


def make_log():
  """Histories whose times and ratings tell the event: all are different."""
  rows = [list(range(20 * u, 20 * u + n)) for u, n in enumerate(LENGTHS)]
  histories = make_histories(rows)
  time_T = 1_300_000_000 + np.cumsum(RNG.integers(0, 10**6, len(histories.item_T)))
  rating_T = RNG.integers(0, 15, len(time_T)).astype(np.float32)
  rating_T[::5] = np.nan
  return histories._replace(time_T=time_T, rating_T=rating_T)


LOG = make_log()
AT = {item: place for place, item in enumerate(LOG.item_T.tolist())}


@pytest.mark.parametrize("make", [batches.packed_batches, batches.sliding_batches])
@pytest.mark.parametrize("length", [3, 8])
def test_each_position_of_a_batch_has_its_own_time_and_rating_and_the_time_of_its_target(
  make, length
):
  batch_at = make(LOG, length, 16, 0, inputs=KNOWN)
  plain = make(LOG, length, 16, 0)
  seen = 0
  for step in range(3):
    batch = batch_at(step)
    for name, column in plain(step).items():
      np.testing.assert_array_equal(batch[name], column)
    item_BxS = batch["history_BxS"]
    assert batch["time_BxS"].dtype == batch["asked_BxS"].dtype == np.int32
    assert (batch["time_BxS"] <= 0).all()
    for b, s in np.argwhere(item_BxS != NO_ITEM):
      at = AT[item_BxS[b, s]]  # the next event is the target, or the next of the window
      seconds = int(batch["asked_BxS"][b, s]) - int(batch["time_BxS"][b, s])
      assert seconds == LOG.time_T[at + 1] - LOG.time_T[at]
      if s and item_BxS[b, s - 1] == item_BxS[b, s] - 1:
        assert batch["time_BxS"][b, s] == batch["asked_BxS"][b, s - 1]
      np.testing.assert_equal(batch["rating_BxS"][b, s], LOG.rating_T[at])
      seen += 1
    empty = item_BxS == NO_ITEM
    assert np.isnan(batch["rating_BxS"][empty]).all()
    assert not batch["time_BxS"][empty].any()
  assert seen > 60


def test_batches_have_no_columns_that_are_not_read():
  names = {"history_BxS", "target_BxS", "segment_BxS"}
  for inputs, more in [
    (ITEMS_ALONE, set()),
    (InputsConfig(rating_step=2.0, request_time="known"), set()),
    (InputsConfig(gap=True), {"time_BxS"}),
    (InputsConfig(time_bias=True, request_time="known"), {"time_BxS", "asked_BxS"}),
    (InputsConfig(rating=True, request_time="known"), {"rating_BxS"}),
  ]:
    assert set(batches.packed_batches(LOG, 4, 2, 0, inputs=inputs)(0)) == names | more


def test_a_split_is_asked_at_its_targets_time_and_training_at_none():
  log = training_view(LOG)
  assert log.request_time_U is None
  long = np.array([0, 2, 4])
  histories = make_histories([LOG.of(user).tolist() for user in long])
  histories = histories._replace(time_T=np.concatenate([_times(user) for user in long]))
  for split, back in [("valid", 2), ("test", 1)]:
    task = held_out_view(histories, split)
    expected = [_times(user)[-back] for user in long]
    np.testing.assert_array_equal(task.histories.request_time_U, expected)
    known = InputsConfig(gap=True, request_time="known")
    events = last_events(task.histories, 5, np.array([2, 0]), known)
    for row, user in enumerate(long[[2, 0]]):
      times = _times(user)[:-back][-5:]
      count = len(times)
      asked = [*times[1:], _times(user)[-back]]
      np.testing.assert_array_equal(events.time_BxS[row, :count], times - asked[-1])
      np.testing.assert_array_equal(events.asked_BxS[row, :count], np.array(asked) - asked[-1])
      np.testing.assert_array_equal(
        events.item_BxS[row, :count], LOG.of(user)[: len(_times(user)) - back][-5:]
      )


def _times(user):
  return LOG.time_T[LOG.offsets_Up1[user] : LOG.offsets_Up1[user + 1]]


def test_events_are_made_of_lists_and_of_arrays_alike():
  lists = Events.of([[3, 1], [], [7]], [[10, 12], [], [5]], [[1, np.nan], [], [2]], [20, 8, 5])
  filled = [np.array([[10, 12], [99, -5], [5, 0]]), np.array([[1.0, np.nan], [7, 7], [2, 0]])]
  items = np.array([[3, 1], [NO_ITEM, NO_ITEM], [7, NO_ITEM]])
  arrays = Events.of(items, *filled, np.array([20, 8, 5]))
  for made in (lists, arrays):
    assert made.time_BxS.tolist() == [[-10, -8], [0, 0], [0, 0]]
    assert made.asked_BxS.tolist() == [[-8, 0], [0, 0], [0, 0]]
    np.testing.assert_array_equal(made.rating_BxS, [[1, np.nan], [0, 0], [2, 0]])
    assert [x.dtype for x in made[:4]] == [np.int32, np.int32, np.int32, np.float32]
  assert Events.of([[3, 1]], [[10, 12]]).time_BxS.tolist() == [[-2, 0]]
  assert Events.of([[3, 1]])[1:] == (None,) * 6


def test_earlier_items_come_newest_first_and_once():
  made = Events.of([[3], [3], [4]], earlier=[[7, 3, 7, 9, 3], [], [5, 5]])
  assert made.earlier_BxX.tolist() == [[3, 9, 7, -1, -1], [-1] * 5, [5, -1, -1, -1, -1]]
  rng = np.random.default_rng(0)
  event_BxX = rng.integers(-1, 6, (40, 9)).astype(np.int32)
  for row, found in zip(event_BxX.tolist(), newest_first(event_BxX).tolist(), strict=True):
    expected = [*dict.fromkeys(item for item in reversed(row) if item != NO_ITEM)]
    assert found == expected + [NO_ITEM] * (9 - len(expected))
  assert newest_first(np.zeros((3, 0), np.int32)).shape == (3, 0)


def test_users_and_training_windows_know_what_they_met_earlier():
  inputs = InputsConfig(earlier=4)
  for user in range(LOG.num_users):
    before = LOG.of(user)[:-3][-4:].tolist()
    found = earlier_items(LOG, 3, np.array([user]), 4)[0]
    assert [item for item in found.tolist() if item != NO_ITEM] == [*dict.fromkeys(before[::-1])]
  batch_at, met = batches.packed_batches(LOG, 3, 4, 0, inputs=inputs), 0
  starts = {}  # of windows, by their items and target
  for user in range(LOG.num_users):
    row = LOG.of(user).tolist()
    for stop in range(len(row), 1, -3):
      begin = max(stop - 4, 0)
      starts.setdefault((*row[begin:stop],), []).append(row[:begin][-4:])
  for step in range(30):
    batch = batch_at(step)
    for history, target, earlier in zip(
      batch["history_BxS"].tolist(),
      batch["target_BxS"].tolist(),
      batch["earlier_BxX"].tolist(),
      strict=True,
    ):
      earlier = [item for item in earlier if item != NO_ITEM]
      if not earlier:
        continue
      assert NO_ITEM not in history  # one window
      befores = starts[(*history, target[-1])]
      assert earlier in [[*dict.fromkeys(before[::-1])] for before in befores]
      met += 1
  assert met > 10


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (([[3, 1]], [[10, 9]]), "times of history 0 decrease"),
    (([[3, 1]], [[10, 12]], None, 11), "request 0 is made at 11, before its newest event at 12"),
    (([[3, 1]], [[10]]), "times are lists of other lengths"),
    (([[3, 1]], None, None, 11), "request_time is given without times"),
    (([[3, 1]], [[0, 1_700_000_000_000]]), "span 1,700,000,000,000 seconds, more than 68 years"),
    (([[3, 1]], np.zeros((1, 3))), r"times have shape \(1, 3\) and items \(1, 2\)"),
  ],
)
def test_events_that_contradict_themselves_are_refused(args, message):
  with pytest.raises(ValueError, match=message):
    Events.of(*args)


def test_users_may_live_further_apart_than_one_history_may_last():
  histories = make_histories([[0, 1, 2], [3, 4, 5]])
  histories = histories._replace(time_T=np.array([0, 1, 2, 10**10, 10**10 + 1, 10**10 + 2]))
  batch = batches.packed_batches(histories, 4, 1, 0, inputs=InputsConfig(gap=True))(0)
  assert batch["time_BxS"].tolist() == [[-2, -1, -2, -1]]


def test_histories_without_a_request_are_refused_where_it_is_read():
  with pytest.raises(ValueError, match=r"reads the request's time .* give histories\._replace"):
    last_events(LOG, 4, np.arange(2), KNOWN)
  assert last_events(LOG, 4, np.arange(2), ITEMS_ALONE)[1:] == (None,) * 6


@pytest.mark.parametrize("rating", [3.25, -1.0, 7.5])
def test_ratings_without_a_row_are_refused(rating):
  log = LOG._replace(rating_T=np.full_like(LOG.rating_T, rating))
  for make in (batches.packed_batches, batches.sliding_batches):
    with pytest.raises(ValueError, match=f"a rating is {rating:g}.*from 0 to 7; set the"):
      make(log, 4, 2, 0, inputs=UNKNOWN)(0)
  with pytest.raises(ValueError, match="a rating is"):
    last_events(log, 4, np.arange(2), UNKNOWN)


def test_a_data_set_without_times_or_ratings_says_so():
  data = make_dataset()
  check_inputs(ITEMS_ALONE, data._replace(notes=(NO_TIMES,)), "model.inputs")
  check_inputs(InputsConfig(gap=True), data, "model.inputs")
  wrong = r"model\.inputs reads %s, and data set 'tiny' has none"
  for note in (f"{NO_TIMES}: places", f"there is no column: {ORDER_FOR_TIME}"):
    untimed = data._replace(notes=("another", note))
    for inputs in (InputsConfig(gap=True), InputsConfig(time_bias=True)):
      with pytest.raises(ValueError, match=wrong % "times"):
        check_inputs(inputs, untimed, "model.inputs")
  with pytest.raises(ValueError, match=wrong % "ratings"):
    check_inputs(InputsConfig(rating=True), data, "model.inputs")


def test_settings_that_make_no_sense_are_refused():
  with pytest.raises(ValueError, match="unknown request_time 'maybe'"):
    InputsConfig(request_time="maybe")
  with pytest.raises(ValueError, match=r"inputs\.rating_step is 0"):
    InputsConfig(rating_step=0)


def test_inputs_that_are_off_decide_nothing():
  off = {"gap": False, "time_bias": False, "rating": False, "request_time": "known"}
  settings = {"width": 8, "inputs": off, "sasrec": {"inputs": {**off, "gap": True}}}
  assert without_idle_inputs(settings) == {"width": 8, "sasrec": settings["sasrec"]}
