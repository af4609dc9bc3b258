"""The front door: its lists, its shapes and what it compiles."""

import jax
import numpy as np
import pytest
from tiny import all_codes, init_params, make_model

import sidrec
from sidrec.catalogue.trie.resize import with_items, with_room, without_items
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import UNKNOWN, transfer
from sidrec.search import beam
from sidrec.search.filters import padded_lists
from sidrec.search.settings import SearchConfig

CODES = np.random.default_rng(0).permutation(all_codes(2, 8))
HISTORY = np.array([[3, 1, 4, -1], [5, 9, 2, 6], [-1, -1, -1, -1]], np.int32)


@pytest.fixture(scope="module")
def case():
  """A model whose tables have room for 64 items, and a trie of 40 of them."""
  small, trained, path = make_model(CODES[:40])
  params = init_params(small, trained, path, scale=3.0)
  roomy = with_room(trained)
  model = small.clone(sizes=CatalogueSizes.of(roomy, 8))
  return model, params, trained, roomy


def fit(case, trie):
  """The parameters for another catalogue of the same shapes."""
  _, params, trained, _ = case
  rows = np.arange(trie.num_items)
  return transfer(params, trained, trie, np.where(rows < 40, rows, UNKNOWN))


def test_it_is_the_search_cut_to_k(case):
  model, _, _, trie = case
  params = fit(case, trie)
  lists = sidrec.Filters(padded_lists([[1, 2], [], [7]]), padded_lists([range(30), range(3), [7]]))
  result = sidrec.recommend(params, trie, HISTORY, 5, lists, model=model)
  search = lambda p, lists: beam.search(model, p, trie, HISTORY, SearchConfig(), lists)
  whole = jax.jit(search)(params, lists)
  np.testing.assert_array_equal(result.item_BxK, whole.item_BxK[:, :5])
  np.testing.assert_array_equal(result.score_BxK, whole.score_BxK[:, :5])
  assert result.valid_BxK.sum(axis=1).tolist() == [5, 3, 0]
  assert not set(np.asarray(result.item_BxK[0]).tolist()) & {1, 2, -1}


def test_lots_one_after_another_find_what_all_at_once_find(case):
  model, _, _, trie = case
  params = fit(case, trie)
  lists = sidrec.Filters(padded_lists([[1, 2], [], [7]]), padded_lists([range(30), range(3), [7]]))
  whole = sidrec.recommend(params, trie, HISTORY, 5, lists, at_once=3, model=model)
  # Two lots, of which one is filled up.
  lots = sidrec.recommend(params, trie, HISTORY, 5, lists, at_once=2, model=model)
  np.testing.assert_array_equal(lots.item_BxK, whole.item_BxK)
  np.testing.assert_allclose(lots.score_BxK, whole.score_BxK, atol=1e-5)
  assert (lots.valid_BxK == whole.valid_BxK).all()


def test_items_come_and_go_without_another_compilation(case):
  model, _, _, trie = case
  few = lambda trie: sidrec.recommend(fit(case, trie), trie, HISTORY, 64, model=model)
  before = few(trie)
  compiled = sidrec.recommend._cache_size()
  grown = with_items(trie, CODES[40:45])
  added = few(grown)
  after = few(without_items(grown, np.arange(40, 45)))
  assert sidrec.recommend._cache_size() == compiled
  jax.tree.map(np.testing.assert_array_equal, before, after)
  assert before.valid_BxK.sum(axis=1).tolist() == [40] * 3
  assert added.valid_BxK.sum(axis=1).tolist() == [45] * 3
  # A distribution over all of them, before and after.
  np.testing.assert_allclose(np.exp(added.score_BxK).sum(axis=1), 1.0, atol=1e-4)
  np.testing.assert_allclose(np.exp(before.score_BxK).sum(axis=1), 1.0, atol=1e-4)


def test_one_beam_is_the_greedy_search(case):
  """The best first token, whatever follows; then the best second one."""
  model, _, _, trie = case
  params = fit(case, trie)
  greedy = sidrec.recommend(params, trie, HISTORY, 1, model=model, search=SearchConfig(beams=1))
  every = sidrec.recommend(params, trie, HISTORY, 64, model=model)
  for b in range(3):
    item, p = np.asarray(every.item_BxK[b, :40]), np.exp(every.score_BxK[b, :40])
    first = CODES[item, 0]
    best = np.bincount(first, p).argmax()
    assert greedy.item_BxK[b, 0] == item[first == best][0]


@pytest.mark.parametrize(
  ("history", "k", "beams", "message"),
  [
    (HISTORY[0], 5, None, r"histories have shape \(4,\)"),
    (np.zeros((1, 5), np.int32), 5, None, "1 to 4 items"),
    (HISTORY, 0, None, "k is 0 and beams 50"),
    (HISTORY, 6, 5, "k is 6 and beams 5"),
  ],
)
def test_what_does_not_fit_is_refused(case, history, k, beams, message):
  model, params, trained, _ = case
  search = None if beams is None else SearchConfig(beams=beams)
  with pytest.raises(ValueError, match=message):
    sidrec.recommend(params, trained, history, k, model=model, search=search)


def test_no_requests_at_once_are_refused(case):
  model, params, trained, _ = case
  with pytest.raises(ValueError, match="at_once is 0; give at least 1"):
    sidrec.recommend(params, trained, HISTORY, 5, at_once=0, model=model)


def test_unknown_names_are_refused():
  with pytest.raises(AttributeError, match="no attribute 'nothing'"):
    _ = sidrec.nothing
