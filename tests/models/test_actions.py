"""Actions of events as an input: what a position may know of its target's, and one row as many."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eight_devices import same_gradient
from tiny import all_codes, init_params, make_histories, make_model

from sidrec.data.batches import packed_batches
from sidrec.data.events import Events
from sidrec.data.inputs import InputsConfig
from sidrec.data.targets import Targets, which
from sidrec.models.inputs import example_events
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.search.checks import checked_columns
from sidrec.trainers.sasrec import sasrec_task

LENGTH = 6
NAMES = tuple("abcdefgh")
INPUTS = InputsConfig(actions=NAMES)
ROW = [3, 1, 4, 15, 9, 2, 6]


def make(name):
  """(model, parameters, what `log_likelihood` takes between targets and segments)."""
  if name == "dense":
    shape = {"history_length": LENGTH, "encoder_layers": 2}
    model, trie, path = make_model(all_codes(2, 5), inputs=INPUTS, **shape)
    return model, init_params(model, trie, path, scale=3.0), (trie, path)
  shape = {"history_length": LENGTH, "width": 8, "layers": 2, "hidden": 16, "dropout": 0.0}
  model = SASRec(SASRecConfig(num_items=25, inputs=INPUTS, **shape))
  events = example_events(jnp.zeros((1, LENGTH), jnp.int32), model.config)
  init = lambda key: model.init(key, events, method="states")
  rng = np.random.default_rng(0)
  draw = lambda x: jnp.asarray(rng.normal(0, 0.5, x.shape), jnp.float32)
  return model, jax.tree.map(draw, jax.eval_shape(init, jax.random.key(0))["params"]), ()


@functools.cache
def compiled(name):
  """(rows of the actions' table, batch) → log p of each position's target: [B, S]."""
  model, params, rest = make(name)

  def run(action_XxD, batch):
    changed = {**params, "inputs": {"action": action_XxD}}
    args = (Events.in_batch(batch), batch["target_BxS"], *rest, batch["segment_BxS"])
    logp = model.apply({"params": changed}, *args, method="log_likelihood")
    return logp.reshape(*logp.shape[:2], -1).sum(axis=-1)

  return jax.jit(run), params["inputs"]["action"]


def by_position(name, batch):
  run, action_XxD = compiled(name)
  return np.asarray(run(action_XxD, batch))


def histories_of(rows, actions, targets=None):
  histories = make_histories(rows)
  histories = histories._replace(action_T=np.array(actions, np.int16), actions=NAMES)
  mark = None if targets is None else which(histories, targets)
  return histories._replace(target_T=mark)


def one_row(actions):
  """The batch of one history that fills a row, the last event a target alone."""
  return packed_batches(histories_of([ROW], actions), LENGTH, 1, 0, inputs=INPUTS)(0)


@pytest.mark.parametrize("name", ["dense", "sasrec"])
def test_no_position_knows_its_targets_action_or_any_later(name):
  """Every action is changed in turn: scores before it stay the same, bit for bit."""
  actions = [0, 3, -1, 2, 2, 5, 1]
  scores = by_position(name, one_row(actions))[0]
  for at in range(LENGTH + 1):
    other = [*actions[:at], 7, *actions[at + 1 :]]
    changed = by_position(name, one_row(other))[0]
    assert (changed[:at] == scores[:at]).all()
    assert at == LENGTH or changed[at] != scores[at]


@pytest.mark.parametrize("name", ["dense", "sasrec"])
def test_no_gradient_reaches_back_from_a_later_position(name):
  """The rows of the table that a position's score depends on are those of events up to it."""
  batch = one_row(range(7))  # each event has a row of its own
  run, action_XxD = compiled(name)
  gradient_SxXxD = jax.jit(jax.jacrev(lambda table: run(table, batch)[0]))(action_XxD)
  used_SxX = np.abs(np.asarray(gradient_SxXxD)).max(axis=-1) > 0
  np.testing.assert_array_equal(used_SxX[:, 1:7], np.tril(np.ones((6, 6), bool)))
  assert not used_SxX[:, [0, 7, 8]].any()


@pytest.mark.parametrize("name", ["dense", "sasrec"])
def test_histories_that_share_a_row_equal_rows_of_their_own(name):
  rows = [[3, 1, 4, 2], [7, 8, 9], [5, 6, 0]]
  actions = np.random.default_rng(1).integers(-1, 8, 10)
  packed = packed_batches(histories_of(rows, actions), LENGTH, 2, 0, inputs=INPUTS)(0)
  found, checked = by_position(name, packed), 0
  assert (packed["segment_BxS"] == 1).any()
  for row, start in zip(rows, (0, 4, 7), strict=True):
    alone = packed_batches(
      histories_of([row], actions[start : start + len(row)]), LENGTH, 1, 0, inputs=INPUTS
    )(0)
    count = len(row) - 1
    b, s = np.argwhere(packed["history_BxS"] == row[0])[0]
    single = by_position(name, {k: np.repeat(x, 2, axis=0) for k, x in alone.items()})
    np.testing.assert_allclose(found[b, s : s + count], single[0, :count], atol=1e-4)
    checked += count
  assert checked == 7


def test_eight_devices_have_the_gradient_of_one_and_other_events_have_no_loss():
  model, params, _ = make("sasrec")
  rng, rows = np.random.default_rng(3), [[u, *range(6, 6 + u % 5 + 1)] for u in range(20)]
  actions = rng.integers(-1, 8, sum(map(len, rows)))
  histories = histories_of(rows, actions, Targets(("a", "c", "f")))
  batch, task = packed_batches(histories, LENGTH, 8, 0, inputs=INPUTS)(0), sasrec_task(model)
  assert 8 <= int(task.weight(batch)) < int((batch["history_BxS"] >= 0).sum())
  loss, grads = same_gradient(task, params, batch)
  assert np.abs(grads["inputs"]["action"]).max() > 1e-4
  # The loss is the mean over targets alone.
  logp = by_position("sasrec", batch)
  assert -loss == pytest.approx(logp[batch["target_BxS"] >= 0].mean(), rel=1e-4)


def test_rows_of_no_action_are_refused():
  inputs = InputsConfig(actions=("view", "buy"))
  events = Events.of([[3, 1, 2]], actions=[["buy", None, "view"]], inputs=inputs)
  assert events.action_BxS.tolist() == [[2, 0, 1]]
  assert events.action_BxS.dtype == np.int32
  assert Events.of([[3, 1]], actions=np.array([[2, 0]])).action_BxS.tolist() == [[2, 0]]
  checked_columns(events, inputs)
  with pytest.raises(ValueError, match="action_BxS holds rows of no action; give 0 to 2"):
    checked_columns(Events.of([[3]], actions=[[3]]), inputs)
  with pytest.raises(ValueError, match="the model reads actions and the histories have none"):
    checked_columns(Events.of([[3]]), inputs)
  with pytest.raises(TypeError, match=r"actions are an array of <U3; give lists of names, or rows"):
    Events.of([[3]], actions=np.array([["buy"]]), inputs=inputs)
  with pytest.raises(ValueError, match=r"give inputs=config\.model\.inputs"):
    Events.of([[3]], actions=[["buy"]])
  with pytest.raises(ValueError, match="knows no action 'bye'; there are view, buy, and None"):
    Events.of([[3]], actions=[["bye"]], inputs=inputs)
