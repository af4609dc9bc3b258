"""Times and ratings as inputs: buckets, what each position may know, and models without them."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eight_devices import same_gradient
from tiny import all_codes, init_params, make_histories, make_model

from sidrec.data.batches import packed_batches
from sidrec.data.events import Events
from sidrec.data.inputs import InputsConfig
from sidrec.data.prefix_batches import prefix_batches
from sidrec.data.spread import spread
from sidrec.models import inputs as inputs_lib
from sidrec.models.frequency import FilterConfig
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.trainers.sasrec import sasrec_task

LENGTH = 6
ALL = InputsConfig(gap=True, time_bias=True, rating=True, request_time="known")
OWN = InputsConfig(gap=True, time_bias=True, rating=True, request_time="unknown")


def test_buckets_are_those_of_the_formula_at_every_edge():
  edges = [round(math.exp(p / 2.5)) + d for p in range(54) for d in (-2, -1, 0, 1)]
  seconds = np.unique([0, 1, 2, 2**31 - 1, *(s for s in edges if 0 <= s < 2**31)])
  expected = [math.floor(2.5 * math.log1p(s)) for s in seconds.tolist()]
  found = jax.jit(inputs_lib.buckets)(jnp.asarray(seconds, jnp.int32))
  np.testing.assert_array_equal(found, expected)
  assert max(expected) == 53 < inputs_lib.FIRST
  np.testing.assert_array_equal(inputs_lib.buckets(jnp.array([-5, -(2**31)])), [0, 0])


@functools.cache
def recommender(inputs):
  shape = {"history_length": LENGTH, "encoder_layers": 2}
  model, trie, path = make_model(all_codes(2, 5), inputs=inputs, **shape)
  return model, init_params(model, trie, path, scale=3.0), trie, path


@functools.cache
def sasrec(inputs, **changes):
  shape = {"history_length": LENGTH, "width": 8, "layers": 2, "hidden": 16, "dropout": 0.0}
  model = SASRec(SASRecConfig(num_items=25, inputs=inputs, **shape, **changes))
  events = inputs_lib.example_events(jnp.zeros((1, LENGTH), jnp.int32), model.config)
  init = lambda key: model.init(key, events, method="states")
  rng = np.random.default_rng(0)
  draw = lambda x: jnp.asarray(rng.normal(0, 0.5, x.shape), jnp.float32)
  return model, jax.tree.map(draw, jax.eval_shape(init, jax.random.key(0))["params"])


def make(name, inputs):
  """(model, parameters, what `log_likelihood` takes between targets and segments)."""
  model, params, *rest = (sasrec if name == "sasrec" else recommender)(inputs)
  return model, params, rest


@functools.cache
def compiled(name, inputs):
  """(rows of the ratings' table, batch) → log p of each position's target: [B, S]."""
  model, params, rest = make(name, inputs)

  def run(rating_XxD, batch):
    changed = {**params, "inputs": {**params["inputs"], "rating": rating_XxD}}
    args = (Events.in_batch(batch), batch["target_BxS"], *rest, batch["segment_BxS"])
    logp = model.apply({"params": changed}, *args, method="log_likelihood")
    return logp.reshape(*logp.shape[:2], -1).sum(axis=-1)

  return jax.jit(run), params["inputs"]["rating"]


def by_position(name, inputs, batch):
  run, rating_XxD = compiled(name, inputs)
  return np.asarray(run(rating_XxD, batch))


ROW = [3, 1, 4, 15, 9, 2, 6]


def one_row(inputs, times, ratings):
  """The batch of one history that fills a row, the last event a target alone."""
  histories = make_histories([ROW])
  columns = {"time_T": np.array(times, np.int64), "rating_T": np.array(ratings, np.float32)}
  return packed_batches(histories._replace(**columns), LENGTH, 1, 0, inputs=inputs)(0)


TIMES = 1_400_000_000 + np.array([0, 50, 700, 700, 90_000, 10**6, 10**8])
RATINGS = np.array([1, 5, np.nan, 3, 8, 2, 4], np.float32)


@pytest.mark.parametrize("name", ["dense", "sasrec"])
@pytest.mark.parametrize("inputs", [ALL, OWN], ids=["known", "unknown"])
def test_no_position_knows_its_targets_rating_or_anything_later(name, inputs):
  """Every event is changed in turn: scores before it stay the same, bit for bit."""
  scores = by_position(name, inputs, one_row(inputs, TIMES, RATINGS))[0]
  for at in range(LENGTH + 1):
    ratings = RATINGS.copy()
    ratings[at] = 11
    changed = by_position(name, inputs, one_row(inputs, TIMES, ratings))[0]
    assert (changed[:at] == scores[:at]).all()
    assert at == LENGTH or changed[at] != scores[at]
  for at in range(1, LENGTH + 1):
    times = TIMES.copy()
    times[at:] += 5 * 10**8  # all later events, too
    changed = by_position(name, inputs, one_row(inputs, times, RATINGS))[0]
    first = at - 1 if inputs.asks else at  # that position's request is at this time
    assert (changed[:first] == scores[:first]).all()
    assert first == LENGTH or changed[first] != scores[first]


@pytest.mark.parametrize(("name", "inputs"), [("dense", ALL), ("sasrec", OWN)])
def test_no_gradient_reaches_back_from_a_later_position(name, inputs):
  """The rows of the tables that a position's score depends on are those of events up to it."""
  batch = one_row(inputs, TIMES, np.arange(7))  # each event has a row of its own

  run, rating_XxD = compiled(name, inputs)
  gradient_SxXxD = jax.jit(jax.jacrev(lambda table: run(table, batch)[0]))(rating_XxD)
  used_SxX = np.abs(np.asarray(gradient_SxXxD)).max(axis=-1) > 0
  np.testing.assert_array_equal(used_SxX[:, 1:7], np.tril(np.ones((6, 6), bool)))
  assert not used_SxX[:, [0, *range(7, 16)]].any()


@pytest.mark.parametrize(("name", "inputs"), [("dense", ALL), ("sasrec", OWN)])
def test_histories_that_share_a_row_equal_rows_of_their_own(name, inputs):
  rows, rng = [[3, 1, 4, 2], [7, 8, 9], [5, 6, 0, 11, 12, 13, 14, 2]], np.random.default_rng(1)
  histories = make_histories(rows)
  time_T = 10**9 + np.cumsum(rng.integers(1, 10**6, len(histories.item_T)))
  rating_T = rng.integers(0, 9, len(time_T)).astype(np.float32)
  histories = histories._replace(time_T=time_T, rating_T=rating_T)
  packed = packed_batches(histories, LENGTH, 3, 0, inputs=inputs)(0)
  assert (packed["segment_BxS"] == 1).any()
  found = by_position(name, inputs, packed)
  checked = 0
  for b in range(3):
    for number in np.unique(packed["segment_BxS"][b]):
      here = packed["segment_BxS"][b] == number
      if packed["history_BxS"][b][here][0] < 0:
        continue
      count = here.sum()
      alone = {}
      for key, column in packed.items():
        filler = {"rating_BxS": np.nan, "segment_BxS": LENGTH}.get(key, -1)
        alone[key] = np.full((1, LENGTH), filler, column.dtype)
        alone[key][0, :count] = 0 if key == "segment_BxS" else column[b][here]
      single = by_position(name, inputs, alone)
      np.testing.assert_allclose(single[0, :count], found[b][here], atol=1e-4)
      checked += count
  assert checked >= 12


def test_a_model_without_inputs_is_the_same_whatever_it_is_given():
  model, params, trie, path = recommender(InputsConfig(rating_step=2.0))
  plain, plain_params, *_ = recommender(InputsConfig())
  assert jax.tree.structure(params) == jax.tree.structure(plain_params)
  assert "inputs" not in params
  batch = one_row(ALL, TIMES, RATINGS)
  run = jax.jit(
    lambda history: model.apply(
      {"params": params}, history, batch["target_BxS"], trie, path, method="log_likelihood"
    )
  )
  np.testing.assert_array_equal(run(batch["history_BxS"]), run(Events.in_batch(batch)))
  texts = [run.lower(x).as_text() for x in (batch["history_BxS"], Events(batch["history_BxS"]))]
  assert texts[0] == texts[1]
  assert plain == model or plain.config.inputs != model.config.inputs


def test_what_is_read_and_not_given_is_said():
  model, params, trie, _ = recommender(ALL)
  items = np.array([[3, 1]], np.int32)
  for events, what in [
    (items, "times"),
    (Events.of(items, [[5, 6]]), "the request's time"),
    (Events.of(items, [[5, 6]], None, 7), "ratings"),
  ]:
    with pytest.raises(ValueError, match=f"the model reads {what} and the histories have none"):
      model.apply({"params": params}, events, trie.codes_NxL, method="encode")


def test_the_tiger_setting_has_no_bias_by_time():
  with pytest.raises(ValueError, match=r"model\.inputs\.time_bias needs model\.setting 'dense'"):
    make_model(all_codes(2, 3), setting="tiger", inputs=ALL)


BSAREC = {"norms": "after", "counted_from": "newest", "filter": FilterConfig(share=0.7)}


@pytest.mark.parametrize(
  ("make_batches", "changes"), [(packed_batches, {}), (prefix_batches, BSAREC)]
)
def test_eight_devices_have_the_gradient_of_one(make_batches, changes):
  model, params = sasrec(ALL, **changes)
  rng, rows = np.random.default_rng(3), [[u, *range(6, 6 + u % 5 + 1)] for u in range(20)]
  histories = make_histories(rows)
  time_T = np.cumsum(rng.integers(1, 10**6, len(histories.item_T)))
  rating_T = rng.integers(0, 9, len(time_T)).astype(np.float32)
  histories = histories._replace(time_T=time_T, rating_T=rating_T)
  make = lambda size, *process: make_batches(histories, LENGTH, size, 0, *process, inputs=ALL)
  six, of_eight = spread(make, 6, 6)(0), spread(make, 6, 8)(0)  # two devices have nothing to do
  _, grads = same_gradient(sasrec_task(model), params, six, of_eight)
  assert all(np.abs(x).max() > 1e-4 for x in grads["inputs"].values())
