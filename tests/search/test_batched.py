"""Many users through a few shapes: the same results as one by one, in the order asked."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from communication import moves
from tiny import all_codes, init_params, make_histories, make_model

from sidrec.bench.run_histories import events_of
from sidrec.data.batches import last_items, user_tokens, with_user_tokens
from sidrec.data.columns import last_events
from sidrec.data.inputs import ITEMS_ALONE, KnownInputs
from sidrec.data.seen import seen_items
from sidrec.data.user_attributes import Attribute
from sidrec.models.settings import RecommenderConfig
from sidrec.models.transfer import marked
from sidrec.parallel.mesh import make_mesh
from sidrec.search import batched, beam
from sidrec.search.batched import Shared, make_recommend_users
from sidrec.search.filters import Filters
from sidrec.search.settings import SearchConfig

LENGTHS = [3, 0, 90, 5, 70, 1, 4, 2, 66, 6, 8]


@pytest.fixture(scope="module")
def case():
  model, trie, path = make_model(all_codes(2, 10))
  params = init_params(model, trie, path, scale=3.0)
  rng = np.random.default_rng(0)
  histories = make_histories([rng.permutation(100)[:n].tolist() for n in LENGTHS])
  return model, params, trie, histories


@pytest.mark.parametrize("masked", [True, False])
def test_batches_give_what_single_users_get(case, masked):
  model, params, trie, histories = case
  users = np.array([10, 2, 1, 0, 4, 8, 3, 9, 5])
  recommend = make_recommend_users(model, trie, SearchConfig(beams=12, batch_size=8), make_mesh())
  seen = seen_items(histories) if masked else None
  result = recommend(params, histories, users, seen)
  single = jax.jit(
    lambda h, f: beam.search(model, params, trie, h, SearchConfig(beams=12), Filters(f))
  )
  history = last_items(histories, 4)
  for at, user in enumerate(users):
    forbidden = np.full((1, 100), -1, np.int32)
    if masked:
      forbidden[0, : LENGTHS[user]] = histories.of(user)
    alone = single(history[user : user + 1], forbidden)
    np.testing.assert_array_equal(result.item_BxK[at], alone.item_BxK[0])
    np.testing.assert_allclose(result.score_BxK[at], alone.score_BxK[0], atol=1e-5)
  assert result.valid_BxK[1].sum() == (10 if masked else 12)  # user 2 has seen 90 of 100


def test_each_user_is_searched_with_their_own_token(case):
  *_, histories = case
  model, trie, path = make_model(all_codes(2, 10), setting="tiger", user_tokens=50)
  params = init_params(model, trie, path, scale=3.0)
  users = np.array([10, 1, 3])  # user 1 has no history
  result = make_recommend_users(model, trie, SearchConfig(beams=5, batch_size=8), make_mesh())(
    params, histories, users
  )
  single = jax.jit(lambda h: beam.search(model, params, trie, h, SearchConfig(beams=5)))
  token = user_tokens(histories.user_ids_U, 50)
  assert len(set(token[users])) == 3
  history = with_user_tokens(token, last_items(histories, 4))
  for at, user in enumerate(users):
    alone = single(history[user : user + 1])
    np.testing.assert_array_equal(result.item_BxK[at], alone.item_BxK[0])
    np.testing.assert_allclose(result.score_BxK[at], alone.score_BxK[0], atol=1e-5)


def test_results_of_many_batches_travel_together(case, monkeypatch):
  """Five batches, two at a time: what the host has of them is not overwritten by the next two.

  Batches of seven become eight, which the devices can share.
  """
  model, params, trie, histories = case
  users = np.random.default_rng(1).integers(len(LENGTHS), size=37)
  recommend = make_recommend_users(model, trie, SearchConfig(beams=5, batch_size=7), make_mesh())
  monkeypatch.setattr(batched, "_TOGETHER", 2)
  found = recommend(params, histories, users)
  each = recommend(params, histories, np.arange(len(LENGTHS)))
  for many, one in zip(found, each, strict=True):
    np.testing.assert_array_equal(many, one[users])


def test_a_search_gathers_nothing_but_its_results(case):
  """Two loops that gather can meet in different orders, and devices then wait forever."""
  model, params, trie, histories = case
  compiled = batched._compiled(model, SearchConfig(beams=5), make_mesh())
  seen = np.full((16, 64), -1, np.int32)
  batch = last_events(histories, 4, np.resize(np.arange(11), 16), ITEMS_ALONE), seen
  text = compiled.lower((params, trie, batched.NOTHING_SHARED), batch).compile().as_text()
  wanted = [("all-gather", f"{kind}[16,5]") for kind in ("f32", "pred", "s32")]
  assert moves(text) == wanted


def test_users_on_different_devices_draw_different_items(case):
  model, params, trie, histories = case
  search = SearchConfig(beams=5, batch_size=8)
  users, shared = np.full(8, 2), Shared(key=jax.random.key(0))
  lists = make_recommend_users(model, trie, search, make_mesh())(
    params, histories, users, None, shared
  )
  assert len({tuple(items) for items in lists.item_BxK.tolist()}) == 8
  again = make_recommend_users(model, trie, search, make_mesh())(
    params, histories, users, None, shared
  )
  np.testing.assert_array_equal(again.item_BxK, lists.item_BxK)


def test_results_are_written_in_place():
  found = jax.jit(
    lambda: beam.Recommendations(*(jnp.ones((8, 5), x) for x in (int, float, bool)))
  )()
  table = batched._empty_table(found, 4)
  size = sum(x.nbytes for x in table)
  memory = batched._put.lower(table, found, 1).compile().memory_analysis()
  assert memory.alias_size_in_bytes == size
  written = batched._put(table, found, 1)
  assert all(x.is_deleted() for x in table)
  assert written.item_BxK.sum(axis=(1, 2)).tolist() == [0, 40, 0, 0]


@pytest.mark.parametrize(("platform", "users"), [("cpu", 16), ("gpu", 128), ("tpu", 128)])
def test_a_batch_of_no_given_size_is_what_suits_the_devices(platform, users):
  devices = np.array([[types.SimpleNamespace(platform=platform)] * 2] * 3)
  assert batched._users_at_once(types.SimpleNamespace(devices=devices)) == 6 * users


def test_no_users_have_no_lists(case):
  model, params, trie, histories = case
  recommend = make_recommend_users(model, trie, SearchConfig(beams=5, batch_size=8), make_mesh())
  assert [x.shape for x in recommend(params, histories, np.array([]))] == [(0, 5)] * 3


@pytest.mark.parametrize(
  ("setting", "tokens", "earlier"), [("dense", 0, 3), ("tiger", 5, 0)], ids=["dense", "tiger"]
)
def test_a_batch_has_all_that_is_read_of_its_users_and_of_none_no_rows(setting, tokens, earlier):
  rng = np.random.default_rng(0)
  age = Attribute("age", None, (20.0, 40.0))
  inputs = KnownInputs(earlier=earlier, user_attributes=("age",), known=(age,))
  config = RecommenderConfig(
    setting, history_length=64, user_tokens=tokens, repeats=earlier > 0, inputs=inputs
  )
  histories = make_histories([rng.integers(100, size=n).tolist() for n in LENGTHS])
  ages = rng.choice(np.array([10, 30, 50], np.float32), len(LENGTHS))
  histories = histories._replace(users={"age": ages})
  batches = []

  def rank(params, events, seen_BxJ, shared):
    batches.append(jax.device_get(events))
    shape = (len(events.item_BxS), 1)
    return beam.Recommendations(*(jnp.zeros(shape, x) for x in (jnp.int32, jnp.float32, bool)))

  recommend = batched.in_batches(rank, 100, 64, 8, make_mesh(), tokens, inputs)
  order = np.argsort(LENGTHS[:8])
  for users, width in ((order, 64), ([3, 8], 64), ([5], 32), ([], 64)):
    recommend({}, histories, np.array(users, int))
    batch = batches.pop()
    assert batch.item_BxS.shape == (8 if len(users) else 0, width + bool(tokens))
    expected = events_of(histories, config, np.resize(np.array(users, int), len(batch.item_BxS)))
    expected = expected._replace(item_BxS=expected.item_BxS[:, : batch.shape[1]])
    assert jax.tree.structure(batch) == jax.tree.structure(expected)
    for found, column in zip(jax.tree.leaves(batch), jax.tree.leaves(expected), strict=True):
      np.testing.assert_array_equal(found, column, strict=True)
    assert batch.user_BxX.shape[1] == 1


@pytest.mark.parametrize(
  ("users", "error", "message"),
  [
    ([-1], ValueError, "user rows go from -1 to -1; there are 0 to 10"),
    ([3, 11], ValueError, "user rows go from 3 to 11"),
    (np.ones(11, bool), TypeError, "user rows are bool"),
  ],
)
def test_users_who_are_not_there_are_refused(case, users, error, message):
  model, params, trie, histories = case
  recommend = make_recommend_users(model, trie, SearchConfig(beams=5, batch_size=8), make_mesh())
  with pytest.raises(error, match=message):
    recommend(params, histories, users)


def test_histories_of_another_catalogue_are_refused(case):
  model, params, trie, _ = case
  recommend = make_recommend_users(model, trie, SearchConfig(beams=5, batch_size=8), make_mesh())
  with pytest.raises(ValueError, match="history 0 holds item row 100, and rows go from 0 to 99"):
    recommend(params, make_histories([[3], [5, 100]]), np.array([1]))


def test_parameters_of_another_trie_are_refused(case):
  model, params, trie, histories = case
  other = make_model(all_codes(2, 10)[::-1])[1]
  recommend = make_recommend_users(model, trie, SearchConfig(beams=5, batch_size=8), make_mesh())
  with pytest.raises(ValueError, match="the parameters are for another trie"):
    recommend(marked(params, other), histories, np.array([1]))


def test_lists_that_users_share(case):
  model, params, trie, histories = case
  recommend = make_recommend_users(model, trie, SearchConfig(beams=9, batch_size=8), make_mesh())
  users, seen = np.arange(11), seen_items(histories)
  shared = Shared(np.arange(5, 25), np.array([7, 9]))
  lists = recommend(params, histories, users, seen, shared)
  for user in users:
    found = lists.item_BxK[user][lists.valid_BxK[user]].tolist()
    may = {*range(5, 25)} - {7, 9} - set(histories.of(user).tolist())
    assert set(found) <= may
    assert len(found) == min(9, len(may))


def test_equal_models_and_settings_share_their_programs():
  models = [make_model(all_codes(2, 10))[0] for _ in range(2)]
  one, same = (batched._compiled(model, SearchConfig(beams=5), make_mesh()) for model in models)
  other = batched._compiled(models[0], SearchConfig(beams=6), make_mesh())
  assert one is same
  assert one is not other
