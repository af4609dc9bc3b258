"""Targets of some actions or ratings, against plain loops over a small log."""

import numpy as np
import polars as pl
import pytest

from sidrec.data import batches, cache, store
from sidrec.data.columns import last_events
from sidrec.data.dataset import held_out_view, leave_last_out, training_view
from sidrec.data.held_out_items import without_items
from sidrec.data.inputs import InputsConfig
from sidrec.data.k_core import core_of
from sidrec.data.sources.build import NO_ITEMS, build
from sidrec.data.targets import Targets, check_targets, with_targets
from sidrec.data.tie_breaking import shuffle_ties, tied_share

BUYS = Targets(("buy", "cart"))
READS = InputsConfig(actions=("buy", "view"), rating=True)


def make_log(seed=0, users=30):
  """Events as rows of a log, every item different, so that an item tells its event."""
  rng = np.random.default_rng(seed)
  rows = []
  for user in range(users):
    for time in range(int(rng.integers(3, 12))):
      action = [None, "buy", "cart", "view", "view", "view"][rng.integers(6)]
      rating = float(rng.integers(1, 6)) if rng.random() < 0.7 else None
      rows.append((user, len(rows), time, rating, action))
  return rows


ROWS = make_log()
FRAME = pl.DataFrame(ROWS, ["user", "item", "time", "rating", "action"], orient="row").with_columns(
  pl.col("rating").cast(pl.Float32)
)
DATASET = build("small", FRAME, NO_ITEMS)


def is_target(row, targets):
  """Whether an event of the log is one."""
  _, _, _, rating, action = row
  kind = not targets.actions or action in targets.actions
  return kind and (not targets.least_rating or (rating or 0) >= targets.least_rating)


def split_by_hand(targets):
  """User → (items that train, (history, target) of valid, the same of test); None for nobody."""
  found = {}
  for user in sorted({row[0] for row in ROWS}):
    events = [row for row in ROWS if row[0] == user]
    items = [row[1] for row in events]
    at = [place for place, row in enumerate(events) if is_target(row, targets)]
    if len(at) < 2 or at[-2] == 0:
      found[user] = items, None, None
    else:
      valid, test = at[-2:]
      found[user] = items[:valid], (items[:valid], items[valid]), (items[:test], items[test])
  return found


@pytest.mark.parametrize(
  "targets", [BUYS, Targets(("view",)), Targets((), 4.0), Targets(("view", "buy"), 3.0)]
)
def test_splits_and_training_targets_are_those_of_plain_loops(targets):
  marked = with_targets(DATASET, targets).histories
  expected = split_by_hand(targets)
  view = training_view(marked)
  assert [view.of(user).tolist() for user in range(view.num_users)] == [
    items for items, _, _ in expected.values()
  ]
  evaluated = [user for user, (_, valid, _) in expected.items() if valid]
  assert 0 < len(evaluated) < len(expected)
  assert leave_last_out(marked).user_R.tolist() == evaluated
  for place, split in enumerate(("valid", "test"), 1):
    task = held_out_view(marked, split)
    assert task.histories.user_ids_U.tolist() == evaluated
    for row, user in enumerate(evaluated):
      history, target = expected[user][place]
      assert task.histories.of(row).tolist() == history
      assert task.target_U[row] == target
      assert task.histories.request_time_U[row] == ROWS[target][2]
  wanted = {
    item
    for items, _, _ in expected.values()
    for item in items[1:]
    if is_target(ROWS[item], targets)
  }
  assert targets_in(batches.packed_batches(view, 4, 2, 0)) == wanted
  assert targets_in(batches.sliding_batches(view, 4, 2, 0)) == wanted


def targets_in(batch_at):
  """The items that some steps have as targets; each follows its history's last event."""
  found = set()
  for step in range(200):
    batch = batch_at(step)
    target = batch.get("target_BxS", batch.get("target_Bx1"))
    assert (target != -1).any()  # no row without a target
    found |= set(target[target != -1].tolist())
  return found


def test_a_target_follows_all_events_before_it_whatever_their_action():
  view = training_view(with_targets(DATASET, BUYS).histories)
  for step in range(20):
    batch = batches.packed_batches(view, 5, 3, 1, inputs=READS)(step)
    for b, s in np.argwhere(batch["target_BxS"] != -1):
      item, target = batch["history_BxS"][b, s], batch["target_BxS"][b, s]
      assert target == item + 1  # the next event of the log
      assert batch["action_BxS"][b, s] == {"buy": 1, "view": 2}.get(ROWS[item][4], 0)
    behind = batch["history_BxS"] == -1
    assert (batch["action_BxS"][behind] == 0).all()


def test_a_log_whose_every_event_is_a_target_gives_the_bits_of_one_without_targets():
  plain, marked = DATASET.histories, with_targets(DATASET, Targets((), 1e-9)).histories
  marked = marked._replace(target_T=np.ones(len(plain.item_T), bool))
  for make in (batches.packed_batches, batches.sliding_batches):
    for step in range(5):
      ours = make(training_view(marked), 4, 2, 0, inputs=READS)(step)
      theirs = make(training_view(plain), 4, 2, 0, inputs=READS)(step)
      assert all(np.array_equal(ours[name], theirs[name], equal_nan=True) for name in theirs)
  for split in ("valid", "test"):
    ours, theirs = held_out_view(marked, split), held_out_view(plain, split)
    np.testing.assert_array_equal(ours.target_U, theirs.target_U)
    np.testing.assert_array_equal(ours.histories.item_T, theirs.histories.item_T)


def test_no_targets_are_asked_for_so_nothing_changes():
  assert with_targets(DATASET, Targets()) is DATASET


def test_histories_without_actions_are_refused_where_they_are_read():
  bare = DATASET.histories._replace(action_T=None, actions=None)
  with pytest.raises(ValueError, match=r"reads actions .* and the histories have none"):
    last_events(bare, 4, np.arange(2), READS)
  read = last_events(DATASET.histories, 4, np.arange(2), READS).action_BxS
  names = [(None, "buy", "view")[row] for row in read[1]]
  mine = [row[4] if row[4] in READS.actions else None for row in ROWS if row[0] == 1][-4:]
  assert names[: len(mine)] == mine


def test_what_is_left_out_is_counted():
  note = with_targets(DATASET, BUYS).notes[-1]
  left_out = sum(valid is None for _, valid, _ in split_by_hand(BUYS).values())
  count = sum(is_target(row, BUYS) for row in ROWS)
  assert f"targets are the events of buy or cart, {count} of {len(ROWS)}" in note
  assert f"{left_out} of 30 users have fewer than two targets after their first event" in note


@pytest.mark.parametrize(
  ("targets", "message"),
  [
    (Targets(("bye",)), "train.targets names the action 'bye', and the log has: buy, cart, view"),
    (Targets((), 6.0), "no user has two targets"),
  ],
)
def test_targets_that_there_are_not(targets, message):
  with pytest.raises(ValueError, match=message):
    with_targets(DATASET, targets)


def test_a_log_without_actions_or_ratings_says_so():
  bare = build("bare", FRAME.select("user", "item", "time"), NO_ITEMS)
  with pytest.raises(ValueError, match=r"'buy', and the log has no actions; .*columns\.action"):
    with_targets(bare, BUYS)
  with pytest.raises(ValueError, match=r"least_rating is 3, and data set 'bare' has no ratings"):
    with_targets(bare, Targets((), 3.0))
  for names, least in (("buy", 0.0), (("buy", "buy"), 0.0), ((), -1.0), ((), float("nan"))):
    with pytest.raises(ValueError, match=r"train\.(targets|least_rating)"):
      check_targets(names, least)


def test_marks_go_through_files_and_along_with_their_events(tmp_path):
  marked = with_targets(DATASET, BUYS)
  cache.save_dataset(tmp_path / "small.npz", marked)
  found = cache.load_dataset(tmp_path / "small.npz")
  assert found.histories.actions == ("buy", "cart", "view")
  np.testing.assert_array_equal(found.histories.target_T, marked.histories.target_T)
  np.testing.assert_array_equal(found.histories.action_T, marked.histories.action_T)
  gone = np.arange(len(ROWS)) % 7 == 0
  for other in (shuffle_ties(marked, 3), without_items(marked, gone), core_of(double(marked), 3)):
    histories = other.histories
    ids = other.items.ids_N[histories.item_T].tolist()
    assert histories.target_T.tolist() == [is_target(ROWS[item], BUYS) for item in ids]
    names = [*histories.actions, None]
    assert [names[row] for row in histories.action_T] == [ROWS[item][4] for item in ids]
  assert tied_share(marked.histories, "test") == 0


def double(dataset):
  """Each event three times, so that every item has a 3-core."""
  histories = dataset.histories
  at_T = np.repeat(np.arange(len(histories.item_T)), 3)
  return dataset._replace(histories=histories.taken(3 * histories.offsets_Up1, at_T))


@pytest.mark.parametrize("make", [batches.packed_batches, batches.sliding_batches])
def test_batches_from_shards_are_those_of_memory(tmp_path, make):
  store.write_store(tmp_path / "store", DATASET, 3)
  stored = store.load_store(tmp_path / "store")
  assert stored.histories.actions == DATASET.histories.actions
  np.testing.assert_array_equal(stored.histories.action_T, DATASET.histories.action_T)
  view = training_view(with_targets(DATASET, BUYS).histories)
  from_shards = store.from_shards(make, tmp_path / "store", 0, BUYS)
  ours, theirs = from_shards(None, 4, 4, 7, inputs=READS), make(view, 4, 4, 7, inputs=READS)
  for step in range(6):
    for name, expected in theirs(step).items():
      np.testing.assert_array_equal(ours(step)[name], expected)
  with pytest.raises(ValueError, match="names the action 'bye', and the log has: buy, cart"):
    store.training_source(store.open_store(tmp_path / "store"), Targets(("bye",)))
