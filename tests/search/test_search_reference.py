"""The search, step by step through caches, scores items as `tests/numpy_reference.py` does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_reference import (
  decode,
  encode_dense,
  encode_tiger,
  item_scores,
  level_log_likelihood,
)
from reference_models import (
  HISTORIES,
  MODELS,
  NUM_ITEMS,
  USERS,
  as_float64,
  draw_recommender,
  make_codes,
  make_recommender,
  padded,
)

from sidrec.data.batches import NO_ITEM
from sidrec.models.layers import AbsorbedKeyValues, KeyValues
from sidrec.search.beam import search
from sidrec.search.filters import Filters
from sidrec.search.settings import SearchConfig

CODES = make_codes()


@functools.partial(jax.jit, static_argnames=("model", "config"))
def search_with(params, trie, history, forbidden, *, model, config):
  return search(model, params, trie, history, config, Filters(forbidden))


def find(params, trie, history, forbidden=None, *, model, beams, item_weight=0.0, **options):
  config = SearchConfig(beams=beams, item_weight=item_weight, **options)
  return search_with(params, trie, history, forbidden, model=model, config=config)


@functools.cache
def made(name):
  model, trie, path = make_recommender(**MODELS[name])
  return model, trie, np.asarray(path), draw_recommender(model, trie, path)


def requests(model, rows):
  history = padded(rows, model.config.history_length)
  if model.config.user_tokens:
    token_B = np.arange(len(rows), dtype=np.int32) % USERS
    history = np.concatenate([token_B[:, None], history], axis=1)
  return jnp.asarray(history)


@functools.cache
def expected_logp(name, row, items, temperature=1.0):
  """log p of every item's codes after a history, [N, L], and the item head's scores, [N]."""
  model, _, path, params = made(name)
  params, config = as_float64(params), model.config
  if config.setting == "dense":
    states_SxD = encode_dense(params, config, CODES, list(items))
    start_D = params["start"] + states_SxD[-1]
  else:
    user = row % USERS if config.user_tokens else None
    states_SxD = encode_tiger(params, config, CODES, list(items), user)
    start_D = params["start"]
  logp_NxL = []
  for item, code_L in enumerate(CODES):
    hidden_LxD = decode(params, config, start_D, states_SxD, code_L)
    arguments = (params, config, hidden_LxD, CODES, path, item, temperature)
    logp_NxL.append(level_log_likelihood(*arguments))
  head_N = item_scores(params, states_SxD[-1], CODES) if config.item_head else np.zeros(NUM_ITEMS)
  return np.array(logp_NxL), head_N


def expected_scores(name, row, items, item_weight=0.0, weights=(1.0, 1.0, 1.0), temperature=1.0):
  """Of every item, after a history: [N]."""
  logp_NxL, head_N = expected_logp(name, row, tuple(items), temperature)
  return logp_NxL @ np.array(weights) + item_weight * head_N


@pytest.mark.parametrize(
  ("name", "rows"),
  [*((name, HISTORIES) for name in MODELS), ("dense", HISTORIES[2:3]), ("tiger", HISTORIES[2:3])],
  ids=[*MODELS, "dense, one request", "tiger, one request"],
)
def test_as_many_beams_as_items_rank_the_whole_catalogue(name, rows):
  """A search of one request may end early; one of several goes through all levels."""
  model, trie, _, params = made(name)
  found = find(params, trie, requests(model, rows), model=model, beams=NUM_ITEMS)
  assert np.asarray(found.valid_BxK).all()
  for row, items in enumerate(rows):
    score_N = expected_scores(name, row, items)
    np.testing.assert_allclose(found.score_BxK[row], np.sort(score_N)[::-1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.sort(found.item_BxK[row]), np.arange(NUM_ITEMS))
    reached_K = score_N[np.asarray(found.item_BxK[row])]
    np.testing.assert_allclose(found.score_BxK[row], reached_K, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("beams", [2, 7])
def test_few_beams_keep_the_best_prefixes_and_their_scores(name, beams):
  """So few as two look at the encoder's states, more at keys and values made of them."""
  model, trie, _, params = made(name)
  encoded = find_encoded(model, params, trie, beams)
  assert isinstance(encoded.cross[0], AbsorbedKeyValues if beams == 2 else KeyValues)
  found = find(params, trie, requests(model, HISTORIES), model=model, beams=beams)
  for row, items in enumerate(HISTORIES):
    expected = beam_search(name, row, items, beams)
    assert np.asarray(found.item_BxK[row]).tolist() == expected
    score_N = expected_scores(name, row, items)
    np.testing.assert_allclose(found.score_BxK[row], score_N[expected], rtol=1e-5, atol=1e-5)


def find_encoded(model, params, trie, beams):
  """What the decoder looks at, as shapes."""
  encode = functools.partial(model.apply, {"params": params}, method="encode", beams=beams)
  return jax.eval_shape(encode, requests(model, HISTORIES), trie.codes_NxL)


def beam_search(name, row, items, beams):
  """The items that so many beams lead to, by the log probabilities of every prefix."""
  logp_NxL, _ = expected_logp(name, row, tuple(items))
  alive = np.arange(NUM_ITEMS)
  for depth in range(1, 4):
    score = {tuple(CODES[item, :depth]): logp_NxL[item, :depth].sum() for item in alive}
    kept = sorted(score, key=score.get, reverse=True)[:beams]
    alive = [item for item in alive if tuple(CODES[item, :depth]) in kept]
  return sorted(alive, key=lambda item: -logp_NxL[item].sum())


@pytest.mark.parametrize("item_weight", [1.0, 0.3])
def test_the_item_head_has_its_weight_in_a_geometric_mean(item_weight):
  model, trie, _, params = made("dense")
  history = requests(model, HISTORIES)
  settings = {"model": model, "beams": NUM_ITEMS, "item_weight": item_weight}
  found = find(params, trie, history, **settings)
  for row, items in enumerate(HISTORIES):
    score_N = expected_scores("dense", row, items, item_weight) / (1 + item_weight)
    score_N -= np.log(np.exp(score_N).sum())  # with a beam for each item, all of them
    np.testing.assert_allclose(found.score_BxK[row], np.sort(score_N)[::-1], rtol=1e-5, atol=1e-5)
    reached_K = score_N[np.asarray(found.item_BxK[row])]
    np.testing.assert_allclose(found.score_BxK[row], reached_K, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dense", "tiger"])
def test_temperature_and_weights_of_levels(name):
  model, trie, _, params = made(name)
  options = {"temperature": 0.6, "level_weights": (1.0, 0.5, 2.0)}
  history = requests(model, HISTORIES)
  found = find(params, trie, history, model=model, beams=NUM_ITEMS, **options)
  for row, items in enumerate(HISTORIES):
    score_N = expected_scores(name, row, items, weights=(1.0, 0.5, 2.0), temperature=0.6)
    reached_K = score_N[np.asarray(found.item_BxK[row])]
    np.testing.assert_allclose(found.score_BxK[row], reached_K, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.score_BxK[row], np.sort(score_N)[::-1], rtol=1e-5, atol=1e-5)


def test_forbidden_items_leave_the_others_scores_as_they_are():
  model, trie, _, params = made("dense")
  forbidden = padded([[5, 6, 39], [0], [], [1, 2]], 4)
  history = requests(model, HISTORIES)
  found = find(params, trie, history, jnp.asarray(forbidden), model=model, beams=NUM_ITEMS)
  for row, items in enumerate(HISTORIES):
    score_N = expected_scores("dense", row, items)
    allowed = [n for n in range(NUM_ITEMS) if n not in forbidden[row]]
    ranked = sorted(allowed, key=lambda n: -score_N[n])
    rest = [NO_ITEM] * (NUM_ITEMS - len(ranked))
    valid_K = np.asarray(found.valid_BxK[row])
    assert valid_K.sum() == len(ranked)
    np.testing.assert_allclose(found.score_BxK[row][valid_K], score_N[ranked], rtol=1e-5, atol=1e-5)
    assert np.asarray(found.item_BxK[row])[~valid_K].tolist() == rest
    assert not set(np.asarray(found.item_BxK[row])[valid_K]) & set(forbidden[row].tolist())
