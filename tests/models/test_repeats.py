"""The model with repeats: one distribution over all items, from what was met before."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repeats_by_hand import probabilities, without_repeats
from repeats_model import LENGTH, make_repeats
from tiny import all_codes, init_params, log_likelihood, make_model

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.events import Events
from sidrec.data.inputs import InputsConfig
from sidrec.models import repeats
from sidrec.trainers.recommender import recommender_task

NUM_ITEMS = 27
HISTORY = np.array([[3, 1, 4, 1, 5, 3], [2, 2, 2, 2, 2, 2]], np.int32)
TIMES = InputsConfig(gap=True, time_bias=True, request_time="known")


def make(num_items=NUM_ITEMS, levels=3, **changes):
  return make_repeats(num_items, levels, 3, **changes)


@functools.partial(jax.jit, static_argnums=0)
def mixed(model, params, history, target, trie, path, segment=None):
  inputs = (history, target, trie, path, segment)
  return model.apply({"params": params}, *inputs, method="mixed_log_likelihood")


def of_all_items(model, params, trie, path, history, segment=None):
  """log p of every item at every position of one row: [N, S]."""
  count = trie.num_items
  target = np.repeat(np.arange(count, dtype=np.int32)[:, None], LENGTH, axis=1)
  every, segment = jax.tree.map(lambda x: np.repeat(x, count, axis=0), (history, segment))
  found = mixed(model, params, every, target, trie, path, segment)
  return np.asarray(found.level_BxQxL.sum(axis=-1) + found.choice_BxQ)


@pytest.mark.parametrize("row", [0, 1])
def test_every_position_has_the_distribution_computed_by_hand(row):
  model, params, trie, path = make()
  logp_NxS = of_all_items(model, params, trie, path, HISTORY[row : row + 1])
  np.testing.assert_allclose(np.exp(logp_NxS).sum(axis=0), 1.0, atol=1e-5)
  for q in range(LENGTH):
    expected = probabilities(model, params, trie, path, HISTORY[row, : q + 1])
    np.testing.assert_allclose(np.exp(logp_NxS[:, q]), expected, rtol=2e-4, atol=1e-7)


def test_times_count_where_they_are_read():
  model, params, trie, path = make(inputs=TIMES)
  times = np.array([[0, 50, 50, 400, 7000, 9000]])
  events = Events.of(HISTORY[:1], times, request_time=20000)
  logp_NxS = of_all_items(model, params, trie, path, events)
  expected = probabilities(model, params, trie, path, events, 20000 - times[0])
  np.testing.assert_allclose(np.exp(logp_NxS[:, -1]), expected, rtol=2e-4, atol=1e-7)
  assert expected.sum() == pytest.approx(1.0, abs=1e-5)


EARLIER = [[6, 1, 20, 3, NO_ITEM, NO_ITEM], [NO_ITEM] * 6]  # 1 and 3 are met again


@pytest.mark.parametrize("row", [0, 1])
def test_items_from_before_the_history_are_met_before_as_well(row):
  model, params, trie, path = make(inputs=InputsConfig(earlier=6))
  earlier = [item for item in EARLIER[row] if item != NO_ITEM]
  events = Events(HISTORY[row : row + 1], earlier_BxX=np.array([EARLIER[row]], np.int32))
  logp_NxS = of_all_items(model, params, trie, path, events)
  for q in range(LENGTH):
    expected = probabilities(model, params, trie, path, HISTORY[row, : q + 1], earlier=earlier)
    np.testing.assert_allclose(np.exp(logp_NxS[:, q]), expected, rtol=2e-4, atol=1e-7)
    assert expected.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_earlier_items_of_one_row_leave_the_other_as_it_was():
  model, params, trie, path = make(inputs=InputsConfig(earlier=6))
  target = np.roll(HISTORY, 1, axis=1)
  events = Events(HISTORY, earlier_BxX=np.array(EARLIER, np.int32))
  more = events._replace(earlier_BxX=np.array([EARLIER[0], [9, 4, 8, 1, 0, 5]], np.int32))
  one, two = (mixed(model, params, x, target, trie, path).choice_BxQ for x in (events, more))
  np.testing.assert_array_equal(one[0], two[0])
  assert (np.asarray(one[1]) != np.asarray(two[1])).any()


def test_histories_that_share_a_row_do_not_know_each_others_items():
  model, params, trie, path = make()
  row = np.array([[3, 1, 4, 1, 4, NO_ITEM]], np.int32)
  segment = np.array([[0, 0, 1, 1, 1, LENGTH]], np.int32)
  packed = of_all_items(model, params, trie, path, row, segment)
  fill = lambda x: np.pad(x, ((0, 0), (0, LENGTH - x.shape[1])), constant_values=NO_ITEM)
  for part in (slice(0, 2), slice(2, 5)):
    alone = of_all_items(model, params, trie, path, fill(row[:, part]))
    np.testing.assert_allclose(packed[:, part], alone[:, : part.stop - part.start], atol=3e-5)


def test_nothing_new_is_left_when_the_whole_catalogue_was_met():
  model, params, trie, path = make(num_items=3, levels=1)
  history = np.array([[0, 2, 2, 1, 0, NO_ITEM]], np.int32)
  logp_NxS = of_all_items(model, params, trie, path, history)
  np.testing.assert_allclose(np.exp(logp_NxS[:, :5]).sum(axis=0), 1.0, atol=1e-5)
  for q in (1, 3, 4):
    expected = probabilities(model, params, trie, path, history[0, : q + 1])
    np.testing.assert_allclose(np.exp(logp_NxS[:, q]), expected, rtol=1e-4)


def test_the_latest_place_of_each_item_and_how_often_it_was_met():
  history = jnp.asarray([[7, 8, 7, 7, NO_ITEM]])
  visible = (history != NO_ITEM)[:, None] & jnp.tril(jnp.ones((1, 5, 5), bool))
  latest_BxSxS, count_BxS = repeats.latest_places(history, visible)
  np.testing.assert_array_equal(
    latest_BxSxS[0, :4].astype(int),
    [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0]],
  )
  np.testing.assert_array_equal(count_BxS[0, :4], [1, 1, 2, 3])


def test_the_loss_is_finite_with_finite_gradients_whatever_the_histories_hold():
  model, params, trie, _ = make(num_items=3, levels=1)
  task = recommender_task(model, trie)
  full = np.array([[0, 1, 2, 0, 1, 2], [1, 1, 1, 1, NO_ITEM, NO_ITEM]], np.int32)
  batch = {
    "history_BxS": jnp.asarray(full),
    "target_BxS": jnp.asarray(np.roll(full, -1, axis=1)).at[1, 3].set(NO_ITEM),
    "segment_BxS": jnp.where(full == NO_ITEM, LENGTH, 0),
  }
  key = jax.random.key(0)
  run = jax.jit(jax.value_and_grad(lambda p: task.loss(p, (), batch, key), has_aux=True))
  (loss, (_, parts)), gradient = run(params)
  assert loss == pytest.approx(float(parts["loss_level_0"] + parts["loss_choice"]), abs=1e-5)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves((loss, gradient)))
  for name, x in gradient["repeats"].items():
    assert np.abs(x).max() > 0, name


@pytest.mark.slow
def test_training_learns_what_comes_again():
  """Users alternate between two items of their own: all of p goes to the one before the last."""
  model, _, trie, _ = make()
  task = recommender_task(model, trie)
  params, _ = jax.jit(task.init)(jax.random.key(0))
  pairs = np.random.default_rng(0).integers(0, NUM_ITEMS, (64, 2))
  row = np.concatenate([pairs, pairs, pairs, pairs[:, :1]], axis=1).astype(np.int32)
  batch = {"history_BxS": row[:, :-1], "target_BxS": row[:, 1:]}

  @jax.jit
  def step(params, key):
    (_, (_, parts)), gradient = jax.value_and_grad(
      lambda p: task.loss(p, (), batch, key), has_aux=True
    )(params)
    return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient), parts

  for at in range(150):
    params, parts = step(params, jax.random.key(at))
  # One choice of six is of something new; the other five are sure.
  assert float(parts["loss_choice"]) < 0.1


def test_the_default_has_no_such_parameters_and_no_other_likelihood():
  model, params, trie, path = make()
  plain = without_repeats(model)
  assert "repeats" not in init_params(plain, trie, path)
  levels = log_likelihood(plain, params, HISTORY, HISTORY, trie, path)
  assert np.isfinite(levels).all()
  with pytest.raises(ValueError, match="use mixed_log_likelihood"):
    log_likelihood(model, params, HISTORY, HISTORY, trie, path)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"setting": "tiger"}, "model.repeats needs model.setting 'dense'"),
    (
      {"constrained_softmax": False, "node_bias": False, "node_vectors": False},
      "model.repeats needs model.constrained_softmax",
    ),
  ],
)
def test_models_without_an_answer_to_repeats_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    make_model(all_codes(2, 3), repeats=True, **changes)
