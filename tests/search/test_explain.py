"""Explanations of a search: equal to the search, and to searches without a history item."""

import numpy as np
import pytest
from repeats_model import make_repeats
from tiny import all_codes, init_params, make_model

from sidrec.search import explain as explain_lib
from sidrec.search.buckets import BucketSearch
from sidrec.search.questions import Question
from sidrec.search.settings import SearchConfig

CODES = np.random.default_rng(0).permutation(all_codes(3, 4))[:40]
SETTINGS = {
  "dense": {
    **{"item_head": True, "history_length": 5},
    **{"constrained_softmax": False, "node_bias": False, "node_vectors": False},
  },
  "tiger": {"setting": "tiger", "user_tokens": 3, "history_length": 5},
}
SEARCHES = {
  "dense": SearchConfig(beams=8, item_weight=0.5, level_weights=(1.0, 0.5, 2.0)),
  "tiger": SearchConfig(beams=8, temperature=1.5, most_per_prefix=2),
}


@pytest.fixture(scope="module", params=["dense", pytest.param("tiger", marks=pytest.mark.slow)])
def case(request):
  """A model with its search, few beams; and all items searched, which scores each of them."""
  model, trie, path = make_model(CODES, **SETTINGS[request.param])
  params, config = init_params(model, trie, path, scale=3.0), SEARCHES[request.param]
  every = SearchConfig(**{**vars(config), "beams": 40, "most_per_prefix": 0})
  searches = [BucketSearch(model, params, trie, some) for some in (config, every)]
  for some in searches:
    some.batches = (8,)
  return {"params": params, "trie": trie, "model": model, "search": config}, *searches


def question(history, listed=(), **more):
  return Question(np.array(history, np.int32), np.array(listed, np.int32), **more)


QUESTIONS = [
  question([3, 1, 4]),
  question([], [7]),
  question([5, 9, 2, 6, 5], [5, 9, 2, 6], token=2, temperature=0.7),
  question([7], [*range(10, 20)], allows=True),
  question([8, 8], allows=True),  # nothing is allowed
]


def explained(case, asked, results=12):
  return explain_lib.explain(question=asked, results=results, **case[0])


def test_what_is_found_is_what_the_search_finds(case):
  for asked, expected in zip(QUESTIONS, case[1].find(QUESTIONS), strict=True):
    found = explained(case, asked)
    np.testing.assert_array_equal(found.found.item_K, expected.item_K)
    np.testing.assert_allclose(found.found.score_K, expected.score_K, atol=1e-5)
    assert {*found.levels[-1].kept.item_K.tolist()} == {*expected.item_K.tolist()}


def test_levels_are_beams_of_growing_prefixes(case):
  for asked in QUESTIONS:
    before = {(): 0.0}
    for depth, level in enumerate(explained(case, asked).levels, 1):
      kept, removed = level.kept, level.removed
      prefixes = [tuple(CODES[item, :depth]) for item in kept.item_K]
      assert len({*prefixes}) == len(prefixes) <= 8
      for prefix, count, score in zip(prefixes, kept.items_K, kept.score_K, strict=True):
        assert count == (CODES[:, :depth] == prefix).all(axis=1).sum()
        assert score <= before[prefix[:-1]] + 1e-6
      for item in removed.item_K:
        assert tuple(CODES[item, :depth]) not in prefixes
        assert tuple(CODES[item, : depth - 1]) in before
      assert (np.diff(kept.score_K) <= 0).all()
      assert (np.diff(removed.score_K) <= 0).all()
      assert len(removed.item_K) == min(level.num_removed, explain_lib.SHOWN)
      before = dict(zip(prefixes, kept.score_K, strict=True))


def test_what_filters_remove_is_named_with_its_probability(case):
  free, banned = explained(case, QUESTIONS[0]), None
  best = int(free.levels[-1].kept.item_K[0])
  banned = explained(case, question(QUESTIONS[0].history_S, [best]))
  whole = (CODES[:, :1] == CODES[best, :1]).all(axis=1).nonzero()[0]
  assert [level.num_removed for level in free.levels] == [0, 0, 0]
  (at,) = [depth for depth, level in enumerate(banned.levels) if level.num_removed]
  removed = banned.levels[at].removed
  assert removed.item_K.tolist() == [best]
  assert banned.levels[at].removed_mass == pytest.approx(np.exp(removed.score_K[0]), rel=1e-5)
  np.testing.assert_allclose(removed.score_K, free.levels[at].kept.score_K[:1], atol=1e-5)
  cluster = explained(case, question(QUESTIONS[0].history_S, whole)).levels[0]
  assert CODES[cluster.removed.item_K, 0].tolist() == [CODES[best, 0]]
  assert cluster.removed.items_K.tolist() == [len(whole)]
  nothing = explained(case, QUESTIONS[-1])
  assert nothing.levels[0].num_removed == len({*CODES[:, 0].tolist()})
  assert nothing.found.item_K.tolist() == []
  assert nothing.added_SxR.shape == (2, 0)


@pytest.mark.parametrize("history", [[3, 1, 4], [5], [6, 5, 9, 2, 6, 5], [1] * 4])
def test_what_history_items_add_is_what_they_add_one_by_one(case, history):
  asked = question(history, history, token=1, temperature=1.25)
  found = explained(case, asked)
  length = case[0]["model"].config.history_length
  first = max(0, len(history) - length)
  assert found.first == first
  without = [history[:at] + history[at + 1 :] for at in range(first, len(history))]
  alone = [question(some, token=1, temperature=1.25) for some in [history, *without]]
  scores = [dict(zip(*one, strict=True)) for one in case[2].find(alone)]
  shown = found.found.item_K[:12].tolist()
  expected = [[scores[0][item] - some[item] for item in shown] for some in scores[1:]]
  np.testing.assert_allclose(found.added_SxR, expected, atol=2e-5)
  assert np.abs(found.added_SxR).max() > 1e-3  # or all might be 0


def test_another_request_compiles_nothing_new(case):
  compiled = []
  for asked in QUESTIONS:
    explain_lib.explain(question=asked, results=3, **case[0])
    compiled.append((explain_lib._trace._cache_size(), explain_lib._score._cache_size()))
  assert len({*compiled}) == 1


def test_rows_outside_the_catalogue_are_refused(case):
  with pytest.raises(ValueError, match="rows go from 0 to 39"):
    explained(case, question([40]))


def test_items_that_come_again_compete_with_the_beams():
  """The list is the search's, and what items add is what they add one by one."""
  model, params, trie, _ = make_repeats(25, 2, 5, item_head=True)
  search = SearchConfig(beams=25, item_weight=0.5)
  every = BucketSearch(model, params, trie, search)
  every.batches = (8,)
  history = [3, 1, 4, 1]
  asked = question(history, [7], temperature=1.25)
  found = explain_lib.explain(params, trie, asked, 25, model=model, search=search)
  without = [history[:at] + history[at + 1 :] for at in range(len(history))]
  expected, *alone = every.find([question(x, [7], temperature=1.25) for x in [history, *without]])
  np.testing.assert_array_equal(found.found.item_K, expected.item_K)
  np.testing.assert_allclose(found.found.score_K, expected.score_K, atol=2e-5)
  assert {1, 3, 4} <= {*expected.item_K.tolist()}  # of the history
  scores = [dict(zip(*one, strict=True)) for one in alone]
  # Up to a number for each history: lists are normalised, and items are compared within one.
  added = np.array([[s - some[i] for i, s in zip(*expected, strict=True)] for some in scores])
  apart = found.added_SxR - added
  np.testing.assert_allclose(apart - apart[:, :1], 0, atol=5e-5)

  last = found.levels[-1].kept  # of something new
  assert not {1, 3, 4} & {*last.item_K.tolist()}
  assert np.exp(last.score_K).sum() + found.levels[-1].removed_mass == pytest.approx(
    1 - found.again, abs=1e-5
  )
  assert 0 < found.again < 1
