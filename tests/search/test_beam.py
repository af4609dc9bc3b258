"""The search against scoring every item by brute force."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import all_codes, init_params, joint_log_likelihood, log_likelihood, make_model

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import with_user_tokens
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import transfer
from sidrec.search import beam
from sidrec.search.filters import Filters
from sidrec.search.levels import similar_levels
from sidrec.search.settings import SearchConfig

LENGTH = 5
# The model of TIGER's paper, small; its histories start with a user's token.
PAPER = {
  "positions": "relative",
  "user_tokens": 3,
  "constrained_softmax": False,
  "item_embedding": False,
  "node_bias": False,
  "node_vectors": False,
}


@functools.cache
def make(setting="dense", levels=3, num_items=40, codebook_size=5, dtype="float32", **changes):
  codes = np.random.default_rng(0).permutation(all_codes(levels, codebook_size))[:num_items]
  shape = {"width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "dtype": dtype}
  settings = {"setting": setting, "history_length": LENGTH, **shape, **changes}
  model, trie, path = make_model(codes, **settings)
  # Sharpened, so that items differ clearly in score.
  return model, init_params(model, trie, path, scale=2.0), trie, path


HISTORY = np.array([[3, 1, 4, 1, 5], [9, 2, 6, NO_ITEM, NO_ITEM], [NO_ITEM] * LENGTH], np.int32)


def scores_of_all_items(model, params, trie, path, history):
  """log p of every item by the teacher-forced model: [B, N]."""
  dense = model.config.setting == "dense"
  last = np.maximum((np.asarray(history) != NO_ITEM).sum(axis=1) - 1, 0)

  def score(item):
    target = np.full((len(history), LENGTH if dense else 1), item, np.int32)
    logp = np.asarray(log_likelihood(model, params, history, target, trie, path))
    return logp.sum(axis=-1)[np.arange(len(history)), last if dense else 0]

  return np.stack([score(item) for item in range(trie.num_items)], axis=1)


@functools.partial(jax.jit, static_argnames=("model", "beams", "item_weight"))
def search(model, params, trie, history, beams, forbidden, item_weight):
  config = SearchConfig(beams=beams, item_weight=item_weight)
  return beam.search(model, params, trie, history, config, Filters(forbidden))


def run(model, params, trie, history, beams, forbidden=None, item_weight=0.0):
  found = search(model, params, trie, history, beams, forbidden, item_weight)
  return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize(
  ("setting", "levels"), [("dense", 3), ("tiger", 3), ("dense", 1), ("dense", 2)]
)
def test_full_beam_equals_brute_force(setting, levels):
  num_items = 5 if levels == 1 else 20 if levels == 2 else 40
  layers = 2 if levels == 3 else 1
  model, params, trie, path = make(setting, levels, num_items, decoder_layers=layers)
  history = np.where(HISTORY == NO_ITEM, NO_ITEM, HISTORY % num_items)
  expected = scores_of_all_items(model, params, trie, path, history)
  result = run(model, params, trie, history, beams=num_items)
  assert result.valid_BxK.all()
  np.testing.assert_allclose(result.score_BxK, -np.sort(-expected, axis=1), rtol=3e-5, atol=3e-5)
  chosen = np.take_along_axis(expected, result.item_BxK, axis=1)
  np.testing.assert_allclose(result.score_BxK, chosen, rtol=3e-5, atol=3e-5)
  assert all(len(set(row)) == num_items for row in result.item_BxK.tolist())
  np.testing.assert_allclose(np.exp(result.score_BxK).sum(axis=1), 1.0, atol=1e-4)


def test_full_beam_equals_brute_force_in_the_model_of_the_paper():
  model, params, trie, path = make("tiger", **PAPER)
  history = with_user_tokens(np.array([0, 2, 1], np.int32), HISTORY)
  expected = scores_of_all_items(model, params, trie, path, history)
  result = run(model, params, trie, history, beams=40)
  assert all(len(set(row)) == 40 for row in result.item_BxK.tolist())
  np.testing.assert_allclose(result.score_BxK, -np.sort(-expected, axis=1), rtol=3e-5, atol=3e-5)
  chosen = np.take_along_axis(expected, result.item_BxK, axis=1)
  np.testing.assert_allclose(result.score_BxK, chosen, rtol=3e-5, atol=3e-5)
  # The other 85 IDs, which no item has, hold the rest of the probability.
  total_B = np.exp(result.score_BxK).sum(axis=1)
  assert (total_B > 0).all()
  assert (total_B < 0.99).all()


@pytest.mark.parametrize("setting", ["dense", pytest.param("tiger", marks=pytest.mark.slow)])
def test_a_trie_without_tails_gives_the_same_results(setting):
  """Tables over every prefix move to the fewer nodes; no probability changes."""
  model, params, trie, _ = make(setting, codebook_size=12, decoder_layers=1)
  small = trie_lib.build_trie(np.asarray(trie.codes_NxL), every_prefix=False)
  assert small.num_nodes < trie.num_nodes
  moved = transfer(params, trie, small, np.arange(40))
  resized = model.clone(sizes=CatalogueSizes.of(small, model.sizes.codebook_size))
  forbidden = np.tile(np.arange(0, 40, 3, dtype=np.int32), (3, 1))
  for beams in (4, 40):
    expected = run(model, params, trie, HISTORY, beams, forbidden)
    result = run(resized, moved, small, HISTORY, beams, forbidden)
    np.testing.assert_array_equal(result.item_BxK, expected.item_BxK)
    np.testing.assert_allclose(result.score_BxK, expected.score_BxK, atol=1e-5)


def test_small_beam_returns_real_items_with_their_true_scores():
  model, params, trie, path = make()
  expected = scores_of_all_items(model, params, trie, path, HISTORY)
  result = run(model, params, trie, HISTORY, beams=4)
  assert (np.diff(result.score_BxK, axis=1) <= 0).all()
  np.testing.assert_allclose(
    result.score_BxK, np.take_along_axis(expected, result.item_BxK, axis=1), atol=3e-5
  )


def test_greedy_follows_the_best_token_of_each_level():
  model, params, trie, _ = make()

  @jax.jit
  def last_node(params):
    call = lambda method, *args: model.apply({"params": params}, *args, method=method)
    encoded = call("encode", HISTORY, trie.codes_NxL)
    caches, token = call("empty_caches", 3, 1), jnp.zeros((3, 1), jnp.int32)
    node = jnp.zeros((3, 1), jnp.int32)
    for level in range(3):
      children = trie_lib.children(trie, node, max(trie.fan_outs))
      logp, caches = call("step", encoded, caches, token, level, children)
      best = jnp.argmax(logp, axis=-1)[..., None]
      token = jnp.take_along_axis(children.token, best, axis=-1)[..., 0]
      node = jnp.take_along_axis(children.node, best, axis=-1)[..., 0]
    return node

  result = run(model, params, trie, HISTORY, beams=1)
  np.testing.assert_array_equal(
    result.item_BxK, trie.item_N[np.asarray(last_node(params)) - trie.depth_offsets[-1]]
  )


@pytest.mark.parametrize("setting", ["dense", "tiger"])
def test_forbidden_items_are_excluded_exactly(setting):
  """With K allowed items and K beams, exactly the allowed ones come out, in order."""
  model, params, trie, path = make(setting)
  expected = scores_of_all_items(model, params, trie, path, HISTORY)
  rng = np.random.default_rng(3)
  for allowed_count in (0, 1, 7, 39):
    allowed = np.stack([rng.permutation(40)[:allowed_count] for _ in HISTORY])
    banned = [np.setdiff1d(np.arange(40), row) for row in allowed]
    # Unsorted, with repeats and fillers, as callers send them.
    lists = [np.concatenate([rng.permutation(row), row[:3], [NO_ITEM] * 2]) for row in banned]
    forbidden = np.full((3, 45), NO_ITEM, np.int32)  # of one width, to compile once
    for row, items in zip(forbidden, lists, strict=True):
      row[: len(items)] = items
    result = run(model, params, trie, HISTORY, beams=10, forbidden=forbidden)
    count = min(10, allowed_count)
    np.testing.assert_array_equal(result.valid_BxK, np.tile(np.arange(10) < count, (3, 1)))
    assert (result.item_BxK[:, count:] == -1).all()
    assert np.isneginf(result.score_BxK[:, count:]).all()
    for b in range(3):
      found = result.item_BxK[b, :count]
      assert set(found) <= set(allowed[b])
      if allowed_count <= 10:
        best = allowed[b][np.argsort(-expected[b][allowed[b]])]
        np.testing.assert_array_equal(found, best)
        np.testing.assert_allclose(result.score_BxK[b, :count], expected[b][best], atol=3e-5)


def test_a_prefix_whose_items_are_all_forbidden_takes_no_beam():
  """Without the filter inside the search, K = 1 would run into the forbidden prefix."""
  model, params, trie, path = make()
  expected = scores_of_all_items(model, params, trie, path, HISTORY)
  greedy = run(model, params, trie, HISTORY, beams=1).item_BxK[:, 0]
  codes = np.asarray(trie.codes_NxL)
  under = [np.flatnonzero(codes[:, 0] == codes[item, 0]) for item in greedy]
  forbidden = np.full((3, 40), NO_ITEM, np.int32)
  for row, items in zip(forbidden, under, strict=True):
    row[: len(items)] = items
  result = run(model, params, trie, HISTORY, beams=1, forbidden=forbidden)
  assert result.valid_BxK.all()
  for b in range(3):
    assert result.item_BxK[b, 0] not in under[b]
    assert result.score_BxK[b, 0] == pytest.approx(expected[b, result.item_BxK[b, 0]], abs=3e-5)


def test_item_head_reorders_what_the_search_found():
  """A full beam with the item head is the exact ranking by both, and their geometric mean."""
  codes = np.random.default_rng(0).permutation(all_codes(2, 5))[:20]
  shape = {"history_length": LENGTH, "width": 16, "encoder_layers": 1, "decoder_layers": 1}
  model, trie, path = make_model(codes, item_head=True, **shape)
  params = init_params(model, trie, path)
  params = {**params, "item": 20 * params["item"]}
  known = HISTORY[:2]
  by_ids, by_items = all_items_jointly(model, params, trie, path, known)
  assert np.abs(by_items - by_ids).max() > 0.5
  none = np.full((2, 10), NO_ITEM, np.int32)
  for weight in (0.5, 3.0):
    result = run(model, params, trie, known, 20, none, item_weight=weight)
    order_BxK = np.argsort(-(by_ids + weight * by_items), axis=1)
    np.testing.assert_array_equal(result.item_BxK, order_BxK)
    np.testing.assert_allclose(np.exp(result.score_BxK).sum(axis=1), 1.0, atol=1e-5)
    p_BxN = np.exp(by_ids) * np.exp(by_items) ** weight  # both are distributions
    p_BxN = p_BxN ** (1 / (1 + weight))
    p_BxN /= p_BxN.sum(axis=1, keepdims=True)
    p_BxK = np.take_along_axis(p_BxN, order_BxK, axis=1)
    np.testing.assert_allclose(np.exp(result.score_BxK), p_BxK, rtol=1e-4)
  # What is missing or forbidden stays last and invalid.
  forbidden = np.tile(np.arange(0, 20, 2, dtype=np.int32), (2, 1))
  result = run(model, params, trie, known, 20, forbidden, item_weight=3.0)
  np.testing.assert_array_equal(result.valid_BxK, np.tile(np.arange(20) < 10, (2, 1)))
  assert (result.item_BxK[:, :10] % 2 == 1).all()
  assert (result.item_BxK[:, 10:] == -1).all()
  # What is left shares out what it has together by its IDs.
  mass_B = np.exp(by_ids[:, 1::2]).sum(axis=1)
  np.testing.assert_allclose(np.exp(result.score_BxK).sum(axis=1), mass_B, rtol=1e-4)


def all_items_jointly(model, params, trie, path, history):
  """log p of every item by the semantic IDs and by the item head: [B, N] each."""
  last = (np.asarray(history) != NO_ITEM).sum(axis=1) - 1

  def score(item):
    target = np.full(history.shape, item, np.int32)
    levels, items = joint_log_likelihood(model, params, history, target, trie, path)
    at_last = lambda x_BxS: np.asarray(x_BxS)[np.arange(len(history)), last]
    return at_last(np.asarray(levels).sum(axis=-1)), at_last(items)

  by_ids, by_items = zip(*(score(item) for item in range(trie.num_items)), strict=True)
  return np.stack(by_ids, axis=1), np.stack(by_items, axis=1)


def test_fewer_items_than_beams():
  model, params, trie, _ = make(num_items=3, decoder_layers=1)
  result = run(model, params, trie, HISTORY, beams=8)
  np.testing.assert_array_equal(result.valid_BxK, np.tile(np.arange(8) < 3, (3, 1)))
  assert sorted(result.item_BxK[0, :3]) == [0, 1, 2]


def test_one_item_in_the_catalogue():
  model, params, trie, _ = make(num_items=1, decoder_layers=1)
  result = run(model, params, trie, HISTORY, beams=2)
  np.testing.assert_array_equal(result.item_BxK, [[0, -1]] * 3)
  np.testing.assert_allclose(result.score_BxK[:, 0], 0.0, atol=1e-6)


@pytest.mark.parametrize(
  ("fan_outs", "stop", "expected"),
  [
    ((4, 3, 2, 2), 4, [range(1, 4)]),
    ((256, 25, 2), 3, [range(1, 2), range(2, 3)]),
    ((256, 63, 4, 2), 4, [range(1, 2), range(2, 4)]),
    ((256, 2, 63, 1), 3, [range(1, 2), range(2, 3)]),
    ((256, 5, 9, 4), 4, [range(1, 3), range(3, 4)]),  # 9 is the run's largest from there on
    ((30,), 1, []),
  ],
)
def test_levels_of_similar_fan_outs_share_a_loop(fan_outs, stop, expected):
  assert similar_levels(fan_outs, stop) == expected


def test_the_loop_carries_beams_apart():
  """What one level hands to the next is [B, K, …], never flattened to [B·K, …]."""
  codes = np.stack(np.unravel_index(np.arange(48), (4, 3, 2, 2)), axis=1)
  model, trie, path = make_model(codes, history_length=LENGTH, decoder_layers=2)
  params = init_params(model, trie, path, scale=2.0)
  jaxpr = jax.make_jaxpr(lambda h: beam.search(model, params, trie, h, SearchConfig(beams=22)))(
    HISTORY
  )
  loops = [eqn for eqn in jaxpr.jaxpr.eqns if eqn.primitive.name == "while"]
  assert trie.fan_outs == (4, 3, 2, 2)
  assert len(loops) == 1
  shapes = [var.aval.shape for var in loops[0].outvars]
  assert len(shapes) == 8  # level, node, score, token, and two caches of keys and values
  assert all(shape[:2] == (3, 22) for shape in shapes if shape)
  # The loop continues with what level 0 leaves in its caches.
  expected = scores_of_all_items(model, params, trie, path, HISTORY)
  result = run(model, params, trie, HISTORY, beams=48)
  np.testing.assert_allclose(result.score_BxK, -np.sort(-expected, axis=1), rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("every_prefix", [True, False])
def test_a_search_ends_where_no_beam_has_two_items_below(every_prefix):
  """What is not a number behind the first level shows whether the search went there."""
  codes = np.array([[0, 0, 0], [1, 1, 0], [2, 0, 1], [3, 0, 0], [3, 1, 0], [3, 1, 1]])
  model, trie, _ = make_model(codes, history_length=LENGTH, node_vectors=False)
  trie = trie_lib.build_trie(codes, every_prefix=every_prefix)
  model = model.clone(sizes=CatalogueSizes.of(trie, model.sizes.codebook_size))
  params = dict(init_params(model, trie, trie_lib.paths(trie), scale=2.0))
  assert trie.fan_outs == (4, 2, 2)
  first_level = np.asarray(trie_lib.children(trie, jnp.int32(trie_lib.ROOT), 4, 0)[1])
  params["node_bias"] = np.zeros(model.sizes.num_nodes, np.float32)
  params["node_bias"][first_level[3]] = -50.0
  sound = run(model, params, trie, HISTORY, beams=3)
  broken = {**params, "out": np.array(params["out"])}
  broken["out"][1:] = np.nan
  ended = run(model, broken, trie, HISTORY, beams=3)
  np.testing.assert_array_equal(np.sort(ended.item_BxK), [[0, 1, 2]] * 3)
  np.testing.assert_array_equal(ended.item_BxK, sound.item_BxK)
  np.testing.assert_allclose(np.exp(ended.score_BxK).sum(axis=1), 1.0, rtol=1e-5)
  # A beam that branches keeps the search going.
  assert not run(model, broken, trie, HISTORY, beams=4).valid_BxK.all()
  many = run(model, broken, trie, np.tile(HISTORY, (8, 1)), beams=3)
  np.testing.assert_array_equal(many.item_BxK, np.tile(sound.item_BxK, (8, 1)))
  np.testing.assert_allclose(many.score_BxK, np.tile(sound.score_BxK, (8, 1)), atol=1e-5)
