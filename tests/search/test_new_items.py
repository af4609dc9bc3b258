"""Known and new items in one list: the compiled search against every item scored by hand."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from tiny import all_codes, init_params, make_model

from sidrec.catalogue.trie.resize import rebuilt, with_room, with_room_apart
from sidrec.catalogue.trie.trie import build_trie
from sidrec.cold_start.known_and_new import Catalogue, Known, known_and_new, searchable
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.models.settings import CatalogueSizes
from sidrec.models.similarity import DECAY, TEMPERATURE
from sidrec.models.transfer import UNKNOWN, transfer
from sidrec.search import beam, new_items
from sidrec.search.buckets import BucketSearch
from sidrec.search.filters import NO_FILTERS, Filters, padded_lists
from sidrec.search.near_head import nearest_known
from sidrec.search.questions import Question
from sidrec.search.settings import SearchConfig
from sidrec.search.similarity import AMONG, SEARCH_WEIGHT

CODES = np.random.default_rng(0).permutation(all_codes(2, 6))
NUM_KNOWN, NUM_NEW, SHARE = 20, 9, 0.2
N = NUM_KNOWN + NUM_NEW
VECTORS = np.random.default_rng(1).normal(size=(36, 3)).astype(np.float32)
HISTORIES = [[3, 1, 4], [22, 5, 25, 0], [], [7]]
CONFIG = SearchConfig(beams=30)


@functools.cache
def trained(**changes):
  model, trie, path = make_model(CODES[:NUM_KNOWN], **changes)
  return Known(
    model, init_params(model, trie, path, scale=2.0), trie, searchable(VECTORS[:NUM_KNOWN])
  )


def catalogue(among=None):
  among_N = np.ones(N, bool) if among is None else np.isin(np.arange(N), among)
  return Catalogue(CODES[:N], among_N, searchable(VECTORS[NUM_KNOWN:N]), None)


@functools.cache
def tries():
  return with_room_apart(trained().trie, NUM_NEW)


def made(among=None, share=SHARE, **changes):
  return known_and_new(trained(**changes), tries(), catalogue(among), share)


def padded(histories=HISTORIES):
  return np.array([row + [NO_ITEM] * (4 - len(row)) for row in histories], np.int32)


compiled = jax.jit(new_items.search, static_argnames=("model", "config"))
compiled_plain = jax.jit(beam.search, static_argnames=("model", "config"))


def search(model, params, trie, history, config, new, filters=NO_FILTERS):
  return jax.device_get(compiled(model, params, trie, history, config, new, filters))


def plain(model, params, trie, history, config):
  return jax.device_get(compiled_plain(model, params, trie, history, config))


def in_trie_of(among, **changes):
  """log p of each item by the plain search in a trie of these alone: [B, N], -inf for others."""
  known = trained(**changes)
  trie = build_trie(CODES[:N], np.isin(np.arange(N), among))
  row = np.where(np.arange(N) < NUM_KNOWN, np.arange(N), UNKNOWN)
  params = transfer(known.params, known.trie, trie, row)
  model = known.model.clone(sizes=CatalogueSizes.of(trie, 6))
  found = plain(model, params, trie, padded(), SearchConfig(beams=N))
  logp_BxN = np.full((len(HISTORIES), N), -np.inf)
  for b, (item_K, score_K, valid_K) in enumerate(zip(*map(np.asarray, found), strict=True)):
    logp_BxN[b, item_K[valid_K]] = score_K[valid_K]
  return logp_BxN


def by_hand(known, new, share=SHARE, **changes):
  """log p of each item, of these lists of items of either kind: float64 [B, N]."""
  logp_BxN = np.full((len(HISTORIES), N), -np.inf)
  of_known = in_trie_of(np.arange(NUM_KNOWN), **changes)
  of_new = in_trie_of(np.arange(NUM_KNOWN, N), **changes)
  unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
  for b, history in enumerate(HISTORIES):
    weight = DECAY ** np.arange(len(history))[::-1]

    def similar(item, history=history, weight=weight):
      near = np.exp((unit[history] @ unit[item] - 1) / TEMPERATURE)
      return weight @ near / weight.sum() if history else 1.0

    first = sorted(known, key=lambda item, b=b: -of_known[b, item])[:AMONG]
    of_item = {item: np.exp(SEARCH_WEIGHT * of_new[b, item]) * similar(item) for item in new}
    total = sum(map(similar, first)) + sum(of_item.values())
    odds = {item: share * value / total for item, value in of_item.items()}
    z = 1 - share + sum(odds.values())
    for item in known:
      logp_BxN[b, item] = np.log((1 - share) / z) + of_known[b, item]
    for item in new:
      logp_BxN[b, item] = np.log(odds[item] / z)
  return logp_BxN


def check(found, logp_BxN):
  for b, (item_K, score_K, valid_K) in enumerate(zip(*map(np.asarray, found), strict=True)):
    expected = np.argsort(-logp_BxN[b], kind="stable")[: np.isfinite(logp_BxN[b]).sum()]
    expected = expected[: len(item_K)]
    assert valid_K.sum() == len(expected)
    # float16 vectors move cosines by 0.0005, which temperature 0.05 makes 0.01.
    np.testing.assert_allclose(score_K[valid_K], logp_BxN[b, expected], atol=0.03)
    np.testing.assert_allclose(score_K[valid_K], logp_BxN[b, item_K[valid_K]], atol=0.03)
    assert (item_K[~valid_K] == -1).all()
    assert np.isneginf(score_K[~valid_K]).all()


KNOWN, NEW = np.arange(NUM_KNOWN), np.arange(NUM_KNOWN, N)


def test_every_item_has_the_probability_of_the_formula():
  model, params, trie, new = made()
  found = search(model, params, trie, padded(), CONFIG, new)
  check(found, by_hand(KNOWN, NEW))
  np.testing.assert_allclose(np.exp(found.score_BxK).sum(axis=1), 1.0, atol=1e-5)


def test_probabilities_sum_to_one_whatever_the_share_is():
  model, params, trie, new = made()
  for share in (0.001, 0.5, 0.99):
    found = search(model, params, trie, padded(), CONFIG, new._replace(share=np.float32(share)))
    np.testing.assert_allclose(np.exp(found.score_BxK).sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("block", [1, 2, 4, 8])
def test_blocks_of_new_rows_find_what_all_at_once_do(monkeypatch, block):
  """Rows that are room for more, whose vectors are no numbers here, change nothing."""
  model, params, trie, new = made()
  few = dataclasses.replace(CONFIG, beams=4)  # fewer than there are new items
  expected = search(model, params, trie, padded(), few, new)
  new_MxF = np.array(new.vectors.new_MxF)
  assert len(new_MxF) > NUM_NEW
  new_MxF[NUM_NEW:] = np.nan
  new = new._replace(vectors=new.vectors._replace(new_MxF=new_MxF))
  monkeypatch.setattr(new_items, "_BLOCK", block)
  # Traced anew, for the blocks are no argument.
  find = jax.jit(lambda *arrays, new: new_items.search(model, *arrays, few, new))
  found = find(params, trie, padded(), new=new)
  np.testing.assert_array_equal(found.item_BxK, expected.item_BxK)
  np.testing.assert_allclose(found.score_BxK, expected.score_BxK, rtol=1e-5)
  assert (np.asarray(found.item_BxK) >= NUM_KNOWN).any()


def lists(rows):
  return padded_lists([rows] * len(HISTORIES))


@pytest.mark.parametrize(
  ("filters", "known", "new"),
  [
    (
      Filters(forbidden_BxJ=lists([2, 3, 21, 28])),
      np.delete(KNOWN, [2, 3]),
      NEW[[0, *range(2, 8)]],
    ),
    (Filters(allowed_BxJ=lists([5, 6, 24, 23])), [5, 6], [23, 24]),
    (Filters(allowed_BxJ=lists([24, 23])), [], [23, 24]),
    (Filters(allowed_BxJ=lists([4, 9, 1])), [1, 4, 9], []),
  ],
)
def test_filters_hold_for_both_kinds(filters, known, new):
  model, params, trie, both = made()
  found = search(model, params, trie, padded(), CONFIG, both, filters)
  check(found, by_hand(known, new))


def test_without_new_items_the_list_is_that_of_before_bit_for_bit():
  model, params, trie, new = made(among=KNOWN)
  assert not new.any_new
  found = search(model, params, trie, padded(), CONFIG, new)
  jax.tree.map(np.testing.assert_array_equal, found, plain(model, params, trie, padded(), CONFIG))


def test_known_items_keep_their_order_and_their_odds():
  known = trained()
  before = plain(known.model, known.params, known.trie, padded(), SearchConfig(beams=20))
  model, params, trie, new = made()
  found = search(model, params, trie, padded(), CONFIG, new)
  for b in (0, 2, 3):  # histories of known items
    item_K, score_K = np.asarray(found.item_BxK[b]), np.asarray(found.score_BxK[b])
    kept = (item_K >= 0) & (item_K < NUM_KNOWN)
    np.testing.assert_array_equal(item_K[kept], before.item_BxK[b])
    np.testing.assert_allclose(np.ptp(score_K[kept] - before.score_BxK[b]), 0.0, atol=1e-4)


def test_a_catalogue_of_new_items_alone():
  model, params, trie, new = made(among=NEW)
  found = search(model, params, trie, padded(), CONFIG, new)
  assert all(sorted(row[row >= 0].tolist()) == NEW.tolist() for row in np.asarray(found.item_BxK))
  assert (np.exp(found.score_BxK).sum(axis=1) <= 1 + 1e-6).all()


def test_a_limit_per_prefix_holds_for_both_kinds_together():
  config = dataclasses.replace(CONFIG, most_per_prefix=2)
  model, params, trie, new = made()
  found = search(model, params, trie, padded(), config, new)
  for b in range(len(HISTORIES)):
    item_K = np.asarray(found.item_BxK[b])[np.asarray(found.valid_BxK[b])]
    first = CODES[item_K, 0]
    assert np.bincount(first).max() <= 2
    assert {*item_K.tolist()} & {*NEW.tolist()}
    assert {*item_K.tolist()} & {*KNOWN.tolist()}
    assert (np.diff(np.asarray(found.score_BxK[b])[: len(item_K)]) <= 0).all()


@pytest.mark.parametrize(
  ("changes", "weights"), [({"item_head": True}, ()), ({}, (1.0, 0.5))], ids=["head", "weights"]
)
def test_scores_that_are_no_log_p_are_compared_as_such(changes, weights):
  """Known items keep their scores but for a number; new ones are ranked as after a softmax."""
  config = dataclasses.replace(CONFIG, level_weights=weights)
  model, params, trie, new = made(**changes)
  found = search(model, params, trie, padded(), config, new)
  alone = search(model, params, trie, padded(), config, new._replace(any_new=np.asarray(False)))
  for b in range(len(HISTORIES)):
    item_K, score_K = np.asarray(found.item_BxK[b]), np.asarray(found.score_BxK[b])
    kept, (before,) = (item_K >= 0) & (item_K < NUM_KNOWN), np.nonzero(alone.valid_BxK[b])
    np.testing.assert_array_equal(item_K[kept], alone.item_BxK[b, before])
    np.testing.assert_allclose(
      np.ptp(score_K[kept] - np.asarray(alone.score_BxK[b, before])), 0.0, atol=1e-3
    )
    total = np.logaddexp.reduce(alone.score_BxK[b, before])
    assert np.logaddexp.reduce(score_K[item_K >= 0]) == pytest.approx(total, abs=1e-3)


def test_new_items_are_ranked_by_what_the_item_head_says_of_known_ones_like_them():
  """Differences of scores are half of those without, and half of those of the mean."""
  model, params, trie, bare = made(item_head=True)
  near = nearest_known(searchable(VECTORS[:NUM_KNOWN]), searchable(VECTORS[NUM_KNOWN:N]))
  parts = known_and_new(
    trained(item_head=True), tries(), catalogue()._replace(near=near), share=SHARE
  )
  found, before = (search(model, params, trie, padded(), CONFIG, x) for x in (parts.new, bare))
  encoded = model.apply(
    {"params": params}, padded(), trie.codes_NxL, 30, trie.used, method="encode"
  )
  head_BxN = model.apply({"params": params}, encoded, trie.codes_NxL, method="all_item_scores")
  mean_BxM = (np.asarray(head_BxN)[:, near.item_MxJ] * near.share_MxJ).sum(axis=2)
  for b in range(len(HISTORIES)):
    of_item = [dict(zip(x.item_BxK[b], x.score_BxK[b], strict=True)) for x in (found, before)]
    with_head, without = (np.array([one[item] for item in NEW]) for one in of_item)
    expected = (without + mean_BxM[b]) / 2
    np.testing.assert_allclose(with_head - with_head[0], expected - expected[0], atol=1e-3)
    assert np.ptp(expected - without) > 0.1


def test_a_model_with_repeats_has_both_kinds_come_again():
  """New items in the history, too; filters leave them out, and p sums to one."""
  model, params, trie, new = made(repeats=True)
  found = search(model, params, trie, padded(), CONFIG, new)
  np.testing.assert_allclose(np.exp(found.score_BxK).sum(axis=1), 1.0, atol=1e-5)
  assert all(sorted(row[row >= 0].tolist()) == [*range(N)] for row in np.asarray(found.item_BxK))
  unseen = search(
    model, params, trie, padded(), CONFIG, new, Filters(forbidden_BxJ=padded_lists(HISTORIES))
  )
  alone = search(model, params, trie, padded(), CONFIG, new._replace(any_new=np.asarray(False)))
  for b, history in enumerate(HISTORIES):
    item_K = np.asarray(unseen.item_BxK[b])
    assert {*item_K[item_K >= 0].tolist()} == {*range(N)} - {*history}
    item_K, before = np.asarray(found.item_BxK[b]), np.asarray(alone.item_BxK[b])
    kept = item_K[(item_K >= 0) & (item_K < NUM_KNOWN)]
    np.testing.assert_array_equal(kept, before[before >= 0])


def test_the_items_of_histories_are_without_the_user_s_token():
  history = padded()
  model, _, _ = make_model(CODES[:NUM_KNOWN], setting="tiger", user_tokens=3)
  with_tokens = np.concatenate([np.full((4, 1), 2, np.int32), history], axis=1)
  np.testing.assert_array_equal(new_items.items_of(model, with_tokens), history)
  np.testing.assert_array_equal(new_items.items_of(model, Events(with_tokens)), history)
  np.testing.assert_array_equal(new_items.items_of(trained().model, history), history)


def test_another_temperature_is_that_of_both_searches():
  model, params, trie, new = made()
  hot = search(model, params, trie, padded(), dataclasses.replace(CONFIG, temperature=3.0), new)
  np.testing.assert_allclose(np.exp(hot.score_BxK).sum(axis=1), 1.0, atol=1e-5)
  cold = search(model, params, trie, padded(), CONFIG, new)
  assert not np.array_equal(hot.item_BxK, cold.item_BxK)


def test_a_server_s_shapes_find_the_same_with_one_program_for_every_catalogue():
  """Lists, bits and batches; new items come and go, and nothing is compiled for it."""
  model, params, trie, new = made(among=KNOWN)
  buckets = BucketSearch(model, params, trie, CONFIG, new)
  question = lambda row, listed, allows: Question(
    np.array(row, np.int32), np.array(listed, np.int32), allows
  )
  asked = [question(row, [2, 21, 22], allows) for row in HISTORIES[:2] for allows in (False, True)]
  buckets.batches = (2,)
  buckets.find(asked)
  bits = buckets.bits_shape(2, model.config.history_length)
  buckets.compile(bits)
  compiled = len(buckets.shapes)
  for among in (range(N), [*range(5), 21, 22], NEW, KNOWN):
    parts = known_and_new(trained(), (trie, new.trie), catalogue([*among]), SHARE)
    other = buckets.over(*parts)
    found = other.find(asked)
    assert len(other.shapes) == compiled
    assert other._compiled is buckets._compiled
    for one, result in zip(asked, found, strict=True):
      filters = Filters(
        **{"allowed_BxJ" if one.allows else "forbidden_BxJ": padded_lists([one.listed_J])}
      )
      history = padded([one.history_S.tolist()])
      expected = search(*parts[:3], history, CONFIG, parts[3], filters)
      valid_K = np.asarray(expected.valid_BxK[0])
      np.testing.assert_array_equal(result.item_K, np.asarray(expected.item_BxK[0])[valid_K])
      np.testing.assert_allclose(
        result.score_K, np.asarray(expected.score_BxK[0])[valid_K], rtol=1e-4, atol=1e-4
      )
    by_bits = other.compile(bits)(*other._arguments(asked[:1], bits))
    assert np.asarray(by_bits.item_BxK[0])[: len(found[0].item_K)].tolist() == (
      found[0].item_K.tolist()
    )


def test_items_that_share_an_id_across_both_kinds_are_refused():
  codes = CODES[:N].copy()
  codes[25] = codes[3]
  with pytest.raises(ValueError, match="item 25 has the semantic ID"):
    known_and_new(trained(), tries(), catalogue()._replace(codes_NxL=codes), SHARE)
  gone = Catalogue(codes, np.arange(N) != 3, catalogue().new_MxF, None)
  assert known_and_new(trained(), tries(), gone, SHARE).new.any_new


def siblings_of_the_best(count=40):
  """A model of 30 known items, and its best item after a history with new siblings around it."""
  codes = np.random.default_rng(3).permutation(all_codes(2, 64))
  first = codes[np.unique(codes[:, 0], return_index=True)[1]][:30]
  model, trie, path = make_model(first, width=16)
  model = model.clone(sizes=dataclasses.replace(model.sizes, codebook_size=64))
  params = init_params(model, trie, path, scale=2.0)
  best = int(plain(model, params, trie, padded([[3, 1, 4]]), CONFIG).item_BxK[0, 0])
  around = [
    code for code in codes.tolist() if code[0] == first[best, 0] and code != first[best].tolist()
  ]
  grown = np.concatenate([first, np.array(around[:count], np.int32)])
  return Known(model, params, trie, searchable(VECTORS[:30])), grown, best


def test_untrained_siblings_do_not_push_a_good_item_out_of_the_ten():
  known, codes, best = siblings_of_the_best()
  count, rng, history = len(codes) - 30, np.random.default_rng(4), padded([[3, 1, 4]])
  assert count == 40
  row = np.where(np.arange(len(codes)) < 30, np.arange(len(codes)), UNKNOWN)
  one = with_room(known.trie, count)
  one = rebuilt(one, codes, np.ones(len(codes), bool))
  params = transfer(
    known.params,
    known.trie,
    one,
    np.pad(row, (0, one.num_items - len(row)), constant_values=UNKNOWN),
  )
  in_one = known.model.clone(sizes=CatalogueSizes.of(one, 64))
  before = plain(in_one, params, one, history, CONFIG)
  assert best not in np.asarray(before.item_BxK[0])[:10]  # what a trie of all items does
  far = -np.broadcast_to(VECTORS[4], (count, 3)) + 0.1 * rng.normal(size=(count, 3))
  every = Catalogue(codes, np.ones(len(codes), bool), searchable(far), None)
  parts = known_and_new(known, with_room_apart(known.trie, count), every, SHARE)
  found = search(*parts[:3], history, CONFIG, parts[3])
  assert int(found.item_BxK[0, 0]) == best
  # A new item that is like the latest one comes among the ten.
  near = searchable(np.concatenate([far[:-1], VECTORS[4:5]]))
  parts = known_and_new(
    known, with_room_apart(known.trie, count), every._replace(new_MxF=near), SHARE
  )
  found = search(*parts[:3], history, CONFIG, parts[3])
  assert {best, len(codes) - 1} <= {*np.asarray(found.item_BxK[0])[:10].tolist()}
