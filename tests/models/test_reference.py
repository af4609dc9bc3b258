"""The models compute what the formulas say: compared with `tests/numpy_reference.py` to 1e-5."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_reference import (
  bsarec_states,
  bucket,
  dense_log_likelihood,
  item_scores,
  log_softmax,
  sasrec_states,
  tiger_log_likelihood,
)
from reference_models import (
  ALL_INPUTS,
  HISTORIES,
  MODELS,
  NUM_ITEMS,
  RATINGS,
  TARGETS,
  TIMES,
  USERS,
  RecordedDropout,
  as_float64,
  draw_recommender,
  draw_sasrec,
  make_codes,
  make_recommender,
  make_sasrec,
  padded,
)

from sidrec.data.batches import NO_ITEM
from sidrec.data.events import Events
from sidrec.data.inputs import InputsConfig
from sidrec.models import layers
from sidrec.models.frequency import FilterConfig
from sidrec.models.positions import buckets
from sidrec.search.exact import recommend
from sidrec.trainers.recommender import recommender_task
from sidrec.trainers.sasrec import sasrec_task

CODES = make_codes()
USER_B = [0, 3, 4, 1]
assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def apply(model, params, *args, method):
  return model.apply({"params": params}, *args, method=method)


@functools.partial(jax.jit, static_argnums=0)
def all_ranked(model, params, history):
  return recommend(model, params, history, NUM_ITEMS)


def packed():
  """HISTORIES as training packs them: two rows of several histories, one filled up.

  A history's items but the last predict what follows; the last one predicts its target.
  """
  rows = [[0, 1], [2, 3]]
  history_2xS, target_2xS, segment_2xS = [], [], []
  for row in rows:
    items = [item for at in row for item in HISTORIES[at]]
    targets = [item for at in row for item in [*HISTORIES[at][1:], TARGETS[at]]]
    segments = [number for number, at in enumerate(row) for _ in HISTORIES[at]]
    fill = 13 - len(items)
    history_2xS.append(items + [NO_ITEM] * fill)
    target_2xS.append(targets + [NO_ITEM] * fill)
    segment_2xS.append(segments + [len(row)] * fill)
  return tuple(np.array(x, np.int32) for x in (history_2xS, target_2xS, segment_2xS))


def packed_events(item_2xS):
  """The events of `packed`: each item's time, the next one's, and its rating."""
  columns = [np.zeros(item_2xS.shape, np.int32) for _ in range(2)]
  columns.append(np.full(item_2xS.shape, np.nan, np.float32))
  for row, ats in enumerate([[0, 1], [2, 3]]):
    events = [event for at in ats for event in events_of(at)]
    for column, values in zip(columns, zip(*events, strict=True), strict=True):
      known = [np.nan if value is None else value for value in values]
      column[row, : len(known)] = known
  return Events(item_2xS, *columns)


def events_of(at):
  """(time, time of what follows, rating) of each item of a history."""
  return list(zip(TIMES[at], TIMES[at][1:], RATINGS[at], strict=False))


def prefix_events():
  """The events so far of every target of `packed`, in the order of `prefixes`."""
  for at, items in enumerate(HISTORIES):
    yield from (events_of(at)[: place + 1] for place in range(len(items)))


def prefixes():
  """(row, position, items so far, target) of every target of `packed`."""
  for row, ats in enumerate([[0, 1], [2, 3]]):
    start = 0
    for at in ats:
      items, targets = HISTORIES[at], [*HISTORIES[at][1:], TARGETS[at]]
      for place, target in enumerate(targets):
        yield row, start + place, items[: place + 1], target
      start += len(items)


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("dense")])
def test_dense(name):
  """Every position of packed rows predicts as its history alone does, unpacked and unpadded."""
  check_dense(*make_recommender(**MODELS[name]))


def test_dense_in_blocks_of_queries(monkeypatch):
  """Rows of more positions than a block of a causal mask holds."""
  monkeypatch.setattr(layers, "CAUSAL_BLOCK", 5)
  # One layer, so that nothing compiled for whole rows is taken.
  check_dense(*make_recommender(item_head=True, encoder_layers=1, decoder_layers=1))


def check_dense(model, trie, path):
  params = draw_recommender(model, trie, path)
  history, target, segment = packed()
  method = "joint_log_likelihood" if model.config.item_head else "log_likelihood"
  found = apply(model, params, history, target, trie, path, segment, method=method)
  level_2xSxL, item_2xS = found if model.config.item_head else (found, None)
  reference = (as_float64(params), model.config, CODES, np.asarray(path))
  for row, place, items, item in prefixes():
    logp_L, score_N = dense_log_likelihood(*reference, items, item)
    assert_close(level_2xSxL[row, place], logp_L)
    if item_2xS is not None:
      assert_close(item_2xS[row, place], log_softmax(score_N)[item])


INPUTS = {
  "request known": InputsConfig(**ALL_INPUTS, request_time="known"),
  "request unknown": InputsConfig(**ALL_INPUTS, request_time="unknown"),
  "bias alone": InputsConfig(time_bias=True, request_time="known"),
  "half a rating": InputsConfig(rating=True, rating_step=0.5),
}


def half_ratings(events, inputs):
  """Ratings as multiples of the inputs' step."""
  return [(*e[:2], None if e[2] is None else e[2] * inputs.rating_step) for e in events]


@pytest.mark.parametrize(
  ("name", "positions"), [*((name, "absolute") for name in INPUTS), ("request known", "relative")]
)
def test_dense_with_times_and_ratings(name, positions):
  inputs = INPUTS[name]
  model, trie, path = make_recommender(inputs=inputs, positions=positions)
  params = draw_recommender(model, trie, path)
  history, target, segment = packed()
  events = packed_events(history)
  events = events._replace(rating_BxS=events.rating_BxS * np.float32(inputs.rating_step))
  found = apply(model, params, events, target, trie, path, segment, method="log_likelihood")
  reference = (as_float64(params), model.config, CODES, np.asarray(path))
  for (row, place, items, item), read in zip(prefixes(), prefix_events(), strict=True):
    read = half_ratings(read, inputs)
    assert_close(found[row, place], dense_log_likelihood(*reference, items, item, events=read)[0])


@pytest.mark.parametrize(("known", "users"), [("known", USERS), ("unknown", 0)])
def test_tiger_with_times_and_ratings(known, users):
  inputs = InputsConfig(gap=True, rating=True, request_time=known)
  model, trie, path = make_recommender(setting="tiger", user_tokens=users, inputs=inputs)
  params = draw_recommender(model, trie, path)
  history = padded(HISTORIES, 8)
  ratings = [[np.nan if x is None else x for x in row] for row in RATINGS]
  times, request_time = [row[:-1] for row in TIMES], [row[-1] for row in TIMES]
  events = Events.of(HISTORIES, times, ratings, request_time)
  if users:
    token_Bx1 = np.array(USER_B, np.int32)[:, None]
    events = events._replace(item_BxS=np.concatenate([token_Bx1, history], axis=1))
  target_Bx1 = np.array(TARGETS, np.int32)[:, None]
  found_Bx1xL = apply(model, params, events, target_Bx1, trie, path, method="log_likelihood")
  reference = (as_float64(params), model.config, CODES, np.asarray(path))
  for row, (items, target) in enumerate(zip(HISTORIES, TARGETS, strict=True)):
    user = USER_B[row] if users else None
    expected = tiger_log_likelihood(*reference, items, target, user, events=events_of(row))
    assert_close(found_Bx1xL[row, 0], expected)


@pytest.mark.parametrize("name", ["request known", "request unknown"])
def test_sasrec_with_times_and_ratings(name):
  inputs = INPUTS[name]
  model = make_sasrec(inputs=inputs)
  params = draw_sasrec(model)
  history, target, segment = packed()
  events = packed_events(history)
  events = events._replace(rating_BxS=events.rating_BxS * np.float32(inputs.rating_step))
  logp_2xS = apply(model, params, events, target, segment, method="log_likelihood")
  reference = as_float64(params)
  for (row, place, items, item), read in zip(prefixes(), prefix_events(), strict=True):
    read = half_ratings(read, inputs)
    states_SxD = sasrec_states(reference, model.config, items, events=read)
    assert_close(logp_2xS[row, place], log_softmax(item_scores(reference, states_SxD[-1]))[item])


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("tiger")])
def test_tiger(name):
  model, trie, path = make_recommender(**MODELS[name])
  params = draw_recommender(model, trie, path)
  history = padded(HISTORIES, 8)
  if model.config.user_tokens:
    history = np.concatenate([np.array(USER_B, np.int32)[:, None], history], axis=1)
  target_Bx1 = np.array(TARGETS, np.int32)[:, None]
  found_Bx1xL = apply(model, params, history, target_Bx1, trie, path, method="log_likelihood")
  reference = (as_float64(params), model.config, CODES, np.asarray(path))
  for row, (items, target) in enumerate(zip(HISTORIES, TARGETS, strict=True)):
    user = USER_B[row] if model.config.user_tokens else None
    assert_close(found_Bx1xL[row, 0], tiger_log_likelihood(*reference, items, target, user))


@pytest.mark.parametrize("item_bias", [False, True])
def test_sasrec(item_bias):
  model = make_sasrec(item_bias=item_bias)
  params = draw_sasrec_all(model)
  history, target, segment = packed()
  logp_2xS = apply(model, params, history, target, segment, method="log_likelihood")
  reference = as_float64(params)
  for row, place, items, item in prefixes():
    score_N = item_scores(reference, sasrec_states(reference, model.config, items)[-1])
    assert_close(logp_2xS[row, place], log_softmax(score_N)[item])
  found = all_ranked(model, params, padded(HISTORIES, 8))
  for row, items in enumerate(HISTORIES):
    states_SxD = sasrec_states(reference, model.config, items)
    logp_N = log_softmax(item_scores(reference, states_SxD[-1]))
    np.testing.assert_array_equal(np.sort(found.item_BxK[row]), np.arange(NUM_ITEMS))
    assert_close(found.score_BxK[row], logp_N[found.item_BxK[row]])
    assert_close(found.score_BxK[row], np.sort(logp_N)[::-1])


BSAREC = {
  "norms": "after",
  "counted_from": "newest",
  "filter": FilterConfig(share=0.6, frequencies=2),
}
PARTS = ("attention", "filter", "feed")


def test_bsarec():
  """The last position of each history predicts as the history alone does, packed or padded."""
  model = make_sasrec(**BSAREC)
  params = draw_sasrec(model)
  reference = as_float64(params)
  history, _, segment = packed()
  target_2xQ, at_2xQ = np.array(TARGETS).reshape(2, 2), np.array([[0, 3], [4, 12]])
  args = history, target_2xQ, segment, at_2xQ
  logp_2xQ = apply(model, params, *map(jnp.asarray, args), method="log_likelihood")
  found = all_ranked(model, params, padded(HISTORIES, 8))
  for row, (items, target) in enumerate(zip(HISTORIES, TARGETS, strict=True)):
    states_SxD = bsarec_states(reference, model.config, items)
    logp_N = log_softmax(item_scores(reference, states_SxD[-1]))
    assert_close(logp_2xQ.reshape(-1)[row], logp_N[target])
    assert_close(found.score_BxK[row], logp_N[found.item_BxK[row]])
    assert_close(found.score_BxK[row], np.sort(logp_N)[::-1])


def test_bsarec_training_drops(monkeypatch):
  model, dropout = make_sasrec(dropout=0.35, **BSAREC), RecordedDropout()
  params = draw_sasrec(model)
  dropout.install(monkeypatch)
  batch = {"history_BxS": jnp.array(HISTORIES[-1:]), "segment_BxS": jnp.zeros((1, 8), jnp.int32)}
  batch |= {"target_BxQ": jnp.array([TARGETS[-1:]]), "at_BxQ": jnp.array([[7]])}
  loss, _ = jax.jit(sasrec_task(model).loss)(params, (), batch, jax.random.key(0))
  parts = [f"blocks_{layer}/{part}_drop" for layer in (0, 1) for part in PARTS]
  assert dropout.sites() == {"drop": (1, 0.35), **dict.fromkeys(parts, (1, 0.35))}
  drop = last_of(dropout.for_row(0))
  states_SxD = bsarec_states(as_float64(params), model.config, HISTORIES[-1], drop)
  logp_N = log_softmax(item_scores(as_float64(params), states_SxD[-1]))
  assert_close(loss, -logp_N[TARGETS[-1]])


def last_of(drop):
  """`drop` for a reference that computes all positions where the model computes the last one."""

  def at_last(site, x_SxD):
    if not site.startswith("blocks_1"):
      return drop(site, x_SxD)
    return np.concatenate([x_SxD[:-1], drop(site, x_SxD[-1:])])

  return at_last


def draw_sasrec_all(model):
  """Parameters with the item bias, which `states` alone does not make."""
  params = draw_sasrec(model)
  if model.config.item_bias:
    bias_N = np.random.default_rng(1).normal(size=NUM_ITEMS)
    params["item_bias"] = jnp.asarray(bias_N, jnp.float32)
  return params


@pytest.mark.parametrize("bidirectional", [False, True])
def test_t5_buckets(bidirectional):
  """To distances beyond the last bucket's start."""
  expected = [[bucket(x - q, bidirectional) for x in range(200)] for q in range(200)]
  np.testing.assert_array_equal(buckets(200, bidirectional), expected)
  assert np.max(expected) == 31


def test_dense_training_drops(monkeypatch):
  """Training's loss is the reference's with the same masks: none is missing, none is too many."""
  changes = {"encoder_dropout": 0.25, "decoder_dropout": 0.2, "item_head": True}
  model, trie, path = make_recommender(**changes)
  params, dropout = draw_recommender(model, trie, path), RecordedDropout()
  dropout.install(monkeypatch)
  items, targets = HISTORIES[-1], [*HISTORIES[-1][1:], TARGETS[-1]]
  batch = {"history_BxS": jnp.array([items]), "target_BxS": jnp.array([targets])}
  batch["segment_BxS"] = jnp.zeros((1, 8), jnp.int32)
  task = recommender_task(model, trie, item_loss=0.7)
  loss, _ = jax.jit(task.loss)(params, (), batch, jax.random.key(0))
  assert dropout.sites() == {
    "encoder_drop": (1, 0.25),
    **{f"encoder_{layer}/drop": (2, 0.25) for layer in range(2)},
    "decoder_drop": (1, 0.2),
    **{f"decoder_{layer}/drop": (3, 0.2) for layer in range(2)},
  }
  expected = []
  for place, target in enumerate(targets):
    reference = (as_float64(params), model.config, CODES, np.asarray(path))
    drop = dropout.for_row(0, place)
    logp_L, score_N = dense_log_likelihood(*reference, items[: place + 1], target, drop)
    expected.append(-logp_L.sum() - 0.7 * log_softmax(score_N)[target])
  assert_close(loss, np.mean(expected))


def test_tiger_training_drops(monkeypatch):
  settings = {**MODELS["tiger"], "encoder_dropout": 0.3, "decoder_dropout": 0.4}
  model, trie, path = make_recommender(**settings)
  params, dropout = draw_recommender(model, trie, path), RecordedDropout()
  dropout.install(monkeypatch)
  history = np.concatenate([[[USERS - 1]], padded(HISTORIES[2:3], 8)], axis=1)
  batch = {"history_BxS": jnp.asarray(history), "target_Bx1": jnp.array([[TARGETS[2]]])}
  loss, _ = jax.jit(recommender_task(model, trie).loss)(params, (), batch, jax.random.key(0))
  assert len(dropout.sites()) == 2 + 2 + 2
  reference = (as_float64(params), model.config, CODES, np.asarray(path))
  drop = dropout.for_row(0, 0)
  logp_L = tiger_log_likelihood(*reference, HISTORIES[2], TARGETS[2], USERS - 1, drop)
  assert_close(loss, -logp_L.sum())


def test_sasrec_training_drops(monkeypatch):
  model, dropout = make_sasrec(dropout=0.35), RecordedDropout()
  params = draw_sasrec(model)
  dropout.install(monkeypatch)
  items, targets = HISTORIES[-1], [*HISTORIES[-1][1:], TARGETS[-1]]
  batch = {"history_BxS": jnp.array([items]), "target_BxS": jnp.array([targets])}
  batch["segment_BxS"] = jnp.zeros((1, 8), jnp.int32)
  loss, _ = jax.jit(sasrec_task(model).loss)(params, (), batch, jax.random.key(0))
  assert dropout.sites() == {
    "drop": (1, 0.35),
    "blocks_0/drop": (2, 0.35),
    "blocks_1/drop": (2, 0.35),
  }
  reference = as_float64(params)
  states_SxD = sasrec_states(reference, model.config, items, dropout.for_row(0))
  logp = [
    log_softmax(item_scores(reference, state_D))[target]
    for state_D, target in zip(states_SxD, targets, strict=True)
  ]
  assert_close(loss, -np.mean(logp))


@pytest.mark.parametrize("setting", ["dense", "tiger"])
def test_nothing_is_dropped_outside_training(monkeypatch, setting):
  model, trie, path = make_recommender(setting=setting, encoder_dropout=0.5, decoder_dropout=0.5)
  params, dropout = draw_recommender(model, trie, path), RecordedDropout()
  dropout.install(monkeypatch)
  history, target = padded(HISTORIES[-1:], 8), np.array([[TARGETS[0]]], np.int32)
  target = np.repeat(target, 8, axis=1) if setting == "dense" else target
  for method, args in (
    ("log_likelihood", (history, target, trie, path)),
    ("encode", (history, trie.codes_NxL)),
  ):  # tracing is enough
    jax.eval_shape(functools.partial(model.apply, {"params": params}, method=method), *args)
  assert dropout.sites() == {}
