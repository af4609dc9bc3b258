"""The recommender model: what each position may see, and that its scores are a distribution."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import all_codes, init_params, joint_log_likelihood, log_likelihood, make_model

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import with_user_tokens
from sidrec.models.layers import KeyValues

NUM_ITEMS, LENGTH = 27, 4
NO_NODES = {"item_embedding": False, "node_bias": False, "node_vectors": False}
# The model of TIGER's paper, small.
PAPER = {"positions": "relative", "user_tokens": 5, "constrained_softmax": False, **NO_NODES}
VARIANTS = pytest.mark.parametrize(
  ("setting", "changes"),
  [("dense", {}), ("tiger", {}), ("tiger", PAPER), ("dense", {"positions": "relative"})],
  ids=["dense", "tiger", "paper", "dense-relative"],
)


@functools.cache
def make(setting, scale=1.0, **changes):
  # Every node has siblings, so that every level's likelihood depends on the model.
  codes = np.random.default_rng(0).permutation(all_codes(3, 3))
  shape = {"width": 16, "heads": 2, "hidden": 32, "encoder_layers": 1}
  model, trie, path = make_model(codes, setting=setting, **{**shape, **changes})
  return model, init_params(model, trie, path, scale), trie, path


def for_model(model, history):
  """The history as the model wants it: behind user tokens 0, 1, … where it has any."""
  token = np.arange(len(history), dtype=np.int32) % max(model.config.user_tokens, 1)
  return with_user_tokens(token, history) if model.config.user_tokens else jnp.asarray(history)


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def apply(model, params, *args, method):
  return model.apply({"params": params}, *args, method=method)


def sees_position(setting):
  """Which history positions each level of each target depends on: bool [Q, L, S]."""
  model, params, trie, path = make(setting, encoder_layers=2)
  rng = np.random.default_rng(1)
  history = rng.integers(0, NUM_ITEMS, (1, LENGTH)).astype(np.int32)
  count = LENGTH if setting == "dense" else 1
  target = rng.integers(0, NUM_ITEMS, (1, count)).astype(np.int32)

  def by_position(position_SxD):
    changed = {**params, "position": position_SxD}
    return log_likelihood(model, changed, history, target, trie, path)[0]

  gradient_QxLxSxD = jax.jit(jax.jacrev(by_position))(params["position"])
  return np.abs(np.asarray(gradient_QxLxSxD)).sum(axis=-1) > 0


def test_dense_positions_see_no_later_items():
  for q, sees_LxS in enumerate(sees_position("dense")):
    np.testing.assert_array_equal(sees_LxS, np.tile(np.arange(LENGTH) <= q, (3, 1)))


def test_tiger_target_sees_the_whole_history():
  assert sees_position("tiger").all()


@VARIANTS
def test_levels_see_only_earlier_levels_of_their_target(setting, changes):
  """Level l depends on the target's codes before l and not on its own or later ones."""
  model, params, trie, _ = make(setting, **changes)
  history = jnp.asarray([[3, 1, 4, 1]], jnp.int32)
  target = history if setting == "dense" else history[:, :1]
  history = for_model(model, history)
  states, _ = apply(model, params, history, trie.codes_NxL, method="encode_states")

  # Only the decoder's code embeddings vary: the encoder states stay fixed.
  def hidden(code_LxVxD):
    bound = model.bind({"params": {**params, "code": code_LxVxD}})
    start = jnp.ones((*target.shape, 16))
    mask = jnp.ones((*target.shape, states.shape[1]), bool)
    return bound.decode(states, start, trie.codes_NxL[target], mask, False)[0, 0].sum(axis=-1)

  gradient_LxLxVxD = np.asarray(jax.jit(jax.jacrev(hidden))(params["code"]))
  for level in range(3):
    seen_LxV = np.abs(gradient_LxLxVxD[level]).sum(axis=-1) > 0
    code_L = np.asarray(trie.codes_NxL)[int(target[0, 0])]
    for other in range(3):
      assert seen_LxV[other, code_L[other]] == (other < level)
      assert seen_LxV[other].sum() == (other < level)


def test_dense_position_equals_its_prefix_alone():
  model, params, trie, path = make("dense")
  rng = np.random.default_rng(2)
  history = rng.integers(0, NUM_ITEMS, (2, LENGTH)).astype(np.int32)
  target = rng.integers(0, NUM_ITEMS, (2, LENGTH)).astype(np.int32)
  run = lambda h: np.asarray(log_likelihood(model, params, h, target, trie, path))
  whole = run(history)
  for t in range(LENGTH):
    alone = run(np.where(np.arange(LENGTH) <= t, history, NO_ITEM))
    np.testing.assert_allclose(alone[:, t], whole[:, t], atol=2e-5)


def test_histories_that_share_a_row_do_not_see_each_other():
  model, params, trie, path = make("dense")
  row = np.array([[3, 1, 4, 1]], np.int32)
  target = np.array([[5, 9, 2, 6]], np.int32)
  segment = np.array([[0, 0, 1, 1]], np.int32)
  call = lambda *args: np.asarray(log_likelihood(model, params, *args))
  packed = call(row, target, trie, path, segment)
  for part in (slice(0, 2), slice(2, 4)):
    fill = lambda x, part=part: np.pad(x[:, part], ((0, 0), (0, 2)), constant_values=NO_ITEM)
    alone = call(fill(row), fill(target), trie, path)
    np.testing.assert_allclose(packed[:, part], alone[:, :2], rtol=1e-5, atol=2e-5)
  assert np.abs((packed - call(row, target, trie, path))[:, 2:]).max() > 1e-3


@pytest.mark.parametrize("setting", ["dense", "tiger"])
@pytest.mark.parametrize("own", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_likelihoods_of_all_items_sum_to_one(setting, own):
  model, params, trie, path = make(setting, node_bias=own, node_vectors=own)
  history = np.tile(np.array([3, 1, 4, NO_ITEM], np.int32), (NUM_ITEMS, 1))
  count = LENGTH if setting == "dense" else 1
  target = np.tile(np.arange(NUM_ITEMS, dtype=np.int32)[:, None], (1, count))
  logp = np.asarray(log_likelihood(model, params, history, target, trie, path))
  total = float(np.exp(logp[:, 2 if setting == "dense" else 0].sum(axis=-1)).sum())
  assert total == pytest.approx(1.0, abs=1e-5)


# That either decoder gives what NumPy does is in test_reference.py and test_search_reference.py:
# for all variants, with keys and values and over states.
@pytest.mark.parametrize(
  ("setting", "changes", "beams"),
  [
    ("dense", {}, None),
    ("tiger", PAPER, 0),
    *(
      pytest.param(*variant, beams, marks=pytest.mark.slow)
      for variant, beams in [
        (("dense", {}), 0),
        (("tiger", PAPER), None),
        *((x, n) for x in (("tiger", {}), ("dense", {"positions": "relative"})) for n in (None, 0)),
      ]
    ),
  ],
)
def test_stepwise_decoding_equals_teacher_forcing(setting, changes, beams):
  """The cached one-level-at-a-time decoder gives the scores of the parallel one.

  With keys and values of the history, and over its states.
  """
  # Sharper than at the start, so that biases tell.
  model, params, trie, path = make(setting, scale=2.0, decoder_layers=2, **changes)
  history = np.array([[3, 1, NO_ITEM, NO_ITEM], [2, 7, 1, 8]], np.int32)
  history = for_model(model, history)
  item_BxK = np.array([[0, 5, 26], [11, 12, 13]], np.int32)

  @jax.jit
  def stepwise(params):
    call = lambda method, *args: model.apply({"params": params}, *args, method=method)
    encoded = call("encode", history, trie.codes_NxL, beams)
    assert isinstance(encoded.cross[0], KeyValues) == (beams is None)
    caches = call("empty_caches", 2, 3)
    token, score = jnp.zeros((2, 3), jnp.int32), jnp.zeros((2, 3))
    for level in range(3):
      nodes = path[item_BxK, level]
      children = trie_lib.children(trie, nodes, max(trie.fan_outs))
      logp, caches = call("step", encoded, caches, token, level, children)
      slot = path[item_BxK, level + 1] - trie.child_E[nodes]
      score += jnp.take_along_axis(logp, slot[..., None], axis=-1)[..., 0]
      token = trie.codes_NxL[item_BxK, level]
    return score

  score, last = stepwise(params), np.array([1, 3])
  for k in range(3):
    target = np.repeat(item_BxK[:, k : k + 1], LENGTH if setting == "dense" else 1, axis=1)
    logp = np.asarray(log_likelihood(model, params, history, target, trie, path)).sum(axis=-1)
    expected = logp[np.arange(2), last] if setting == "dense" else logp[:, 0]
    np.testing.assert_allclose(score[:, k], expected, atol=2e-5)


def paper_likelihood(params, model, trie, path, history):
  """log p of item 5 after one history, by the paper's model: [L]."""
  history = for_model(model, np.array([history], np.int32))
  return log_likelihood(model, params, history, np.array([[5]], np.int32), trie, path)[0, 0]


def test_relative_encoder_reads_both_directions_and_the_decoder_back_alone():
  model, params, *rest = make("tiger", **PAPER)
  total = lambda params: paper_likelihood(params, model, *rest, [3, 1, 4, 2]).sum()
  gradient = jax.jit(jax.grad(total))(params)
  used = lambda stack: np.abs(np.asarray(gradient[stack]["bias"])).max(axis=0) > 0
  # 13 positions: distances 0 to 12 behind, and 1 to 12 ahead; from 8 on, two buckets.
  expected = np.isin(np.arange(32), [*range(10), *range(17, 26)])
  np.testing.assert_array_equal(used("encoder_bias"), expected)
  np.testing.assert_array_equal(used("decoder_bias"), np.arange(32) < 3)


def test_relative_bias_alone_tells_the_order_of_the_history():
  model, params, *rest = make("tiger", **PAPER)
  one, other = (paper_likelihood(params, model, *rest, h) for h in ([3, 1, 4, 2], [4, 3, 2, 1]))
  assert np.abs(np.asarray(one - other)).max() > 1e-4
  blind = {**params, "encoder_bias": jax.tree.map(jnp.zeros_like, params["encoder_bias"])}
  one, other = (paper_likelihood(blind, model, *rest, h) for h in ([3, 1, 4, 2], [4, 3, 2, 1]))
  np.testing.assert_allclose(one, other, atol=1e-5)


def test_user_token_counts_and_each_user_has_their_own():
  model, params, trie, path = make("tiger", **PAPER)
  histories = np.array([[3, 1, NO_ITEM, NO_ITEM], [NO_ITEM] * 4], np.int32)
  target = jnp.asarray([[5], [5]], jnp.int32)

  def total(params, token):
    history = with_user_tokens(np.full(2, token, np.int32), histories)
    return log_likelihood(model, params, history, target, trie, path).sum(axis=(1, 2))

  gradient_BxUxD = jax.jit(lambda params: jax.jacrev(total)(params, 2))(params)["user"]
  used_BxU = np.abs(np.asarray(gradient_BxUxD)).max(axis=-1) > 0
  np.testing.assert_array_equal(used_BxU, np.tile(np.arange(5) == 2, (2, 1)))
  assert np.abs(np.asarray(total(params, 2) - total(params, 3))).min() > 1e-5


def test_unconstrained_softmax_knows_nothing_of_the_catalogue():
  """An ID has the same probability whichever other items there are; all IDs sum to one."""
  model, params, trie, path = make("tiger", **PAPER)
  history = np.tile(np.array([[2, 3, 1, 4, 1]], np.int32), (NUM_ITEMS, 1))  # user token 2
  target = np.arange(NUM_ITEMS, dtype=np.int32)[:, None]
  whole = np.asarray(log_likelihood(model, params, history, target, trie, path))[:, 0]
  assert float(np.exp(whole.sum(axis=-1)).sum()) == pytest.approx(1.0, abs=1e-5)
  codes, shape = np.asarray(trie.codes_NxL)[:10], {"width": 16, "heads": 2, "hidden": 32}
  shape |= {"setting": "tiger", "encoder_layers": 1}
  few, few_trie, few_path = make_model(codes, **shape, **PAPER)
  few = few.clone(sizes=dataclasses.replace(few.sizes, codebook_size=3))
  part = log_likelihood(few, params, history[:10], target[:10], few_trie, few_path)[:, 0]
  np.testing.assert_allclose(part, whole[:10], atol=1e-6)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"positions": "relativ"}, r"model.positions must be one of .*not 'relativ'"),
    ({"user_tokens": 3}, "model.user_tokens needs model.setting 'tiger'"),
    ({"constrained_softmax": False, "node_bias": False}, "set model.node_bias and model.node"),
    ({"constrained_softmax": False, "node_vectors": False}, "set model.node_bias and model.node"),
  ],
)
def test_settings_that_do_not_go_together_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    make_model(all_codes(2, 3), **changes)


def test_bfloat16_stays_close_to_float32():
  model, params, trie, path = make("dense")
  low = model.clone(config=dataclasses.replace(model.config, dtype="bfloat16"))
  history = np.array([[3, 1, 4, 1]], np.int32)
  expected = log_likelihood(model, params, history, history, trie, path)
  got = log_likelihood(low, params, history, history, trie, path)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, expected, atol=0.15)
  assert np.abs(np.asarray(got - expected)).max() > 0


def test_unknown_setting_is_refused():
  with pytest.raises(ValueError, match=r"model.setting must be one of .*not 'dens'"):
    make("dens")


def test_item_head_is_a_distribution_and_leaves_the_levels_as_they_are():
  model, params, trie, path = make("dense", item_head=True, encoder_dropout=0.0)
  params = {**params, "item": 20 * params["item"]}
  history = np.array([[3, 1, 4, NO_ITEM]], np.int32)

  def both(item):
    target = np.full((1, LENGTH), item, np.int32)
    inputs = (history, target, trie, path)
    levels, items = joint_log_likelihood(model, params, *inputs)
    np.testing.assert_array_equal(levels, log_likelihood(model, params, *inputs))
    return items[0]

  logp_NxS = np.stack([both(item) for item in range(NUM_ITEMS)])
  np.testing.assert_allclose(np.exp(logp_NxS).sum(axis=0), 1.0, atol=1e-5)
  assert np.ptp(logp_NxS, axis=0).min() > 1
  # What the search asks for is the same up to a constant of the history.
  encoded = apply(model, params, history, trie.codes_NxL, method="encode")
  score = apply(
    model, params, encoded, np.arange(NUM_ITEMS)[None], trie.codes_NxL, method="item_scores"
  )[0]
  np.testing.assert_allclose(np.diff(score), np.diff(logp_NxS[:, 2]), atol=1e-4)


def test_item_head_draws_negatives_in_training_alone():
  changes = {"item_head": True, "item_negatives": 3, "encoder_dropout": 0.0}
  model, params, trie, path = make("dense", **changes)
  params = {**params, "item_bias": jnp.zeros(NUM_ITEMS)}
  history, target = np.array([[3, 1, 4, 1]]), np.array([[1, 4, 1, 5]])
  inputs = (history, target, trie, path)

  @functools.partial(jax.jit, static_argnums=0)
  def items(train, key):
    rngs = {"negatives": key, "dropout": jax.random.key(0)}
    call = {"train": train, "rngs": rngs, "method": "joint_log_likelihood"}
    return model.apply({"params": params}, *inputs, **call)[1]

  zero, one = jax.random.key(0), jax.random.key(1)
  assert (np.asarray(items(True, zero)) != items(True, one)).any()
  assert items(True, zero).mean() == pytest.approx(-np.log(4), abs=0.3)  # the target and 3 others
  np.testing.assert_array_equal(items(False, zero), items(False, one))
  assert items(False, zero).mean() == pytest.approx(-np.log(NUM_ITEMS), abs=0.3)


def test_item_head_needs_the_dense_setting():
  with pytest.raises(ValueError, match="item_head"):
    make_model(all_codes(2, 3), item_head=True, setting="tiger")


@pytest.mark.parametrize("name", ["item_width", "node_width"])
def test_rows_as_wide_as_the_model_are_asked_for_by_0(name):
  with pytest.raises(ValueError, match=f"model.{name} is 16; give less than model.width, 16, or 0"):
    make_model(all_codes(2, 3), width=16, **{name: 16})
