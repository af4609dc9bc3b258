"""The item head and followers beside log p of IDs, against all items scored by hand."""

import dataclasses
import functools

import followers_by_hand
import jax
import numpy as np
import pytest
import repeats_by_hand
import similarity_by_hand
from repeats_model import LENGTH, make_repeats
from tiny import all_codes, init_params, joint_log_likelihood, log_likelihood, make_model

from sidrec.core.vocabulary import NO_ITEM
from sidrec.models import followers
from sidrec.models.counted import FITTED
from sidrec.search import beam, evidence
from sidrec.search.exact_ids import all_scores
from sidrec.search.filters import Filters
from sidrec.search.likelihood import item_paths, likelihood_scores
from sidrec.search.settings import SearchConfig

NUM_ITEMS = 20
HISTORY = np.array([[3, 1, 4, 1, 5, 9], [9, 2, 6] + [NO_ITEM] * 3], np.int32)

compiled = jax.jit(beam.search, static_argnames=("model", "config"))


@functools.cache
def make(**changes):
  codes = np.random.default_rng(0).permutation(all_codes(2, 5))[:NUM_ITEMS]
  model, trie, path = make_model(codes, history_length=LENGTH, followers=4, **changes)
  params = init_params(model, trie, path, scale=2.0)
  return model, {**params, "item": 5 * params["item"]}, trie, path


def logs_by_hand(model, params, trie, path):
  """log p of every item by IDs, by the item head (0 without one) and by followers: [B, N] each."""
  last = (HISTORY != NO_ITEM).sum(axis=1) - 1
  row = np.arange(len(HISTORY))
  by_ids, by_items = [], []
  for item in range(NUM_ITEMS):
    target = np.full(HISTORY.shape, item, np.int32)
    if model.config.item_head:
      levels, items = joint_log_likelihood(model, params, HISTORY, target, trie, path)
    else:
      levels = log_likelihood(model, params, HISTORY, target, trie, path)
      items = np.zeros(HISTORY.shape)
    by_ids.append(np.asarray(levels).sum(axis=-1)[row, last])
    by_items.append(np.asarray(items)[row, last])
  real = [history[history != NO_ITEM] for history in HISTORY]
  of_followers = [followers_by_hand.probabilities(params, history) for history in real]
  similarity = np.zeros((len(HISTORY), NUM_ITEMS))
  if model.config.similarity:
    similarity = np.array([similarities(params, history) for history in real])
  return np.stack(by_ids, axis=1), np.stack(by_items, axis=1), np.log(of_followers), similarity


def similarities(params, history):
  """The log similarity of every item to a history, whose own items get the usual one."""
  found = similarity_by_hand.similarities(params["vector"], history)
  found[history] = params["vector_usual"]
  return found


def check(found, sum_BxN, total_weight):
  """All items, best first, with the geometric mean as their probabilities."""
  order_BxK = np.argsort(-sum_BxN, axis=1)
  np.testing.assert_array_equal(found.item_BxK, order_BxK)
  p_BxN = np.exp(sum_BxN / (1 + total_weight))
  p_BxN /= p_BxN.sum(axis=1, keepdims=True)
  p_BxK = np.take_along_axis(p_BxN, order_BxK, axis=1)
  np.testing.assert_allclose(np.exp(found.score_BxK), p_BxK, rtol=2e-4)


def check_other_ways(model, params, trie, found, config):
  """The exact ranking and the likelihood give a search's scores."""
  path = item_paths(trie)
  exact_BxN = jax.jit(all_scores, static_argnums=(0, 1))(model, config, params, trie, path, HISTORY)
  np.testing.assert_allclose(
    np.take_along_axis(np.asarray(exact_BxN), np.asarray(found.item_BxK), axis=1),
    found.score_BxK,
    atol=1e-4,
  )
  first, last = found.item_BxK[:, 0], found.item_BxK[:, -1]
  scores = [
    jax.jit(likelihood_scores, static_argnums=(0, 1))(
      model, config, params, trie, path, HISTORY, item
    )
    for item in (first, last)
  ]
  expected = found.score_BxK[:, 0] - found.score_BxK[:, -1]
  np.testing.assert_allclose(scores[0] - scores[1], expected, atol=1e-4)


@pytest.mark.parametrize(
  ("item_head", "weight", "similarity"),
  [(False, 0.7, False), (True, 0.0, False), (True, 0.7, True), (False, 0.0, True)],
)
def test_a_full_beam_is_the_exact_ranking_by_all_of_them(item_head, weight, similarity):
  model, params, trie, path = make(item_head=item_head, similarity=similarity)
  config = SearchConfig(
    beams=NUM_ITEMS, item_weight=1.5, follower_weight=weight, similarity_weight=0.3
  )
  by_ids, by_items, by_followers, similar = logs_by_hand(model, params, trie, path)
  total = (1.5 if item_head else 0.0) + weight + (0.3 if similarity else 0.0)
  found = compiled(model, params, trie, HISTORY, config)
  check(found, by_ids + 1.5 * by_items + weight * by_followers + 0.3 * similar, total)
  assert sum(evidence.weights(model.config, config, params)) == pytest.approx(1 + total)


def test_fitted_weights_are_those_among_the_parameters():
  model, params, trie, path = make(item_head=True, similarity=True)
  config = SearchConfig(beams=NUM_ITEMS, item_weight=9.0, follower_weight=0.0, weights="fitted")
  by_ids, by_items, by_followers, similar = logs_by_hand(model, params, trie, path)
  params = {**params, FITTED: np.array([0.4, 0.6, 0.3, 0.2], np.float32)}
  found = compiled(model, params, trie, HISTORY, config)
  check(found, 0.4 * by_ids + 0.6 * by_items + 0.3 * by_followers + 0.2 * similar, 0.0)
  numbers = evidence.numbers(model.config, config, params)
  assert numbers == pytest.approx((1, 1.5, 0.75, 0.5))
  check_other_ways(model, params, trie, found, config)
  del params[FITTED]
  with pytest.raises(ValueError, match=r"lack 'evidence_weight'; train .* 'given'"):
    beam.search(model, params, trie, HISTORY, config)
  with pytest.raises(ValueError, match=r"search\.weights must be one of .*, not 'best'"):
    SearchConfig(weights="best")


def test_a_fitted_floor_counts_with_fitted_weights_alone():
  model, params, trie, path = make()
  by_ids, _, _, _ = logs_by_hand(model, params, trie, path)
  floor = np.float32(0.3)
  real = [history[history != NO_ITEM] for history in HISTORY]
  by_hand = [followers_by_hand.probabilities(params, row, floor=floor) for row in real]
  fit = {FITTED: np.array([0.4, 0.0, 0.6, 0.0], np.float32), followers.FLOOR: floor}
  config = SearchConfig(beams=NUM_ITEMS, weights="fitted")
  found = compiled(model, {**params, **fit}, trie, HISTORY, config)
  check(found, 0.4 * by_ids + 0.6 * np.log(by_hand), 0.0)
  check_other_ways(model, {**params, **fit}, trie, found, config)
  given = dataclasses.replace(config, weights="given")
  found = compiled(model, {**params, **fit}, trie, HISTORY, given)
  for one, other in zip(found, compiled(model, params, trie, HISTORY, given), strict=True):
    np.testing.assert_array_equal(one, other)


def test_followers_change_the_order_and_no_item_that_followed_nothing_is_lost():
  model, params, trie, _ = make()
  with_them, without = (
    compiled(model, params, trie, HISTORY, SearchConfig(beams=NUM_ITEMS, follower_weight=weight))
    for weight in (1.0, 0.0)
  )
  assert (with_them.item_BxK != without.item_BxK).any()
  assert with_them.valid_BxK.all()
  np.testing.assert_allclose(np.exp(with_them.score_BxK).sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("item_head", [False, True])
def test_with_repeats_items_of_the_history_keep_their_share(item_head):
  settings = {"item_head": True} if item_head else {}
  model, params, trie, path = make_repeats(
    NUM_ITEMS, 2, 5, followers=4, similarity=True, **settings
  )
  config = SearchConfig(
    beams=NUM_ITEMS, item_weight=0.0, follower_weight=0.7, similarity_weight=0.3
  )
  sums = []
  for history in HISTORY:
    real = history[history != NO_ITEM]
    p_N = repeats_by_hand.probabilities(model, params, trie, path, real)
    shares = {item: p_N[item] for item in set(real.tolist())}
    by_followers = followers_by_hand.probabilities(params, real, shares)
    similar = similarities(params, real)
    sums.append(np.log(p_N) + 0.7 * np.log(by_followers) + 0.3 * similar)
  check(compiled(model, params, trie, HISTORY, config), np.array(sums), 1.0)


@pytest.mark.parametrize("repeats", [False, True])
def test_what_followed_most_is_ranked_beside_what_the_beams_found(repeats):
  if repeats:
    model, params, trie, _ = make_repeats(NUM_ITEMS, 2, 5, followers=4)
  else:
    model, params, trie, _ = make()
  few = SearchConfig(beams=3, follower_weight=0.7, follower_candidates=4)
  exact = compiled(model, params, trie, HISTORY, dataclasses.replace(few, beams=NUM_ITEMS))
  alone = dataclasses.replace(few, follower_weight=0.0)
  beams = compiled(model, params, trie, HISTORY, alone)
  found = compiled(model, params, trie, HISTORY, few)
  for row, history in enumerate(HISTORY):
    real = history[history != NO_ITEM]
    sum_N = followers_by_hand.sums_of(params, real)
    if repeats:
      sum_N[real] = 0  # they compete without being candidates
    followers = set(np.argsort(-sum_N)[:4].tolist()) & set(np.flatnonzero(sum_N).tolist())
    candidates = set(np.asarray(beams.item_BxK[row]).tolist()) | followers
    assert followers - set(np.asarray(beams.item_BxK[row]).tolist())  # or nothing is shown
    in_order = [item for item in np.asarray(exact.item_BxK[row]).tolist() if item in candidates]
    assert np.asarray(found.item_BxK[row]).tolist() == in_order[:3]


def test_candidates_are_no_second_copies_and_change_no_full_list():
  model, params, trie, _ = make(item_head=True)
  without = SearchConfig(beams=NUM_ITEMS)
  all_of_them = dataclasses.replace(without, follower_candidates=16)
  expected = compiled(model, params, trie, HISTORY, without)
  found = compiled(model, params, trie, HISTORY, all_of_them)
  np.testing.assert_array_equal(found.item_BxK, expected.item_BxK)
  np.testing.assert_allclose(found.score_BxK, expected.score_BxK, rtol=1e-5)


def test_candidates_pass_the_filter_which_takes_none_of_their_places():
  model, params, trie, _ = make()
  config = SearchConfig(beams=2, follower_weight=50.0, follower_candidates=2)
  first = compiled(model, params, trie, HISTORY, config)
  best = np.asarray(first.item_BxK)
  found = compiled(model, params, trie, HISTORY, config, Filters(forbidden_BxJ=best))
  for row, history in enumerate(HISTORY):
    sum_N = followers_by_hand.sums_of(params, history[history != NO_ITEM])
    sum_N[best[row]] = 0
    assert sum_N[found.item_BxK[row, 0]] == sum_N.max()  # the third and fourth of all
  drawn = [
    compiled(model, params, trie, HISTORY, one, key=jax.random.key(0))
    for one in (config, dataclasses.replace(config, follower_candidates=0))
  ]
  np.testing.assert_array_equal(*(draw.item_BxK for draw in drawn))


@pytest.mark.parametrize("item_head", [False, True])
def test_the_likelihood_and_the_exact_ranking_say_the_same(item_head):
  model, params, trie, _ = make(item_head=item_head, similarity=True)
  config = SearchConfig(beams=NUM_ITEMS, follower_weight=0.7)
  found = compiled(model, params, trie, HISTORY, config)
  check_other_ways(model, params, trie, found, config)


def test_missing_tables_and_settings_that_fit_nothing_are_refused():
  model, params, trie, _ = make()
  without = {name: value for name, value in params.items() if not name.startswith("follower")}
  with pytest.raises(ValueError, match="the parameters lack 'follower'"):
    beam.search(model, without, trie, HISTORY, SearchConfig(beams=4))
  found = beam.search(model, without, trie, HISTORY, SearchConfig(beams=4, follower_weight=0.0))
  assert found.valid_BxK.all()
  with pytest.raises(ValueError, match=r"search\.follower_weight is -1; give 0 or more"):
    SearchConfig(follower_weight=-1)
  model, params, trie, _ = make(similarity=True)
  without = {name: value for name, value in params.items() if not name.startswith("vector")}
  with pytest.raises(ValueError, match=r"lack 'vector'; add what .*search\.similarity_weight to 0"):
    beam.search(model, without, trie, HISTORY, SearchConfig(beams=4))
  with pytest.raises(ValueError, match=r"search\.similarity_weight is -1; give 0 or more"):
    SearchConfig(similarity_weight=-1)
  with pytest.raises(ValueError, match=r"model\.similarity needs model\.setting 'dense'"):
    make_model(all_codes(2, 5), similarity=True, setting="tiger")
  with pytest.raises(ValueError, match=r"search\.follower_candidates is -1; give 0 or more"):
    SearchConfig(follower_candidates=-1)
  with pytest.raises(ValueError, match=r"model\.followers needs model\.setting 'dense'"):
    make_model(all_codes(2, 5), followers=4, setting="tiger")
