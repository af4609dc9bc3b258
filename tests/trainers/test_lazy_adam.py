"""Lazy Adam of item tables: the models read no row that a batch did not name."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_models import draw
from tiny import all_codes, make_histories, make_model

from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.batches import packed_batches
from sidrec.models.sasrec import SASRec, SASRecConfig
from sidrec.models.settings import RecommenderConfig
from sidrec.parallel import mesh as mesh_lib
from sidrec.trainers.recommender import check_lazy_adam, recommender_task
from sidrec.trainers.sasrec import sasrec_task, train_sasrec
from sidrec.trainers.settings import RecommenderTrainConfig, SASRecTrainConfig, TrainConfig
from sidrec.training.optimizer import adamw
from sidrec.training.state import init_state, update
from sidrec.training.table_rows import TableRows, distinct

NUM_ITEMS = 16  # of which batches read some
BATCH = {
  "history_BxS": jnp.array([[4, 5, 6], [8, 2, NO_ITEM]], jnp.int32),
  "target_BxS": jnp.array([[5, 6, 7], [9, 3, NO_ITEM]], jnp.int32),
  "segment_BxS": jnp.array([[0, 0, 0], [0, 1, 3]], jnp.int32),
}
READ = [0, 2, 3, 4, 5, 6, 7, 8, 9]  # and the sampled negatives


def dense_tasks(**changes):
  shape = {"history_length": 3, "encoder_layers": 1, "item_head": True, "item_negatives": 4}
  model, trie, _ = make_model(all_codes(2, 4), **{**shape, **changes})
  return [recommender_task(model, trie, lazy_adam=lazy) for lazy in (True, False)]


def sasrec_tasks(**changes):
  shape = {"history_length": 3, "width": 8, "layers": 1, "hidden": 8, "negatives": 4}
  model = SASRec(SASRecConfig(num_items=NUM_ITEMS, **{**shape, "item_bias": True, **changes}))
  return [sasrec_task(model, lazy_adam=lazy) for lazy in (True, False)]


TASKS = {
  "sasrec": sasrec_tasks,
  "dense": dense_tasks,
  "dense, repeats": lambda: dense_tasks(repeats=True),
  "dense, narrow rows": lambda: dense_tasks(item_width=2),
  "dense, without an item head": lambda: dense_tasks(item_head=False, item_negatives=0),
}


def after_steps(task, count, mesh=None, weight_decay=0.0):
  optimizer = adamw(1e-2, 0, 100, weight_decay, 1.0)
  params, aux = task.init(jax.random.key(0))
  given = task._replace(init=lambda key: (draw(params), aux))
  state, batch, shardings = init_state(given, optimizer, jax.random.key(1)), BATCH, None
  if mesh is not None:
    batch = mesh_lib.to_global(mesh, {name: np.tile(x, (4, 1)) for name, x in BATCH.items()})
    shardings = mesh_lib.state_shardings(mesh, state)
    state, shardings = jax.device_put(state, shardings), (shardings, mesh_lib.replicated(mesh))
  step = jax.jit(
    lambda state, batch: update(task, optimizer, state, batch, mesh=mesh), out_shardings=shardings
  )
  for _ in range(count):
    state, metrics = step(state, batch)
  return state, metrics


@pytest.mark.parametrize("name", TASKS)
def test_the_first_step_is_that_of_adam(name):
  """So a batch names all rows that its model reads: any other one would make the loss NaN."""
  lazy, whole = TASKS[name]()
  (state, metrics), (other, other_metrics) = after_steps(lazy, 1), after_steps(whole, 1)
  assert float(metrics["loss"]) == pytest.approx(float(other_metrics["loss"]), rel=1e-6)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), state.params, other.params
  )


def test_steps_whose_negatives_are_all_items_are_those_of_adam():
  lazy, whole = sasrec_tasks(negatives=NUM_ITEMS)
  state, other = (after_steps(task, 4, weight_decay=0.1)[0] for task in (lazy, whole))
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5), state.params, other.params
  )


@pytest.mark.parametrize("name", ["sasrec", "dense"])
def test_rows_change_that_a_batch_reads_or_draws_and_no_others(name):
  task = TASKS[name]()[0]
  start = draw(task.init(jax.random.key(0))[0])
  state, _ = after_steps(task, 1, weight_decay=0.5)
  changed = (np.asarray(state.params["item"]) != np.asarray(start["item"])).any(axis=1)
  assert changed[READ].all()
  assert not changed.all()
  assert changed.sum() <= len(READ) + 4


@pytest.mark.parametrize("model", [1, 2])
@pytest.mark.parametrize("name", ["sasrec", "dense"])
def test_eight_devices_do_what_one_does(name, model):
  """Also where each of two devices has half of the table."""
  task, devices = TASKS[name]()[0], jax.devices()
  one, _ = after_steps(task, 3, mesh_lib.make_mesh(devices[:1]))
  eight, _ = after_steps(task, 3, mesh_lib.make_mesh(devices[:8], model))
  assert eight.params["item"].sharding.is_fully_replicated == (model == 1)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-2, atol=1e-4), one.params, eight.params
  )


def test_training_keeps_averages_of_all_parameters(tmp_path):
  model = SASRec(
    SASRecConfig(num_items=30, history_length=6, width=8, layers=1, hidden=8, negatives=5)
  )
  config = SASRecTrainConfig(
    batch_size=8, steps=4, steps_per_call=2, validate_every=4, average_decay=0.9, lazy_adam=True
  )
  histories = make_histories([[(u + 7 * i) % 30 for i in range(8)] for u in range(20)])
  kept = train_sasrec(model, config, histories, 0, tmp_path)
  wanted, _ = jax.eval_shape(sasrec_task(model).init, jax.random.key(0))
  assert jax.tree.map(lambda x: x.shape, kept) == jax.tree.map(lambda x: x.shape, wanted)
  raw_config = dataclasses.replace(config, average_decay=0.0)
  raw = train_sasrec(model, raw_config, histories, 0, tmp_path, "raw")
  for name in ("item", "position"):
    assert (np.asarray(kept[name]) != np.asarray(raw[name])).any()


def test_batches_of_a_log_name_all_rows_that_are_read():
  task = sasrec_tasks(history_length=6)[0]
  histories = make_histories([list(range(n)) for n in (3, 9, 16, 5)])
  optimizer = adamw(1e-2, 0, 100, 0.0, 1.0)
  state = init_state(task, optimizer, jax.random.key(0))
  batch_at = packed_batches(histories, 6, 4, seed=0)
  for step in range(3):
    batch = {name: jnp.asarray(x) for name, x in batch_at(step).items()}
    state, metrics = update(task, optimizer, state, batch)
    assert np.isfinite(float(metrics["loss"]))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"item_embedding": False}, "is for the item table"),
    ({"setting": "tiger", "item_head": False}, "is for the item table"),
    ({"item_negatives": 0}, r"set model\.item_negatives to some items"),
    ({"unseen": 0.1}, r"set model\.unseen to 0"),
  ],
)
def test_models_that_need_all_rows_are_refused(changes, message):
  model = RecommenderConfig(**{"item_head": True, "item_negatives": 4, **changes})
  check_lazy_adam(model, TrainConfig())
  with pytest.raises(ValueError, match=message):
    check_lazy_adam(model, TrainConfig(lazy_adam=True))


def test_a_full_softmax_of_sasrec_is_refused(tmp_path):
  model = SASRec(SASRecConfig(num_items=30))
  with pytest.raises(ValueError, match=r"set sasrec\.model\.negatives, or lazy_adam to False"):
    train_sasrec(model, SASRecTrainConfig(lazy_adam=True), make_histories([[1, 2, 3]]), 0, tmp_path)


def test_a_model_that_needs_the_whole_table_says_so():
  model = SASRec(SASRecConfig(num_items=NUM_ITEMS, history_length=3, width=8))
  params = draw(sasrec_task(model).init(jax.random.key(0))[0])
  row_U = distinct([BATCH["history_BxS"]], NUM_ITEMS)
  given = {**params, "item": TableRows(row_U, params["item"][row_U], NUM_ITEMS)}
  model.apply({"params": given}, BATCH["history_BxS"], method="states")
  with pytest.raises(TypeError, match="the whole table is needed"):
    model.apply({"params": given}, BATCH["history_BxS"], method="next_item")


def test_micro_batches_are_refused():
  for config in (TrainConfig, RecommenderTrainConfig, SASRecTrainConfig):
    with pytest.raises(ValueError, match=r"set train\.accumulate to 1, or lazy_adam to False"):
      config(lazy_adam=True, accumulate=2)
