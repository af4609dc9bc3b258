"""The front door: its lists, its shapes and what it compiles."""

import jax
import numpy as np
import pytest
from tiny import all_codes, init_params, make_model

import sidrec
from sidrec.catalogue.trie.resize import with_items, with_room, without_items
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import UNKNOWN, marked, transfer
from sidrec.search import beam, recommend
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


@pytest.mark.parametrize("at_once", [1, 2])
def test_lots_one_after_another_find_what_all_at_once_find(case, at_once):
  model, _, _, trie = case
  params = fit(case, trie)
  lists = sidrec.Filters(padded_lists([[1, 2], [], [7]]), padded_lists([range(30), range(3), [7]]))
  whole = sidrec.recommend(params, trie, HISTORY, 5, lists, at_once=3, model=model)
  # Three lots, or two, of which one is filled up.
  lots = sidrec.recommend(params, trie, HISTORY, 5, lists, at_once=at_once, model=model)
  np.testing.assert_array_equal(lots.item_BxK, whole.item_BxK)
  np.testing.assert_allclose(lots.score_BxK, whole.score_BxK, atol=1e-5)
  assert (lots.valid_BxK == whole.valid_BxK).all()


def test_items_come_and_go_without_another_compilation(case):
  model, _, _, trie = case
  few = lambda trie: sidrec.recommend(fit(case, trie), trie, HISTORY, 64, model=model)
  before = few(trie)
  compiled = recommend._recommend._cache_size()
  grown = with_items(trie, CODES[40:45])
  added = few(grown)
  after = few(without_items(grown, np.arange(40, 45)))
  assert recommend._recommend._cache_size() == compiled
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


BAD_HISTORIES = [
  ([[-1, 0, 1]], ValueError, "history 0 has -1 before item row 0; put the items first"),
  ([[0, -1, 1]], ValueError, "history 0 has -1 before item row 1"),
  ([[5], [40]], ValueError, "history 1 holds item row 40, and rows go from 0 to 39"),
  ([[0], [-2]], ValueError, "history 1 holds item row -2"),
  (np.array([[2**32 + 3]]), ValueError, "holds item row 4294967299"),
  (np.array([[3, 255]], np.uint8), TypeError, "histories are uint8; give item rows as int32"),
  (np.array([[True, False]]), TypeError, "histories are bool; give item rows instead of a mask"),
  (np.array([[1.0]]), TypeError, "histories are float64"),
  ([[1.5]], TypeError, "histories are float64"),
  ([1, 2], TypeError, "give a list of item rows for each request"),
  ([["a"]], TypeError, "histories are <U1"),
  (None, TypeError, "histories are a NoneType"),
]


@pytest.mark.parametrize(("history", "error", "message"), BAD_HISTORIES)
def test_histories_outside_the_catalogue_are_refused(case, history, error, message):
  model, _, _, trie = case
  for door in (sidrec.recommend, lambda p, t, h, k, model: sidrec.encode(p, t, h, model=model)):
    with pytest.raises(error, match=message):
      door(fit(case, trie), trie, history, 3, model=model)


def test_compiled_histories_end_before_what_is_no_item(case):
  """Under jit nothing can be raised, and no other item is read."""
  model, _, _, trie = case
  params = fit(case, trie)
  of = jax.jit(lambda history: sidrec.recommend(params, trie, history, 40, model=model))
  odd = np.array([[3, 1, 64, 2], [3, 45, 1, 2], [-1, 3, 1, 2], [7, -1, 9, -1]], np.int32)
  cut = np.array([[3, 1, -1, -1], [3, -1, -1, -1], [-1] * 4, [7, -1, -1, -1]], np.int32)
  jax.tree.map(np.testing.assert_array_equal, of(odd), of(cut))
  eager = sidrec.recommend(params, trie, cut, 40, model=model)
  np.testing.assert_array_equal(of(cut).item_BxK, eager.item_BxK)


def test_lists_of_item_rows_are_histories(case):
  model, _, _, trie = case
  params = fit(case, trie)
  lists = [[3, 1, 4], [5, 9, 2, 6], []]
  expected = sidrec.recommend(params, trie, HISTORY, 5, model=model)
  found = sidrec.recommend(params, trie, lists, 5, model=model)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("at_once", [None, 2])
def test_no_requests_have_no_results(case, at_once):
  model, _, _, trie = case
  params = fit(case, trie)
  for none in ([], np.zeros((0, 3), np.int32)):
    found = sidrec.recommend(params, trie, none, 5, model=model, at_once=at_once)
    assert [x.shape for x in found] == [(0, 5)] * 3
    assert [x.dtype for x in found] == [np.int32, np.float32, bool]


@pytest.mark.parametrize("k", [-3, 2.5, "3"])
def test_k_is_a_number_of_results(case, k):
  model, _, _, trie = case
  with pytest.raises((ValueError, TypeError), match=r"k is -3|integer"):
    sidrec.recommend(fit(case, trie), trie, HISTORY, k, model=model)


def test_parameters_of_another_trie_are_refused_though_sizes_agree(case):
  """Nodes are numbered anew when items come and go: Recall@10 fell from .2227 to .1875."""
  model, _, _, trie = case
  others = {
    "room": trie,
    "grown": with_items(trie, CODES[40:45]),
    "fewer": without_items(trie, [3]),
  }
  moved = {name: fit(case, other) for name, other in others.items()}
  for name, other in others.items():
    for whose, params in moved.items():
      if whose == name:
        assert sidrec.recommend(params, other, HISTORY, 5, model=model).valid_BxK.all()
        continue
      with pytest.raises(ValueError, match="the parameters are for another trie"):
        sidrec.recommend(params, other, HISTORY, 5, model=model)
      with pytest.raises(ValueError, match="the parameters are for another trie"):
        transfer(params, other, trie, np.arange(64))
      with pytest.raises(ValueError, match="the parameters are for another trie"):
        beam.search(model, params, other, HISTORY, SearchConfig(beams=5))
      # Nothing can be raised where the values are not known yet: nothing is found.
      traced = jax.jit(lambda p, t: sidrec.recommend(p, t, HISTORY, 5, model=model))
      assert not traced(params, other).valid_BxK.any()


def test_trained_parameters_are_refused_in_a_trie_with_room():
  """Sizes agree where the catalogue fills powers of two."""
  codes = np.concatenate([CODES[:63], CODES[63:]])
  model, trained, path = make_model(codes)
  params = init_params(model, trained, path)
  roomy = with_room(trained)
  resized = model.clone(sizes=CatalogueSizes.of(roomy, 8))
  grown = {**params}
  for name in ("node", "node_bias"):
    missing = roomy.num_nodes - len(params[name])
    grown[name] = np.pad(params[name], ((0, missing), *[(0, 0)] * (params[name].ndim - 1)))
  with pytest.raises(ValueError, match="the parameters are for another trie"):
    sidrec.recommend(grown, roomy, HISTORY, 5, model=resized)


def test_models_of_another_catalogue_are_refused_though_sizes_agree():
  codes = all_codes(2, 8)
  model, trie, path = make_model(codes)
  params = init_params(model, trie, path)
  other = sidrec.build_trie(codes[::-1])
  assert (other.num_items, other.num_nodes) == (trie.num_items, trie.num_nodes)
  with pytest.raises(ValueError, match="other codes or nodes than the one that the model was made"):
    sidrec.recommend(params, other, HISTORY, 5, model=model)
  # At trace time, too, for it is static.
  with pytest.raises(ValueError, match="other codes or nodes"):
    jax.jit(lambda t: beam.search(model, params, t, HISTORY, SearchConfig(beams=5)))(other)
  remade = model.clone(sizes=CatalogueSizes.of(other, 8))
  with pytest.raises(ValueError, match="the parameters are for another trie"):
    sidrec.recommend(marked(params, trie), other, HISTORY, 5, model=remade)


def test_parameters_without_rows_fit_what_their_catalogue_becomes():
  bare = {"node_bias": False, "node_vectors": False, "item_embedding": False}
  model, trained, path = make_model(CODES[:40], **bare)
  params = marked(init_params(model, trained, path), trained)
  trie = with_items(with_room(trained), CODES[40:45])
  resized = model.clone(sizes=CatalogueSizes.of(trie, 8))
  assert sidrec.recommend(params, trie, HISTORY, 45, model=resized).valid_BxK.all()
