"""SASRec: what each position may see, that its scores are a distribution, and its exact ranking."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_models import draw

from sidrec.core.vocabulary import NO_ITEM
from sidrec.models import item_softmax
from sidrec.models.frequency import FilterConfig
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.search.exact import recommend

NUM_ITEMS, LENGTH = 11, 6
# Two rows of histories that share rows, as `packed_batches` makes them.
HISTORY = np.array([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, NO_ITEM, NO_ITEM]], np.int32)
TARGET = np.array([[1, 4, 8, 5, 9, 2], [6, 5, 0, 7, NO_ITEM, NO_ITEM]], np.int32)
SEGMENT = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, LENGTH, LENGTH]], np.int32)
REAL = TARGET != NO_ITEM


@functools.cache
def make(**changes):
  settings = {"history_length": LENGTH, "width": 8, "layers": 1, "hidden": 16}
  model = SASRec(SASRecConfig(num_items=NUM_ITEMS, **{**settings, "dropout": 0.0, **changes}))
  init = lambda key: model.init(key, HISTORY, method="states")["params"]
  params = draw(jax.eval_shape(init, jax.random.key(0)))
  normal = lambda seed, *shape: np.random.default_rng(seed).normal(size=shape).astype(np.float32)
  params["item"] = jnp.asarray(normal(1, *params["item"].shape))
  if model.config.item_bias:
    params["item_bias"] = jnp.asarray(normal(2, NUM_ITEMS))
  return model, params


def traced_likelihood(model, params, history=HISTORY, target=TARGET, segment=SEGMENT, key=None):
  rngs = None if key is None else {"dropout": key, "negatives": key}
  return model.apply(
    {"params": params},
    *(history, target, segment),
    train=key is not None,
    rngs=rngs,
    method="log_likelihood",
  )


likelihood = jax.jit(traced_likelihood, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def states(model, params, history=HISTORY, segment=SEGMENT):
  return model.apply({"params": params}, history, segment, method="states")


@functools.partial(jax.jit, static_argnums=0)
def next_item(model, params):
  return model.apply({"params": params}, HISTORY, method="next_item")


def test_a_position_sees_itself_and_what_comes_before_it_in_its_segment():
  model, params = make(layers=2)

  def by_position(position_SxD, segment_S):
    changed = {**params, "position": position_SxD}
    return states(model, changed, HISTORY[:1], segment_S[None])[0]

  gradient = jax.jit(jax.jacrev(by_position))
  whole_SxSxD = gradient(params["position"], jnp.zeros(LENGTH, jnp.int32))
  whole_SxS = np.abs(np.asarray(whole_SxSxD.swapaxes(1, 2))).sum(axis=(2, 3)) > 0
  np.testing.assert_array_equal(whole_SxS, np.tril(np.ones((LENGTH, LENGTH), bool)))
  # Places count from 0 in each segment: the second half uses the embeddings of the first half.
  halves_SxSxD = gradient(params["position"], jnp.asarray(SEGMENT[0]))
  halves_SxS = np.abs(np.asarray(halves_SxSxD.swapaxes(1, 2))).sum(axis=(2, 3)) > 0
  half = np.pad(np.tril(np.ones((3, 3), bool)), ((0, 0), (0, 3)))
  np.testing.assert_array_equal(halves_SxS, np.concatenate([half, half]))


def test_histories_that_share_a_row_equal_rows_of_their_own():
  model, params = make(layers=2)
  packed = np.asarray(likelihood(model, params))
  for row, part in [(0, slice(0, 3)), (0, slice(3, 6)), (1, slice(0, 2)), (1, slice(2, 4))]:
    fill = lambda x, row=row, part=part: np.pad(
      x[row : row + 1, part], ((0, 0), (0, LENGTH - part.stop + part.start)), constant_values=-1
    )
    alone = likelihood(model, params, fill(HISTORY), fill(TARGET), None)
    np.testing.assert_allclose(alone[0, : part.stop - part.start], packed[row, part], atol=1e-5)
  assert np.abs(packed - likelihood(model, params, segment=None))[0, 3:].max() > 1e-2


@pytest.mark.parametrize("bias", [False, True])
def test_the_likelihood_is_the_softmax_of_products_with_the_item_table(bias):
  model, params = make(item_bias=bias)
  logits = np.asarray(states(model, params)) @ np.asarray(params["item"]).T
  logits = logits + np.asarray(params["item_bias"]) if bias else logits
  logp = np.asarray(jax.nn.log_softmax(logits))
  expected = np.where(REAL, np.take_along_axis(logp, TARGET[..., None], axis=-1)[..., 0], 0.0)
  np.testing.assert_allclose(likelihood(model, params), expected, atol=1e-5)
  assert (expected[REAL] < -1e-3).all()


@pytest.mark.parametrize("negatives", [0, 4])
def test_positions_in_blocks_equal_all_at_once(monkeypatch, negatives):
  model, params = make(item_bias=True, negatives=negatives)
  weight_BxS = jax.random.normal(jax.random.key(3), TARGET.shape)

  def loss(params):
    return (weight_BxS * traced_likelihood(model, params, key=jax.random.key(4))).sum()

  whole, whole_gradient = jax.jit(jax.value_and_grad(loss))(params)
  monkeypatch.setattr(item_softmax, "_MAX_SCORES", 2 * 2 * (negatives or NUM_ITEMS))
  assert item_softmax._num_blocks(2, LENGTH, negatives or NUM_ITEMS) == 3
  blocks, gradient = jax.jit(jax.value_and_grad(lambda p: loss(p)))(
    params
  )  # a new function: no cached trace
  assert float(blocks) == pytest.approx(float(whole), rel=1e-5)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), gradient, whole_gradient)


def test_negatives_that_cover_the_catalogue_give_the_full_softmax():
  model, params = make(item_bias=True)
  sampled, _ = make(item_bias=True, negatives=NUM_ITEMS)
  total = lambda model: lambda params: likelihood(model, params, key=jax.random.key(5)).sum()
  full, full_gradient = jax.jit(jax.value_and_grad(total(model)))(params)
  found, gradient = jax.jit(jax.value_and_grad(total(sampled)))(params)
  assert float(found) == pytest.approx(float(full), rel=1e-5)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), gradient, full_gradient)


def test_a_single_negative_is_compared_with_the_target_unless_it_is_the_target():
  model, params = make(negatives=1)
  score_BxSxN = np.asarray(states(model, params)) @ np.asarray(params["item"]).T
  of_target_BxSx1 = np.take_along_axis(score_BxSxN, TARGET[..., None], axis=-1)
  expected_BxSxN = np.asarray(jax.nn.log_sigmoid(of_target_BxSx1 - score_BxSxN))
  expected_BxSxN = np.where(np.arange(NUM_ITEMS) == TARGET[..., None], 0.0, expected_BxSxN)
  expected_BxSxN = np.where(REAL[..., None], expected_BxSxN, 0.0)
  run = jax.jit(lambda key: likelihood(model, params, key=key))
  drawn = set()
  for seed in range(30):
    found_BxS = np.asarray(run(jax.random.key(seed)))
    far_N = np.abs(expected_BxSxN - found_BxS[..., None]).max(axis=(0, 1))
    assert far_N.min() < 1e-5
    drawn.add(int(far_N.argmin()))
  assert len(drawn) > 5
  gradient = jax.jit(jax.grad(lambda params, key: likelihood(model, params, key=key).sum()))
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient(params, jax.random.key(0))))
  # Without training, the whole catalogue counts.
  np.testing.assert_array_equal(likelihood(model, params), likelihood(make()[0], params))


def test_the_next_item_of_a_padded_history_is_that_of_its_last_position():
  model, params = make(item_bias=True)
  logp_BxN = next_item(model, params)
  np.testing.assert_allclose(np.exp(logp_BxN).sum(axis=1), 1.0, rtol=1e-5)
  for row, last in [(0, 5), (1, 3)]:
    for item in (0, 7):
      target = np.full_like(HISTORY, item)
      expected = likelihood(model, params, HISTORY, target, None)[row, last]
      assert float(logp_BxN[row, item]) == pytest.approx(float(expected), abs=1e-5)


def test_recommendations_are_the_best_of_all_allowed_items():
  model, params = make(item_bias=True)
  logp_BxN = np.asarray(next_item(model, params))
  forbidden = np.array([[9, 1, 9, 3, NO_ITEM], [NO_ITEM] * 5], np.int32)
  run = jax.jit(lambda *args: recommend(model, params, args[0], 4, *args[1:]))
  for masked in (True, False):
    found = run(HISTORY, forbidden) if masked else run(HISTORY)
    for row in range(2):
      allowed = [n for n in range(NUM_ITEMS) if not (masked and n in forbidden[row])]
      best = sorted(allowed, key=lambda n, row=row: -logp_BxN[row, n])[:4]
      assert found.item_BxK[row].tolist() == best
      np.testing.assert_allclose(found.score_BxK[row], logp_BxN[row, best], atol=1e-5)
  assert found.valid_BxK.all()


def test_fewer_items_than_results_and_ties():
  model, params = make()
  forbidden = np.array([[0, 1, 2, 3, 4, 5, 6, 7], [NO_ITEM] * 8], np.int32)
  equal = {**params, "item": jnp.ones_like(params["item"])}
  found = jax.jit(lambda h, f: recommend(model, equal, h, 13, f))(HISTORY, forbidden)
  assert found.item_BxK[0].tolist() == [8, 9, 10] + [-1] * 10
  assert found.item_BxK[1].tolist() == [*range(NUM_ITEMS), -1, -1]
  np.testing.assert_array_equal(found.valid_BxK, found.item_BxK >= 0)
  np.testing.assert_array_equal(found.valid_BxK, np.isfinite(found.score_BxK))


def test_an_empty_history_is_no_item_in_particular():
  model, params = make()
  run = lambda params: states(model, params, jnp.full((1, LENGTH), NO_ITEM), None)
  other = {**params, "item": params["item"] + 1.0}
  assert np.isfinite(run(params)).all()
  np.testing.assert_array_equal(run(params), run(other))


AT = np.array([[2, 5], [1, 3]], np.int32)  # the last position of each history
AHEAD = {"norms": "after", "counted_from": "newest", "filter": FilterConfig(0.7), "layers": 2}
CAUSAL = {**AHEAD, "counted_from": "oldest", "filter": FilterConfig(0.7, ahead=False)}


def ends(model, params, history=HISTORY, position_SxD=None):
  """log p of all items after the last position of each history: [2, 2, N]."""
  changed = params if position_SxD is None else {**params, "position": position_SxD}
  args = {"params": changed}, history, SEGMENT, False, AT
  return model.apply(*args, method="states") @ params["item"].T


def test_a_causal_filter_sees_what_attention_sees():
  model, params = make(**CAUSAL)

  def by_position(position_SxD):
    changed = {**params, "position": position_SxD}
    return states(model, changed, HISTORY[:1], jnp.zeros((1, LENGTH), jnp.int32))[0]

  gradient_SxSxD = jax.jit(jax.jacrev(by_position))(params["position"]).swapaxes(1, 2)
  seen_SxS = np.abs(np.asarray(gradient_SxSxD)).sum(axis=(2, 3)) > 0
  np.testing.assert_array_equal(seen_SxS, np.tril(np.ones((LENGTH, LENGTH), bool)))


def test_a_filter_that_looks_ahead_stays_within_its_prefix():
  """So where batches end a prefix before its target, nothing that predicts has seen it."""
  model, params = make(**AHEAD)
  run = jax.jit(lambda history: ends(model, params, history))
  before = np.asarray(run(HISTORY))
  segments = {(0, 0): slice(0, 3), (0, 1): slice(3, 6), (1, 0): slice(0, 2), (1, 1): slice(2, 4)}
  for row, number in segments:
    part = segments[row, number]
    for place in range(LENGTH):
      if HISTORY[row, place] == NO_ITEM:
        continue
      changed = HISTORY.copy()
      changed[row, place] = 10
      moved = np.abs(np.asarray(run(changed)) - before).max(axis=2)
      assert (moved[row, number] > 1e-4) == (part.start <= place < part.stop)
      assert moved[1 - row].max() == 0


def test_earlier_positions_of_a_prefix_see_later_ones_through_the_filter():
  """As in the paper, and the reason why each prefix has a single target."""
  model, params = make(**{**AHEAD, "layers": 1, "counted_from": "oldest"})
  alone = jnp.zeros((1, LENGTH), jnp.int32)
  changed = HISTORY[:1].copy()
  changed[0, 5] = 10
  moved = np.abs(np.asarray(states(model, params, changed, alone)))
  moved = np.abs(moved - np.abs(np.asarray(states(model, params, HISTORY[:1], alone))))
  assert (moved[0].max(axis=1) > 1e-4).all()
  with pytest.raises(ValueError, match=r"give one target for each prefix .*predicts='last'"):
    likelihood(model, params)


@pytest.mark.parametrize("settings", [{"layers": 2}, AHEAD, CAUSAL])
def test_positions_that_are_asked_for_are_those_of_all(settings):
  model, params = make(**settings)
  run = jax.jit(
    lambda at: model.apply({"params": params}, HISTORY, SEGMENT, False, at, method="states")
  )
  whole = np.asarray(states(model, params))
  np.testing.assert_allclose(run(AT), whole[np.arange(2)[:, None], AT], atol=1e-5)


def test_places_are_counted_from_the_newest_item_of_each_history():
  model, params = make(**AHEAD)
  shifted = {**params, "position": jnp.roll(params["position"], 1, axis=0)}
  padded = np.full((1, LENGTH), NO_ITEM, np.int32)
  padded[0, :2] = HISTORY[1, :2]
  run = jax.jit(lambda params, row: model.apply({"params": params}, row, method="next_item"))
  found = run(params, padded)
  logits = jax.jit(lambda: ends(model, params))()
  np.testing.assert_allclose(found[0], jax.nn.log_softmax(logits[1, 0]), atol=1e-5)
  assert np.abs(np.asarray(run(shifted, padded) - found)).max() > 1e-3


def test_dropout_drops_in_training_only():
  model, params = make(dropout=0.5)
  still = likelihood(model, params)
  np.testing.assert_array_equal(still, likelihood(make()[0], params))
  assert np.abs(np.asarray(likelihood(model, params, key=jax.random.key(0)) - still)).max() > 0.01


def test_bfloat16_stays_close_to_float32():
  (model, params), (low, _) = make(), make(dtype="bfloat16")
  expected, found = likelihood(model, params), likelihood(low, params)
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, expected, atol=0.15)
  assert np.abs(np.asarray(found - expected)).max() > 0


def test_settings_that_make_no_sense_are_refused():
  with pytest.raises(ValueError, match=r"sasrec\.width 8 must be a multiple of sasrec\.heads 3"):
    SASRecConfig(num_items=NUM_ITEMS, width=8, heads=3)
  with pytest.raises(ValueError, match=r"sasrec\.negatives must be 0 or more, not -1"):
    SASRecConfig(num_items=NUM_ITEMS, negatives=-1)
  with pytest.raises(ValueError, match=r"filter\.share needs sasrec\.norms='after'"):
    SASRecConfig(num_items=NUM_ITEMS, filter=FilterConfig(0.5))
  with pytest.raises(ValueError, match="unknown norms 'both'"):
    SASRecConfig(num_items=NUM_ITEMS, norms="both")


@pytest.mark.parametrize(
  ("history", "error", "message"),
  [
    ([[-1, 3]], ValueError, "history 0 has -1 before item row 3"),
    ([[3, 11]], ValueError, "history 0 holds item row 11, and rows go from 0 to 10"),
    (np.zeros((1, 7), np.int32), ValueError, r"give \[requests, 1 to 6 items\]"),
    (np.ones((1, 2), bool), TypeError, "histories are bool"),
    (np.ones((1, 2), np.uint8), TypeError, "histories are uint8"),
  ],
)
def test_histories_outside_the_catalogue_are_refused(history, error, message):
  model, params = make()
  with pytest.raises(error, match=message):
    recommend(model, params, history, 3)


def test_compiled_rankings_read_no_other_item_and_forbid_no_other():
  model, params = make()
  ranked = jax.jit(lambda history, forbidden: recommend(model, params, history, 11, forbidden))
  forbidden = jnp.array([[4, 4, 11, -5, 2**31 - 1]] * 2)
  found = ranked(jnp.array([[3, 11, 5], [-1, 3, 1]]), forbidden)
  expected = ranked(jnp.array([[3, -1, -1], [-1, -1, -1]]), jnp.array([[4]] * 2))
  np.testing.assert_array_equal(found.item_BxK, expected.item_BxK)
  assert found.valid_BxK.sum(axis=1).tolist() == [10, 10]


def test_no_requests_and_no_results():
  model, params = make()
  assert recommend(model, params, [], 3).item_BxK.shape == (0, 3)
  with pytest.raises(ValueError, match="num_results is 0"):
    recommend(model, params, [[3]], 0)
  with pytest.raises(ValueError, match=r"has shape \(1, 16\); give \[2, items\]"):
    recommend(model, params, [[3], [4]], 3, [[1]])
