"""The search with times and ratings: the best of all items, by every way to ask for it."""

import functools

import jax
import numpy as np
import pytest
from tiny import all_codes, init_params, log_likelihood, make_histories, make_model

import sidrec
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data import batches
from sidrec.data.events import Events
from sidrec.data.inputs import InputsConfig
from sidrec.models.inputs import example_events
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.parallel.mesh import make_mesh
from sidrec.search import exact
from sidrec.search.batched import make_recommend_users
from sidrec.search.settings import SearchConfig

KNOWN = InputsConfig(gap=True, time_bias=True, rating=True, request_time="known")
NO_BIAS = InputsConfig(gap=True, rating=True)
LENGTHS = [3, 0, 90, 5, 1, 4, 2, 66, 6]
NUM_ITEMS, LENGTH = 30, 64
SEARCH = SearchConfig(beams=NUM_ITEMS, batch_size=8)


@functools.cache
def make(setting):
  codes = np.random.default_rng(0).permutation(all_codes(2, 6))[:NUM_ITEMS]
  inputs = KNOWN if setting == "dense" else NO_BIAS
  users = 0 if setting == "dense" else 7
  model, trie, path = make_model(
    codes, setting=setting, history_length=LENGTH, inputs=inputs, user_tokens=users
  )
  return model, init_params(model, trie, path, scale=3.0), trie, path


def make_log():
  rng = np.random.default_rng(1)
  histories = make_histories([rng.integers(0, NUM_ITEMS, n).tolist() for n in LENGTHS])
  time_T = 10**9 + np.cumsum(rng.integers(0, 10**6, len(histories.item_T)))
  rating_T = rng.integers(0, 9, len(time_T)).astype(np.float32)
  request_time_U = np.full(len(LENGTHS), time_T[-1] + 500)
  return histories._replace(time_T=time_T, rating_T=rating_T, request_time_U=request_time_U)


LOG = make_log()


def events_of(user, length=LENGTH):
  """The latest events of one user, as a caller gives them."""
  span = slice(*LOG.offsets_Up1[user : user + 2])
  columns = [np.zeros((1, length)) for _ in range(3)]
  columns[0] = np.full((1, length), NO_ITEM)
  for filled, column in zip(columns, (LOG.item_T, LOG.time_T, LOG.rating_T), strict=True):
    latest = column[span][-length:]
    filled[0, : len(latest)] = latest
  return Events.of(*columns, LOG.request_time_U[user])


def ask(setting, events):
  """All items, as one request gets them."""
  model, params, trie, _ = make(setting)
  return sidrec.recommend(params, trie, events, NUM_ITEMS, model=model, search=SEARCH)


def test_the_beam_finds_the_best_of_all_items():
  model, params, trie, path = make("dense")
  events = events_of(0)
  found = ask("dense", events)
  target = np.repeat(np.arange(NUM_ITEMS, dtype=np.int32)[:, None], LENGTH, axis=1)
  every = jax.tree.map(lambda x: np.repeat(x, NUM_ITEMS, axis=0), events)
  logp_NxSxL = log_likelihood(model, params, every, target, trie, path)
  logp_N = np.asarray(logp_NxSxL).sum(axis=-1)[:, LENGTHS[0] - 1]
  np.testing.assert_allclose(found.score_BxK[0], np.sort(logp_N)[::-1], atol=1e-4)
  np.testing.assert_array_equal(found.item_BxK[0], np.argsort(-logp_N))
  assert np.exp(logp_N).sum() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("setting", ["dense", "tiger"])
def test_users_on_eight_devices_get_what_single_requests_get_on_one(setting):
  model, params, trie, _ = make(setting)
  users = np.array([8, 0, 4, 3, 6])  # so short that a batch is half as wide as its longest row
  result = make_recommend_users(model, trie, SEARCH, make_mesh())(params, LOG, users)
  for row, user in enumerate(users):
    events = events_of(user)
    if setting == "tiger":
      token = batches.user_tokens(LOG.user_ids_U[user : user + 1], 7)[0]
      events = events._replace(item_BxS=np.insert(events.item_BxS, 0, token, axis=1))
    alone = ask(setting, events)
    np.testing.assert_allclose(result.score_BxK[row], alone.score_BxK[0], atol=1e-4)
    np.testing.assert_array_equal(result.item_BxK[row, :5], alone.item_BxK[0, :5])


def test_lots_and_encoder_states_give_the_same():
  model, params, trie, _ = make("dense")
  requests = [events_of(user) for user in (0, 2, 3, 5)]
  columns = zip(*(request[:4] for request in requests), strict=True)  # no actions
  events = Events(*map(np.concatenate, columns))
  options = {"model": model, "search": SEARCH}
  lots = sidrec.recommend(params, trie, events, NUM_ITEMS, at_once=3, **options)
  for row, one in enumerate(requests):
    np.testing.assert_allclose(lots.score_BxK[row], ask("dense", one).score_BxK[0], atol=1e-4)
  states = sidrec.encode(params, trie, events, model=model)
  first = sidrec.beam_search(states, 3, 1, params=params, trie=trie, **options)
  token_BxK = np.asarray(trie.codes_NxL)[np.asarray(lots.item_BxK)][..., 0]
  for row in range(4):
    below = token_BxK[row] == first.code_BxKxL[row, 0, 0]
    expected = np.log(np.exp(np.asarray(lots.score_BxK[row])[below]).sum())
    assert float(first.logp_BxK[row, 0]) == pytest.approx(expected, abs=1e-4)


def test_the_request_and_the_ratings_count():
  def scores(times, ratings, request_time):
    columns = [np.pad(x, ((0, 0), (0, LENGTH - 2))) for x in (times, ratings)]
    items = np.array([[3, 1] + [NO_ITEM] * (LENGTH - 2)])
    return np.asarray(ask("dense", Events.of(items, *columns, request_time)).score_BxK)

  times, ratings = [[100, 200]], [[4.0, 5.0]]
  base = scores(times, ratings, 300)
  assert np.abs(base - scores(times, ratings, 10**6)).max() > 1e-3
  assert np.abs(base - scores(times, [[4.0, 1.0]], 300)).max() > 1e-3
  shifted = scores([[10**9 + 100, 10**9 + 200]], ratings, 10**9 + 300)  # only differences count
  np.testing.assert_array_equal(base, shifted)


def test_sasrec_ranks_users_as_single_requests():
  model = SASRec(
    SASRecConfig(num_items=NUM_ITEMS, history_length=LENGTH, width=8, hidden=8, inputs=KNOWN)
  )
  rng, shape = np.random.default_rng(0), np.zeros((1, LENGTH), np.int32)
  init = lambda key: model.init(key, example_events(shape, model.config), method="states")
  draw = lambda x: jax.numpy.asarray(rng.normal(0, 0.5, x.shape), jax.numpy.float32)
  params = jax.tree.map(draw, jax.eval_shape(init, jax.random.key(0))["params"])
  users = np.array([7, 2, 5])
  found = exact.make_sasrec_recommend_users(model, 4, 8, make_mesh())(params, LOG, users)
  single = jax.jit(lambda events: exact.recommend(model, params, events, 4))
  for row, user in enumerate(users):
    alone = single(events_of(user))
    np.testing.assert_array_equal(found.item_BxK[row], alone.item_BxK[0])
    np.testing.assert_allclose(found.score_BxK[row], alone.score_BxK[0], atol=1e-4)
  with pytest.raises(ValueError, match="the model reads times and the histories have none"):
    exact.recommend(model, params, [[3, 1]], 4)


@pytest.mark.parametrize(
  ("change", "error", "message"),
  [
    (lambda e: e.item_BxS, ValueError, "the model reads times and the histories have none"),
    (lambda e: e._replace(asked_BxS=None), ValueError, "reads the request's time and"),
    (lambda e: e._replace(rating_BxS=None), ValueError, "reads ratings and"),
    (
      lambda e: e._replace(time_BxS=e.time_BxS.astype(np.int64)),
      TypeError,
      r"time_BxS is int64 and has to be int32; make it with sidrec\.Events\.of",
    ),
    (lambda e: e._replace(time_BxS=e.time_BxS[:, :2]), ValueError, r"shape \(1, 2\); give \(1, 4"),
    (lambda e: e._replace(time_BxS=-e.time_BxS), ValueError, "times of history 0 decrease"),
    (lambda e: e._replace(asked_BxS=e.asked_BxS - 1), ValueError, "asked_BxS of history 0 is not"),
    (lambda e: e._replace(rating_BxS=e.rating_BxS + 0.5), ValueError, "a rating is .*set the step"),
  ],
)
def test_events_that_do_not_fit_are_refused(change, error, message):
  model, params, trie, _ = make("dense")
  with pytest.raises(error, match=message):
    sidrec.recommend(params, trie, change(events_of(3, 4)), 5, model=model)
  if error is ValueError and "none" in message:
    with pytest.raises(error, match=message):
      sidrec.encode(params, trie, change(events_of(3, 4)), model=model)


def test_a_search_of_users_without_a_request_time_is_refused():
  model, params, trie, _ = make("dense")
  search = make_recommend_users(model, trie, SEARCH, make_mesh())
  with pytest.raises(ValueError, match=r"inputs\.request_time is 'known'\) and the histories do"):
    search(params, LOG._replace(request_time_U=None), np.arange(2))
  early = LOG._replace(request_time_U=np.full(len(LENGTHS), 10**9))
  with pytest.raises(ValueError, match="before its newest event"):
    search(params, early, np.arange(3, 5))
  assert len(search(params, LOG, np.zeros(0, int)).item_BxK) == 0
