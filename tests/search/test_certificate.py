"""A list that is certified is the exact one, and no item that was missed scores above the bound."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repeats_model import LENGTH, make_repeats
from tiny import all_codes, init_params, make_histories, make_model

from sidrec.core.vocabulary import NO_ITEM
from sidrec.parallel.mesh import make_mesh
from sidrec.search import beam
from sidrec.search.batched import make_recommend_users
from sidrec.search.buckets import BucketSearch, CertifiedFound, Found
from sidrec.search.filters import (
  Filters,
  RowBits,
  allowed_items,
  filter_of,
  num_words,
  row_bits,
)
from sidrec.search.questions import Question
from sidrec.search.recommend import recommend
from sidrec.search.results import Certified, Recommendations
from sidrec.search.settings import SearchConfig

NUM_ITEMS, REQUESTS = 40, 24
WEIGHTS = {"level_weights": (1.0, 0.5, 2.0), "item_weight": 0.5}
SEARCHES = {
  "plain": ({}, {}),
  "item head, weights": ({"item_head": True}, WEIGHTS),
  "item head, followers": ({"item_head": True, "followers": 4}, {"follower_weight": 0.7}),
  "candidates, similarity": (
    {"item_head": True, "followers": 4, "similarity": True},
    {"follower_candidates": 6},
  ),
  "followers, repeats": ({"repeats": True, "followers": 4}, {}),
  "candidates, similarity, repeats": (
    {"repeats": True, "followers": 4, "similarity": True},
    {"follower_candidates": 6, "similarity_weight": 0.5},
  ),
  "item head, repeats": ({"repeats": True, "item_head": True}, {"temperature": 1.5}),
  "fitted weights": ({"item_head": True, "followers": 4}, {"weights": "fitted"}),
}


@functools.cache
def made(name):
  """A model, its parameters, its trie, and requests: nothing, lists of others, lists alone."""
  settings, options = SEARCHES[name]
  if settings.get("repeats"):
    model, params, trie, _ = make_repeats(NUM_ITEMS, 3, 4, **settings)
  else:
    codes = np.random.default_rng(0).permutation(all_codes(3, 4))[:NUM_ITEMS]
    model, trie, path = make_model(codes, **{"history_length": LENGTH, **settings})
    params = init_params(model, trie, path, scale=2.0)
  rng = np.random.default_rng(3)
  params = jax.tree.map(lambda x: x * 1.5 if jnp.issubdtype(x.dtype, jnp.floating) else x, params)
  params["evidence_weight"] = np.array([0.5, 0.3, 0.2, 0.0], np.float32)
  length_B = rng.integers(0, LENGTH + 1, REQUESTS)
  history_BxS = rng.integers(0, NUM_ITEMS, (REQUESTS, LENGTH)).astype(np.int32)
  history_BxS[np.arange(LENGTH) >= length_B[:, None]] = NO_ITEM
  listed = [rng.permutation(NUM_ITEMS)[: (0, 12, 9, 2)[b % 4]] for b in range(REQUESTS)]
  allows = [b % 4 > 1 for b in range(REQUESTS)]
  bits = row_bits(np.asarray(trie.row_of_N), num_words(trie), listed, allows)
  return model, params, trie, history_BxS, RowBits(bits), options


compiled = jax.jit(beam.search, static_argnames=("model", "config"))


@functools.cache
def found(name, beams, *, certify=True):
  model, params, trie, history_BxS, filters, options = made(name)
  config = SearchConfig(beams=beams, certify=certify, **options)
  return jax.device_get(compiled(model, params, trie, history_BxS, config, filters))


def best_missed(few, every, b):
  """The best score of an allowed item that a search missed, in its own units; -inf for none."""
  known = dict(zip(few.item_BxK[b].tolist(), few.score_BxK[b].tolist(), strict=True))
  score = {
    item: value
    for item, value in zip(every.item_BxK[b].tolist(), every.score_BxK[b].tolist(), strict=True)
    if item >= 0
  }
  assert set(known) - {-1} <= set(score)
  missed = [value for item, value in score.items() if item not in known]
  if not missed:
    return -np.inf
  # Pooled scores have a zero point of each list; sums and log p have the same.
  first = few.item_BxK[b, 0]
  return max(missed) + known[first] - score[first]


@pytest.mark.parametrize(
  ("name", "beams"),
  [
    ("plain", 1),
    ("plain", 4),
    ("item head, weights", 4),
    ("item head, repeats", 4),
    ("fitted weights", 4),
  ],
)
def test_what_is_certified_is_exact_and_no_missed_item_is_above_the_bound(name, beams):
  few, every = found(name, beams), found(name, NUM_ITEMS)
  certified_KxB = np.stack([few.certified_B(k) for k in range(1, beams + 1)])
  assert certified_KxB[0].sum() > REQUESTS / 4
  assert certified_KxB.sum() < certified_KxB.size
  for k, certified_B in enumerate(certified_KxB, start=1):
    np.testing.assert_array_equal(few.item_BxK[certified_B, :k], every.item_BxK[certified_B, :k])
  for b in range(REQUESTS):
    assert few.bound_B[b] >= best_missed(few, every, b) - 1e-5


@pytest.mark.parametrize("name", SEARCHES)
def test_as_many_beams_as_items_miss_nothing(name):
  every = found(name, NUM_ITEMS)
  assert np.isneginf(every.bound_B).all()
  for k in (1, NUM_ITEMS):  # fewer are allowed, and all of them are there
    assert every.certified_B(k).all()


def test_lists_are_the_same_without_a_certificate():
  with_bound, without = (found("plain", 4, certify=certify) for certify in (True, False))
  assert type(without) is Recommendations
  assert without.bound_B is None
  assert len(jax.tree.leaves(without)) == 3
  for mine, its in zip(with_bound, without, strict=True):
    assert mine.tobytes() == its.tobytes()
  with pytest.raises(ValueError, match=r"set search\.certify"):
    without.certified_B(1)


def test_the_compiled_function_cuts_and_joins_lists_with_their_bounds():
  """Lots of five requests, and the best of what is cut off counts as missed."""
  model, params, trie, history_BxS, _, _ = made("plain")
  search = SearchConfig(beams=4, certify=True)
  one, lots = (
    recommend(params, trie, history_BxS[:7], 2, model=model, search=search, at_once=at_once)
    for at_once in (7, 5)
  )
  assert isinstance(one, Certified)
  assert one.item_BxK.shape == (7, 2)
  # Two programs, which XLA fuses in different ways: up to 2e-6 with jax 0.12.
  np.testing.assert_allclose(one.bound_B, lots.bound_B, atol=1e-5)
  np.testing.assert_array_equal(one.item_BxK, lots.item_BxK)
  whole = Certified(*(np.asarray(x) for x in jax.tree.leaves(one)))
  np.testing.assert_array_equal(whole.first(1).certified_B(1), whole.certified_B(1))
  assert (np.asarray(whole.first(1).bound_B) >= whole.score_BxK[:, 1]).all()
  with pytest.raises(ValueError, match="1 to 2 results"):
    one.certified_B(3)
  empty = recommend(params, trie, history_BxS[:0], 2, model=model, search=search)
  assert empty.certified_B(2).shape == (0,)


def test_batches_of_users_and_requests_keep_their_bounds():
  """Requests without lists, three batches of them; and the same as questions."""
  model, params, trie, history_BxS, _, _ = made("plain")
  alone, plain_B = found("plain", 4), np.arange(0, REQUESTS, 4)
  search = SearchConfig(beams=4, certify=True, batch_size=8)
  rows = [history_S[history_S != NO_ITEM].tolist() for history_S in history_BxS]
  users_R = np.tile(plain_B[::-1], 3)
  many = make_recommend_users(model, trie, search, make_mesh())(
    params, make_histories(rows), users_R
  )
  np.testing.assert_array_equal(many.item_BxK, alone.item_BxK[users_R])
  np.testing.assert_allclose(many.bound_B, alone.bound_B[users_R], atol=1e-5)
  nothing = np.zeros(0, np.int32)
  questions = [Question(np.array(rows[b], np.int32), nothing) for b in plain_B]
  for b, one in zip(
    plain_B, BucketSearch(model, params, trie, search).find(questions), strict=True
  ):
    assert one.bound == pytest.approx(alone.bound_B[b], abs=1e-5)
    assert [one.certified(k) for k in (1, 3)] == [alone.certified_B(k)[b] for k in (1, 3)]
    assert one.certified(5) is False
  assert CertifiedFound(nothing, nothing, -np.inf).certified(2) is True
  assert Found(nothing, nothing).certified(2) is None


def test_a_bound_of_nan_certifies_nothing():
  item_BxK = np.zeros((1, 2), np.int32)
  lists = Certified(item_BxK, np.zeros((1, 2)), item_BxK == 0, np.array([np.nan]))
  assert not lists.certified_B(1).any()


@pytest.mark.parametrize("kind", ["forbidden", "allowed", "bits"])
def test_allowed_items_are_those_of_the_filter(kind):
  _, _, trie, _, bits, _ = made("plain")
  list_BxJ = np.array([[3, 1, 1, NO_ITEM, 99], [NO_ITEM] * 5], np.int32)
  listed_BxN = np.zeros((2, NUM_ITEMS), bool)
  listed_BxN[0, [1, 3]] = True
  filters, expected_BxN = {
    "forbidden": (Filters(jnp.asarray(list_BxJ)), ~listed_BxN),
    "allowed": (Filters(None, jnp.asarray(list_BxJ)), listed_BxN),
    "bits": (RowBits(bits.word_BxX[2:4]), None),
  }[kind]
  allowed_BxN = np.asarray(allowed_items(trie, filter_of(trie, filters)))
  if expected_BxN is None:
    every, rows = found("plain", NUM_ITEMS), range(2, 4)
    expected_BxN = [np.isin(np.arange(NUM_ITEMS), every.item_BxK[b]) for b in rows]
  np.testing.assert_array_equal(allowed_BxN, expected_BxN)


@pytest.mark.parametrize(
  ("options", "message"),
  [({"most_per_prefix": 1}, "most_per_prefix"), ({"level_weights": (1.0, -0.1)}, "level_weights")],
)
def test_settings_that_have_no_bound_are_refused(options, message):
  with pytest.raises(ValueError, match=rf"search\.{message}"):
    SearchConfig(certify=True, **options)
  SearchConfig(**options)


def test_a_random_draw_is_refused():
  model, params, trie, history_BxS, _, _ = made("plain")
  search = SearchConfig(beams=4, certify=True)
  with pytest.raises(ValueError, match="random draw"):
    recommend(params, trie, history_BxS, 2, model=model, search=search, key=jax.random.key(0))
