"""The search of a model with repeats against the probabilities of all items, computed by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repeats_by_hand import probabilities
from repeats_model import LENGTH, make_repeats
from tiny import make_histories

import sidrec
from sidrec.catalogue.trie import trie as trie_lib
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.data.inputs import InputsConfig
from sidrec.data.seen import seen_items
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import transfer
from sidrec.parallel.mesh import make_mesh
from sidrec.search import beam
from sidrec.search.batched import make_recommend_users
from sidrec.search.buckets import BucketSearch
from sidrec.search.filters import NO_FILTERS, Filters, padded_lists
from sidrec.search.questions import Question
from sidrec.search.settings import SearchConfig

NUM_ITEMS = 25
HISTORIES = [[3, 1, 4, 1, 5, 3], [9, 9], [], [2, 7, 1, 8, 2]]
TIMES = InputsConfig(gap=True, time_bias=True, request_time="known")


def make(num_items=NUM_ITEMS, levels=2, **changes):
  return make_repeats(num_items, levels, 5, **changes)


def padded(histories):
  return np.array([row + [NO_ITEM] * (LENGTH - len(row)) for row in histories], np.int32)


@functools.cache
def by_hand(**changes):
  """p of every item after each of HISTORIES: [B, N]."""
  return np.stack([probabilities(*make(**changes), row) for row in HISTORIES])


compiled = jax.jit(beam.search, static_argnames=("model", "config"))


def search(model, params, trie, history, config, filters=NO_FILTERS, key=None):
  return jax.device_get(compiled(model, params, trie, history, config, filters, key))


def check(found, p_BxN, allowed=None, beams=NUM_ITEMS):
  """Exactly the allowed items, best first, by their probabilities."""
  item_BxK, score_BxK, valid_BxK = map(np.asarray, found)
  for b, p_N in enumerate(p_BxN):
    may = np.flatnonzero(p_N > 0) if allowed is None else np.intersect1d(allowed[b], p_N.nonzero())
    expected = may[np.argsort(-p_N[may], kind="stable")][:beams]
    assert valid_BxK[b].sum() == len(expected)
    np.testing.assert_array_equal(item_BxK[b, : len(expected)], expected)
    np.testing.assert_allclose(np.exp(score_BxK[b, : len(expected)]), p_N[expected], rtol=3e-4)
    assert (item_BxK[b, len(expected) :] == -1).all()
    assert np.isneginf(score_BxK[b, len(expected) :]).all()


@pytest.mark.parametrize("beams", [NUM_ITEMS, pytest.param(40, marks=pytest.mark.slow)])
def test_all_items_come_out_once_and_their_probabilities_sum_to_one(beams):
  model, params, trie, _ = make()
  found = search(model, params, trie, padded(HISTORIES), SearchConfig(beams=beams))
  np.testing.assert_allclose(by_hand().sum(axis=1), 1.0, atol=1e-6)
  np.testing.assert_allclose(np.exp(found.score_BxK).sum(axis=1), 1.0, atol=1e-5)
  check(found, by_hand(), beams=beams)


EARLIER = [[7, 3, 9], [1], [2, 0], []]  # newest first
EARLIER_INPUTS = InputsConfig(earlier=4)


def test_items_from_before_the_history_have_their_share():
  model, params, trie, path = make(inputs=EARLIER_INPUTS)
  earlier = np.array([row + [NO_ITEM] * (4 - len(row)) for row in EARLIER], np.int32)
  p_BxN = np.stack(
    [
      probabilities(model, params, trie, path, row, earlier=before)
      for row, before in zip(HISTORIES, EARLIER, strict=True)
    ]
  )
  history = Events(padded(HISTORIES), earlier_BxX=earlier)
  found = search(model, params, trie, history, SearchConfig(beams=NUM_ITEMS))
  np.testing.assert_allclose(np.exp(found.score_BxK).sum(axis=1), 1.0, atol=1e-5)
  check(found, p_BxN)
  # A request's history holds both, oldest first; the model reads the last six.
  pairs = zip(HISTORIES, EARLIER, strict=True)
  rows = [before[::-1] + [5] * (LENGTH - len(row)) + row for row, before in pairs]
  buckets = BucketSearch(model, params, trie, SearchConfig(beams=NUM_ITEMS))
  nothing = np.zeros(0, np.int32)
  asked = buckets.find([Question(np.array(row, np.int32), nothing) for row in rows])
  for row, one in zip(rows, asked, strict=True):
    before = [*dict.fromkeys(row[:-LENGTH][-4:][::-1])]
    p_N = probabilities(model, params, trie, path, row[-LENGTH:], earlier=before)
    np.testing.assert_array_equal(one.item_K, np.argsort(-p_N, kind="stable"))
    np.testing.assert_allclose(np.exp(one.score_K), p_N[one.item_K], rtol=3e-4)
  log = make_histories(rows)
  recommend = make_recommend_users(model, trie, SearchConfig(beams=NUM_ITEMS), make_mesh())
  of_users = recommend(params, log, np.arange(log.num_users))
  for user, one in enumerate(asked):
    np.testing.assert_array_equal(of_users.item_BxK[user], one.item_K)
    np.testing.assert_allclose(of_users.score_BxK[user], one.score_K, rtol=1e-4, atol=1e-5)


def test_earlier_items_that_cannot_be_are_refused():
  model, params, trie, _ = make(inputs=EARLIER_INPUTS)
  for earlier, message in (
    ([[1, 1]], "lists item row 1 twice"),
    ([[1] * 5], "has shape"),
    ([[NUM_ITEMS]], f"item row {NUM_ITEMS}"),
    (None, "reads items before what it reads and"),
  ):
    events = Events(
      padded([[3]]), earlier_BxX=None if earlier is None else np.array(earlier, np.int32)
    )
    with pytest.raises(ValueError, match=message):
      sidrec.recommend(params, trie, events, 3, model=model)
  with pytest.raises(ValueError, match=r"needs model\.repeats"):
    make_repeats(NUM_ITEMS, 2, 5, inputs=EARLIER_INPUTS, repeats=False)


def test_filters_leave_probabilities_as_they_are():
  model, params, trie, _ = make()
  rng = np.random.default_rng(2)
  seen = [np.unique(row) for row in HISTORIES]
  shops = [rng.permutation(NUM_ITEMS)[:9] for _ in HISTORIES]
  shops[0] = np.array([3, 5, 4, 1])  # nothing new
  everything = np.arange(NUM_ITEMS)
  config, history = SearchConfig(beams=NUM_ITEMS), padded(HISTORIES)
  lists = [padded_lists([list(map(int, x)) for x in some]) for some in (seen, shops)]
  for filters, allowed in (
    (Filters(lists[0]), [np.setdiff1d(everything, x) for x in seen]),
    (Filters(None, lists[1]), shops),
    (Filters(*lists), [np.setdiff1d(*pair) for pair in zip(shops, seen, strict=True)]),
  ):
    check(search(model, params, trie, history, config, filters), by_hand(), allowed)


def test_few_beams_find_every_item_of_the_history_with_its_true_score():
  model, params, trie, _ = make()
  loud = {**params["repeats"], "new_bias": jnp.float32(-60.0)}
  params = {**params, "repeats": loud}
  p_N = probabilities(*make()[:1], params, *make()[2:], HISTORIES[0])
  found = search(model, params, trie, padded(HISTORIES[:1]), SearchConfig(beams=4))
  check(found, p_N[None], beams=4)
  assert set(np.asarray(found.item_BxK[0]).tolist()) == set(HISTORIES[0])


def test_the_whole_catalogue_may_have_been_met():
  model, params, trie, path = make(num_items=3, levels=1)
  rows = [[0, 2, 2, 1], [1]]
  found = search(model, params, trie, padded(rows), SearchConfig(beams=5))
  check(found, np.stack([probabilities(model, params, trie, path, row) for row in rows]), beams=5)


def test_times_and_repeats_go_together():
  model, params, trie, path = make(inputs=TIMES)
  times = np.array([[0, 50, 50, 400, 7000, 9000]])
  events = Events.of(padded(HISTORIES[:1]), times, request_time=20000)
  expected = probabilities(model, params, trie, path, events, 20000 - times[0])
  found = sidrec.recommend(params, trie, events, NUM_ITEMS, model=model)
  check(found, expected[None])


@pytest.mark.slow
def test_items_that_left_the_catalogue_do_not_come_again():
  """They stay in histories; what is left is a distribution."""
  model, params, trie, _ = make()
  here = ~np.isin(np.arange(NUM_ITEMS), [1, 20])
  some = trie_lib.build_trie(np.asarray(trie.codes_NxL), among_N=here)
  moved = transfer(params, trie, some, np.arange(NUM_ITEMS))
  resized = model.clone(sizes=CatalogueSizes.of(some, model.sizes.codebook_size))
  found = search(resized, moved, some, padded(HISTORIES), SearchConfig(beams=NUM_ITEMS))
  np.testing.assert_allclose(np.exp(found.score_BxK).sum(axis=1), 1.0, atol=1e-5)
  assert all(sorted(row[:23]) == np.flatnonzero(here).tolist() for row in found.item_BxK.tolist())


@pytest.mark.slow
def test_temperature_divides_every_score():
  model, params, trie, path = make()
  expected = [probabilities(model, params, trie, path, row, temperature=2.0) for row in HISTORIES]
  config = SearchConfig(beams=NUM_ITEMS, temperature=2.0)
  check(search(model, params, trie, padded(HISTORIES), config), np.stack(expected))


@pytest.mark.slow
def test_prefixes_are_limited_for_items_of_the_history_too():
  model, params, trie, _ = make()
  config = SearchConfig(beams=NUM_ITEMS, most_per_prefix=2)
  found = search(model, params, trie, padded(HISTORIES), config)
  first_N = np.asarray(trie.codes_NxL)[:, 0]
  best = []
  for p_N in by_hand():
    order = np.argsort(-p_N)
    best.append(np.concatenate([order[first_N[order] == code][:2] for code in range(5)]))
  check(found, by_hand(), best)


def test_a_draw_takes_items_by_their_probabilities_without_replacement():
  model, params, trie, _ = make()
  config, count = SearchConfig(beams=5), 4000
  history = np.repeat(padded(HISTORIES[:1]), count, axis=0)
  found = search(model, params, trie, history, config, key=jax.random.key(0))
  item_BxK = np.asarray(found.item_BxK)
  assert (np.sort(item_BxK, axis=1)[:, 1:] != np.sort(item_BxK, axis=1)[:, :-1]).all()
  p_N = by_hand()[0]
  share_N = np.bincount(item_BxK[:, 0], minlength=NUM_ITEMS) / count
  assert np.abs(share_N - p_N).max() < 4 * np.sqrt(0.25 / count)
  # The second one, given the first, by what is left.
  first = int(p_N.argmax())
  second = item_BxK[item_BxK[:, 0] == first, 1]
  left_N = np.where(np.arange(NUM_ITEMS) == first, 0, p_N) / (1 - p_N[first])
  share_N = np.bincount(second, minlength=NUM_ITEMS) / len(second)
  assert np.abs(share_N - left_N).max() < 4 * np.sqrt(0.25 / len(second))
  np.testing.assert_allclose(
    np.exp(found.score_BxK), p_N[item_BxK], rtol=1e-3
  )  # scores are log p, not what was drawn


def test_the_item_head_is_joined_with_both():
  model, params, trie, path = make(item_head=True)
  p_N = probabilities(model, params, trie, path, HISTORIES[0])
  history = padded(HISTORIES[:1])

  @jax.jit
  def item_scores(params):
    call = lambda method, *args: model.apply({"params": params}, *args, method=method)
    encoded = call("encode", history, trie.codes_NxL)
    return call("item_scores", encoded, jnp.arange(NUM_ITEMS)[None], trie.codes_NxL)[0]

  head_N = np.asarray(item_scores(params))
  config = SearchConfig(beams=NUM_ITEMS, item_weight=3.0)
  found = search(model, params, trie, history, config)
  total_N = (np.log(p_N) + 3 * head_N) / 4
  total_N -= np.log(np.exp(total_N).sum())
  np.testing.assert_array_equal(found.item_BxK[0], np.argsort(-total_N))
  np.testing.assert_allclose(found.score_BxK[0], np.sort(total_N)[::-1], atol=1e-3)


@pytest.mark.slow
def test_every_way_to_ask_gives_the_same():
  model, params, trie, _ = make()
  config = SearchConfig(beams=12, batch_size=8, item_weight=0.0)
  expected = search(model, params, trie, padded(HISTORIES), config)
  lots = sidrec.recommend(
    params, trie, padded(HISTORIES), 12, model=model, search=config, at_once=2
  )
  histories, users = make_histories(HISTORIES), np.arange(len(HISTORIES))
  make_users = make_recommend_users(model, trie, config, make_mesh())
  masked = make_users(params, histories, users, seen_items(histories))
  states = sidrec.encode(params, trie, padded(HISTORIES), model=model)
  beams = sidrec.beam_search(states, 12, params=params, trie=trie, model=model, search=config)
  buckets = BucketSearch(model, params, trie, config)
  asked = [Question(np.array(row, np.int32), np.zeros(0, np.int32)) for row in HISTORIES]
  for found in (lots, make_users(params, histories, users)):
    np.testing.assert_array_equal(found.item_BxK, expected.item_BxK)
    np.testing.assert_allclose(found.score_BxK, expected.score_BxK, atol=1e-4)
  for b, found in enumerate(buckets.find(asked)):
    np.testing.assert_array_equal(found.item_K, expected.item_BxK[b])
  code_NxL = np.asarray(trie.codes_NxL)
  np.testing.assert_array_equal(beams.code_BxKxL, code_NxL[np.asarray(expected.item_BxK)])
  np.testing.assert_allclose(beams.logp_BxK, expected.score_BxK, atol=1e-4)
  for row, items in zip(HISTORIES, masked.item_BxK.tolist(), strict=True):
    assert not set(row) & set(items)


def test_what_has_no_answer_is_refused():
  model, params, trie, _ = make()
  states = sidrec.encode(params, trie, padded(HISTORIES), model=model)
  with pytest.raises(ValueError, match="a prefix has no log probability of its own"):
    sidrec.beam_search(states, 3, 1, params=params, trie=trie, model=model)
  with pytest.raises(ValueError, match=r"does not say what may come again; make it by sidrec\.enc"):
    sidrec.beam_search(states._replace(again=None), 3, params=params, trie=trie, model=model)
  weighted = SearchConfig(level_weights=(1.0, 2.0))
  with pytest.raises(ValueError, match=r"search\.level_weights weigh .* leave the weights out"):
    sidrec.recommend(params, trie, padded(HISTORIES), 3, model=model, search=weighted)
