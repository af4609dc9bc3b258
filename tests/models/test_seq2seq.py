"""The recommender model: what each position may see, and that its scores are a distribution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import all_codes, init_params, make_model

from sidrec.data.batches import NO_ITEM
from sidrec.decoding import trie as trie_lib
from sidrec.models.seq2seq import Seq2Seq, Seq2SeqConfig, positions

NUM_ITEMS, LENGTH = 27, 4


@functools.cache
def make(setting, **changes):
  # Every node has siblings, so that every level's likelihood depends on the model.
  codes = np.random.default_rng(0).permutation(all_codes(3, 3))
  shape = {"width": 16, "heads": 2, "hidden": 32}
  model, trie, path = make_model(codes, setting=setting, **{**shape, **changes})
  return model, init_params(model, trie, path), trie, path


def likelihood(model, params, trie, path, history, target):
  return model.apply({"params": params}, history, target, trie, path, method="log_likelihood")


def sees_position(setting):
  """Which history positions each level of each target depends on: bool [Q, L, S]."""
  model, params, trie, path = make(setting)
  rng = np.random.default_rng(1)
  history = jnp.asarray(rng.integers(0, NUM_ITEMS, (1, LENGTH)), jnp.int32)
  count = LENGTH if setting == "dense" else 1
  target = jnp.asarray(rng.integers(0, NUM_ITEMS, (1, count)), jnp.int32)

  def by_position(position_SxD):
    changed = {**params, "position": position_SxD}
    return likelihood(model, changed, trie, path, history, target)[0]

  gradient_QxLxSxD = jax.jit(jax.jacrev(by_position))(params["position"])
  return np.abs(np.asarray(gradient_QxLxSxD)).sum(axis=-1) > 0


def test_dense_positions_see_no_later_items():
  for q, sees_LxS in enumerate(sees_position("dense")):
    np.testing.assert_array_equal(sees_LxS, np.tile(np.arange(LENGTH) <= q, (3, 1)))


def test_tiger_target_sees_the_whole_history():
  assert sees_position("tiger").all()


@pytest.mark.parametrize("setting", ["dense", "tiger"])
def test_levels_see_only_earlier_levels_of_their_target(setting):
  """Level l depends on the target's codes before l and not on its own or later ones."""
  model, params, trie, _ = make(setting)
  history = jnp.asarray([[3, 1, 4, 1]], jnp.int32)
  target = history if setting == "dense" else history[:, :1]
  states, _ = model.apply({"params": params}, history, trie.codes_NxL, method="encode")

  # Only the decoder's code embeddings vary: the encoder states stay fixed.
  def hidden(code_LxVxD, level):
    bound = model.bind({"params": {**params, "code": code_LxVxD}})
    start = jnp.ones((*target.shape, 16))
    mask = jnp.ones((*target.shape, states.shape[1]), bool)
    return bound._decode(states, start, trie.codes_NxL[target], mask, False)[0, 0, level].sum()

  gradient = jax.jit(jax.grad(hidden), static_argnums=1)
  for level in range(3):
    grad_LxVxD = np.asarray(gradient(params["code"], level))
    seen_LxV = np.abs(grad_LxVxD).sum(axis=-1) > 0
    code_L = np.asarray(trie.codes_NxL)[int(target[0, 0])]
    for other in range(3):
      assert seen_LxV[other, code_L[other]] == (other < level)
      assert seen_LxV[other].sum() == (other < level)


def test_dense_position_equals_its_prefix_alone():
  model, params, trie, path = make("dense")
  rng = np.random.default_rng(2)
  history = rng.integers(0, NUM_ITEMS, (2, LENGTH)).astype(np.int32)
  target = rng.integers(0, NUM_ITEMS, (2, LENGTH)).astype(np.int32)
  run = jax.jit(lambda h: likelihood(model, params, trie, path, h, target))
  whole = run(history)
  for t in range(LENGTH):
    alone = run(np.where(np.arange(LENGTH) <= t, history, NO_ITEM))
    np.testing.assert_allclose(alone[:, t], whole[:, t], atol=2e-5)


def test_histories_that_share_a_row_do_not_see_each_other():
  model, params, trie, path = make("dense")
  row = jnp.asarray([[3, 1, 4, 1]], jnp.int32)
  target = jnp.asarray([[5, 9, 2, 6]], jnp.int32)
  segment = jnp.asarray([[0, 0, 1, 1]], jnp.int32)
  call = lambda *args: model.apply({"params": params}, *args, method="log_likelihood")
  packed = call(row, target, trie, path, segment)
  for part in (slice(0, 2), slice(2, 4)):
    fill = lambda x, part=part: jnp.pad(x[:, part], ((0, 0), (0, 2)), constant_values=NO_ITEM)
    alone = call(fill(row), fill(target), trie, path)
    np.testing.assert_allclose(packed[:, part], alone[:, :2], rtol=1e-5, atol=2e-5)
  assert np.abs(np.asarray(packed - call(row, target, trie, path))[:, 2:]).max() > 1e-3


def test_positions_count_within_segments():
  segments = jnp.asarray([[0, 0, 1, 1, 1, 9], [0, 0, 0, 0, 0, 0]], jnp.int32)
  np.testing.assert_array_equal(positions(segments), [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 4, 5]])


@pytest.mark.parametrize("setting", ["dense", "tiger"])
@pytest.mark.parametrize("own", [True, False])
def test_likelihoods_of_all_items_sum_to_one(setting, own):
  model, params, trie, path = make(setting, node_bias=own, node_vectors=own)
  history = jnp.asarray([[3, 1, 4, NO_ITEM]], jnp.int32)
  count = LENGTH if setting == "dense" else 1
  target = jnp.tile(jnp.arange(NUM_ITEMS, dtype=jnp.int32)[:, None], (1, count))
  logp = likelihood(model, params, trie, path, jnp.repeat(history, NUM_ITEMS, axis=0), target)
  total = float(jnp.exp(logp[:, 2 if setting == "dense" else 0].sum(axis=-1)).sum())
  assert total == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("setting", ["dense", "tiger"])
def test_stepwise_decoding_equals_teacher_forcing(setting):
  """The cached one-level-at-a-time decoder gives the scores of the parallel one."""
  model, params, trie, path = make(setting)
  call = lambda method, *args: model.apply({"params": params}, *args, method=method)
  history = jnp.asarray([[3, 1, NO_ITEM, NO_ITEM], [2, 7, 1, 8]], jnp.int32)
  item_BxK = jnp.asarray([[0, 5, 26], [11, 12, 13]], jnp.int32)
  memory = call("remember", history, trie.codes_NxL)
  caches = call("empty_caches", 2, 3)
  token, score = jnp.zeros((2, 3), jnp.int32), jnp.zeros((2, 3))
  for level in range(3):
    nodes = path[item_BxK, level]
    children = trie_lib.children(trie, nodes, max(trie.fan_outs))
    logp, caches = call("step", memory, caches, token, level, *children)
    slot = path[item_BxK, level + 1] - trie.child_E[nodes]
    score += jnp.take_along_axis(logp, slot[..., None], axis=-1)[..., 0]
    token = trie.codes_NxL[item_BxK, level]
  last = np.array([1, 3])
  for k in range(3):
    target = jnp.repeat(item_BxK[:, k : k + 1], LENGTH if setting == "dense" else 1, axis=1)
    logp = likelihood(model, params, trie, path, history, target).sum(axis=-1)
    expected = logp[np.arange(2), last] if setting == "dense" else logp[:, 0]
    np.testing.assert_allclose(score[:, k], expected, atol=2e-5)


def test_bfloat16_stays_close_to_float32():
  model, params, trie, path = make("dense")
  low = Seq2Seq(Seq2SeqConfig(**{**vars(model.config), "dtype": "bfloat16"}))
  history = jnp.asarray([[3, 1, 4, 1]], jnp.int32)
  expected = likelihood(model, params, trie, path, history, history)
  got = likelihood(low, params, trie, path, history, history)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, expected, atol=0.15)
  assert np.abs(np.asarray(got - expected)).max() > 0


def test_unknown_setting_is_refused():
  with pytest.raises(ValueError, match=r"model.setting must be one of .*not 'dens'"):
    make("dens")
