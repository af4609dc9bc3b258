"""What is known of users, as a state in front of the history."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eight_devices import same_gradient
from tiny import all_codes, init_params, joint_log_likelihood, make_histories, make_model

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import packed_batches, sliding_batches
from sidrec.data.columns import last_events, users_of
from sidrec.data.dataset import TEXT
from sidrec.data.events import Events
from sidrec.data.inputs import InputsConfig, KnownInputs, with_known
from sidrec.data.user_attributes import Attribute
from sidrec.models.inputs import EventInputs
from sidrec.models.sasrec import SASRecSettings
from sidrec.models.settings import RecommenderConfig
from sidrec.search.checks import checked_columns
from sidrec.search.likelihood import item_paths, likelihood_scores
from sidrec.search.settings import SearchConfig
from sidrec.trainers.recommender import likelihood_method, recommender_task

LENGTH = 6
NAMES = ("job", "age")
JOB = Attribute("job", ("baker", "cook", "nurse"))
AGE = Attribute("age", None, (20.0, 40.0))
INPUTS = KnownInputs(user_attributes=NAMES, known=(JOB, AGE))
ROWS = [[3, 1, 4, 2], [7, 8, 9], [5, 6, 0]]
USERS = {
  "job": np.array(["cook", "", "baker"], TEXT),
  "age": np.array([30, 50, np.nan], np.float32),
}
SETTINGS = {
  "dense": {},
  "relative": {"positions": "relative", "item_head": True},
  "repeats": {"repeats": True, "inputs": {"gap": True, "time_bias": True, "earlier": 3}},
  "tiger": {"setting": "tiger", "user_tokens": 5},
}


@functools.cache
def made(name):
  """(model, parameters, trie, path_NxLp1)."""
  changes = dict(SETTINGS[name])
  inputs = with_known(
    InputsConfig(user_attributes=NAMES, **changes.pop("inputs", {})), INPUTS.known
  )
  shape = {"history_length": LENGTH, "encoder_layers": 2, "encoder_dropout": 0.0}
  model, trie, path = make_model(all_codes(2, 5), **shape, **changes, inputs=inputs)
  return model, init_params(model, trie, path, scale=2.0), trie, path


def histories_of(rows=ROWS, users=USERS):
  return make_histories(rows)._replace(users=users)


@functools.cache
def compiled(name):
  model, params, trie, path = made(name)
  causal = model.causal

  @jax.jit
  def run(table_XxD, batch):
    inputs = {**params["inputs"], "user_attribute": table_XxD}
    target = batch["target_BxS" if causal else "target_Bx1"]
    args = (Events.in_batch(batch), target, trie, path, batch.get("segment_BxS"))
    method = likelihood_method(model.config)
    return model.apply({"params": {**params, "inputs": inputs}}, *args, method=method)

  return run, params["inputs"]["user_attribute"]


def by_position(name, batch):
  """The sum of all that is learnt of each target: [B, Q]."""
  run, table_XxD = compiled(name)
  leaves = jax.tree.leaves(run(table_XxD, batch))
  return sum(np.asarray(x).reshape(*x.shape[:2], -1).sum(axis=-1) for x in leaves)


def packed(histories, batch, name):
  return packed_batches(histories, LENGTH, batch, 0, inputs=made(name)[0].config.inputs)(0)


CAUSAL = ["dense", "relative", "repeats"]


@pytest.mark.parametrize("name", CAUSAL)
def test_histories_that_share_a_row_equal_rows_of_their_own(name):
  both = packed(histories_of(), 2, name)
  assert (both["segment_BxS"] == 1).any()
  found = by_position(name, both)
  for user, row in enumerate(ROWS):
    users = {key: column[user : user + 1] for key, column in USERS.items()}
    alone = packed(histories_of([row], users), 1, name)
    count = len(row) - 1
    b, s = np.argwhere(both["history_BxS"] == row[0])[0]
    # Filled up to the room for users that the other batch has: it is compiled once.
    width = both["user_BxX"].shape[1]
    alone["user_BxX"] = np.pad(alone["user_BxX"], ((0, 0), (0, width - 2)))
    single = by_position(name, {k: np.repeat(x, 2, axis=0) for k, x in alone.items()})
    np.testing.assert_allclose(found[b, s : s + count], single[0, :count], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_user_changes_the_scores_of_their_own_history_alone(name):
  both = packed(histories_of(), 2, name)
  before = by_position(name, both)
  b, s = np.argwhere(both["history_BxS"] == 7)[0]
  window = both["segment_BxS"][b, s]
  changed = both["user_BxX"].copy()
  changed[b, 2 * window] = 3  # the second user is a nurse
  after = by_position(name, {**both, "user_BxX": changed})
  own = (np.arange(2)[:, None] == b) & (both["segment_BxS"] == window)
  real = both["target_BxS"] != NO_ITEM
  assert (np.abs(after - before)[own & real] > 1e-5).all()
  np.testing.assert_array_equal(after[~own & real], before[~own & real])


@pytest.mark.parametrize("name", ["dense", "tiger"])
def test_gradients_reach_the_rows_that_users_have_and_no_others(name):
  histories = histories_of()
  inputs = made(name)[0].config.inputs
  if name == "tiger":
    batch = sliding_batches(histories, LENGTH, 8, 0, num_user_tokens=5, inputs=inputs)(0)
  else:
    batch = packed(histories, 2, name)
  run, table_XxD = compiled(name)
  gradient_XxD = jax.grad(lambda table: run(table, batch).sum())(table_XxD)
  used = np.abs(np.asarray(gradient_XxD)).max(axis=1) > 1e-7
  # Unknown, baker, cook, nurse; unknown, below 20, below 40, more.
  assert used.tolist() == [True, True, True, False, True, False, True, True]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_training_and_search_agree_and_an_empty_history_has_its_user(name):
  model, params, trie, _ = made(name)
  inputs, first = model.config.inputs, model.config.input_length - LENGTH
  item_BxS = np.array([[3, 1, 4, -1, -1, -1], [-1] * LENGTH, [-1] * LENGTH])
  user_BxX = np.array([[2, 1], [2, 1], [0, 3]])
  events = Events.of(
    item_BxS,
    np.zeros(item_BxS.shape) if inputs.times else None,
    earlier=np.full((3, 3), NO_ITEM) if inputs.earlier else None,
    attributes=user_BxX,
  )
  events = events._replace(item_BxS=np.pad(events.item_BxS, ((0, 0), (first, 0))))
  scores = functools.partial(
    jax.jit(likelihood_scores, static_argnums=(0, 1)), model, SearchConfig()
  )
  args = params, trie, jnp.asarray(item_paths(trie)), events
  found = np.stack(
    [np.asarray(scores(*args, jnp.full(3, item, jnp.int32))) for item in range(0, 25, 4)]
  )
  assert np.isfinite(found).all()
  assert np.abs(found[:, 1] - found[:, 2]).max() > 1e-4  # two users of whom nothing else is known


def test_what_training_hides_is_unknown():
  module = EventInputs(INPUTS, 8, 1, 1)
  user_BxX = jnp.asarray(np.tile([2, 3], (400, 1)), jnp.int32)
  params = module.init(jax.random.key(0), user_BxX, method="of_users")
  table_XxD = np.asarray(params["params"]["user_attribute"])
  apply = functools.partial(module.apply, params, user_BxX, method="of_users")
  np.testing.assert_allclose(apply()[:, 0], np.tile(table_XxD[2] + table_XxD[7], (400, 1)))
  hidden = np.asarray(apply(train=True, rngs={"dropout": jax.random.key(1)}))[:, 0]
  kinds = [table_XxD[a] + table_XxD[b] for a in (0, 2) for b in (4, 7)]
  near = np.stack([np.abs(hidden - kind).max(axis=1) < 1e-6 for kind in kinds])
  assert (near.sum(axis=0) == 1).all()
  share = near.sum(axis=1) / 400
  np.testing.assert_allclose(share, [0.01, 0.09, 0.09, 0.81], atol=0.06)
  # Rows that there are not, as under a jit of the caller's, are unknown, too.
  beyond = module.apply(params, jnp.array([[9, -1]]), method="of_users")
  np.testing.assert_allclose(beyond[0, 0], table_XxD[0] + table_XxD[4])


def test_eight_devices_have_the_gradient_of_one():
  model, _, trie, path = made("dense")
  rows = [[u, *range(6, 6 + u % 5 + 1)] for u in range(20)]
  users = {
    "job": np.array([["cook", "baker", ""][u % 3] for u in range(20)], TEXT),
    "age": np.arange(20, dtype=np.float32) * 3,
  }
  batch = packed_batches(histories_of(rows, users), LENGTH, 8, 0, inputs=INPUTS)(0)
  params = init_params(model, trie, path)
  _, grads = same_gradient(recommender_task(model, trie), params, batch)
  assert np.abs(grads["inputs"]["user_attribute"]).max() > 1e-4


def test_without_attributes_nothing_is_there():
  """No parameter, no column, no state: users' attributes in the data change nothing."""
  bare, known = make_histories(ROWS), histories_of()
  for make in (packed_batches, sliding_batches):
    one, other = (make(histories, LENGTH, 2, 0)(0) for histories in (bare, known))
    assert list(one) == list(other)
    for name, column in one.items():
      np.testing.assert_array_equal(column, other[name])
  model, trie, path = make_model(all_codes(2, 5))
  params = init_params(model, trie, path)
  assert "inputs" not in params
  assert with_known(model.config.inputs, USERS) is model.config.inputs
  history = jnp.asarray([[3, 1, 4, 2]])
  found = joint_log_likelihood if model.config.item_head else None
  assert found is None
  states, visible = model.apply({"params": params}, history, trie.codes_NxL, method="encode_states")
  assert states.shape[1] == visible.shape[-1] == 4


def test_rows_of_a_batch_are_those_of_its_windows():
  batch = packed(histories_of(), 2, "dense")
  rows = {3: [2, 2], 7: [0, 3], 5: [1, 0]}  # first item of a history → its user's rows
  for b, s in np.argwhere(np.isin(batch["history_BxS"], [3, 7, 5])):
    window = batch["segment_BxS"][b, s]
    user = batch["user_BxX"][b].reshape(-1, 2)[window].tolist()
    assert user == rows[batch["history_BxS"][b, s]]
  long = histories_of([list(range(20)), [1, 2]], {k: x[:2] for k, x in USERS.items()})
  batch = packed_batches(long, LENGTH, 4, 0, inputs=INPUTS)(0)  # a history in several windows
  for b, s in np.argwhere(batch["history_BxS"] > 2):
    user = batch["user_BxX"][b].reshape(-1, 2)[batch["segment_BxS"][b, s]]
    assert user.tolist() == [2, 2]


def test_rows_take_no_more_windows_than_they_have_room_for():
  """Room for each window's user is bounded, and every window still comes once a pass."""
  rows = [[u, u + 1] for u in range(20)] + [list(range(7)) for _ in range(10)]
  users = {"job": np.array(["cook"] * 30, TEXT), "age": np.zeros(30, np.float32)}
  histories = histories_of(rows, users)
  without = packed_batches(histories, LENGTH, 1, 0)
  batches = packed_batches(histories, LENGTH, 1, 0, inputs=INPUTS)
  first = batches(0)
  room = first["user_BxX"].shape[1] // 2
  assert room == 4  # 30 windows for 80 positions, of which a row has 6
  counted, step = 0, 0
  while counted < 80:
    batch = batches(step)
    assert len({*batch["segment_BxS"][0].tolist()} - {LENGTH}) <= room
    counted += int((batch["target_BxS"] != NO_ITEM).sum())
    step += 1
  assert counted == 80
  assert len({*without(10)["segment_BxS"][0].tolist()}) <= LENGTH + 1


def test_wrong_rows_and_missing_ones_are_refused():
  events = Events.of([[3, 1]], attributes=[{"job": "cook", "age": 61}], inputs=INPUTS)
  assert events.user_BxX.tolist() == [[2, 3]]
  assert events.user_BxX.dtype == np.int32
  checked_columns(events, INPUTS)
  unknown = Events.of(
    [[3]] * 4, attributes=[None, {}, {"job": None}, {"job": "pope"}], inputs=INPUTS
  )
  assert unknown.user_BxX.tolist() == [[0, 0]] * 4
  with pytest.raises(ValueError, match="row 4 of 'job'; give 0, which is unknown, to 3"):
    checked_columns(Events.of([[3]], attributes=np.array([[4, 0]])), INPUTS)
  with pytest.raises(ValueError, match=r"user_BxX has shape \(1, 1\); give \(1, 2\)"):
    checked_columns(Events.of([[3]], attributes=np.array([[1]])), INPUTS)
  with pytest.raises(ValueError, match="the model reads users' attributes and the histories have"):
    checked_columns(Events.of([[3]]), INPUTS)
  with pytest.raises(ValueError, match="reads no attribute 'wage' of users; there are job, age"):
    Events.of([[3]], attributes=[{"wage": 3}], inputs=INPUTS)
  with pytest.raises(TypeError, match="attribute 'age' is 'old'; give a number, or None"):
    Events.of([[3]], attributes=[{"age": "old"}], inputs=INPUTS)
  with pytest.raises(
    ValueError, match=r"give a trained model's inputs, run\.model\.config\.inputs"
  ):
    Events.of([[3]], attributes=[{}], inputs=InputsConfig(user_attributes=NAMES))
  with pytest.raises(ValueError, match="attributes of 2 users are given for 1 histories"):
    Events.of([[3]], attributes=[{}, {}], inputs=INPUTS)
  bare = make_histories(ROWS)
  last_events(bare, 4, np.arange(3), INPUTS)  # has no column of theirs
  with pytest.raises(ValueError, match=r"'job' .*, and the data set has none of that name"):
    users_of(bare, np.arange(3), INPUTS)
  with pytest.raises(ValueError, match=r"'age' .*; there are: job"):
    packed(histories_of(users={"job": USERS["job"]}), 1, "dense")


def test_settings_that_cannot_read_users_are_refused():
  with pytest.raises(ValueError, match="SASRec reads nothing of users"):
    SASRecSettings(inputs=InputsConfig(user_attributes=NAMES))
  with pytest.raises(ValueError, match=r"user_attributes is 'job'; give names, such as"):
    InputsConfig(user_attributes="job")
  with pytest.raises(ValueError, match=r"inputs\.user_attributes names one twice: job, job"):
    InputsConfig(user_attributes=("job", "job"))
  model, trie, path = make_model(all_codes(2, 5), inputs=InputsConfig(user_attributes=NAMES))
  with pytest.raises(ValueError, match="users' attributes need the values that training met"):
    init_params(model, trie, path)
  assert RecommenderConfig(setting="tiger", inputs=INPUTS).inputs.any
