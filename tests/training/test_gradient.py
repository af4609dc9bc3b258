"""A gradient in micro-batches, or over devices, is that of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import all_codes, init_params, make_model

from sidrec.core.vocabulary import NO_ITEM
from sidrec.parallel.mesh import make_mesh, to_global
from sidrec.trainers.recommender import recommender_task
from sidrec.training.gradient import gradient


def case(**changes):
  """A task without dropout, its parameters, and 8 rows with 1 to 4 targets."""
  shape = {"encoder_dropout": 0.0, "encoder_layers": 1}
  model, trie, path = make_model(all_codes(2, 4), **shape, **changes)
  task, params = recommender_task(model, trie), init_params(model, trie, path)
  rng = np.random.default_rng(0)
  length_B = np.array([1, 4, 2, 1, 4, 4, 1, 3])
  item_BxS = rng.integers(0, 16, (8, 5)).astype(np.int32)
  real_BxS = np.arange(4) < length_B[:, None]
  batch = {
    "history_BxS": np.where(real_BxS, item_BxS[:, :4], NO_ITEM),
    "target_BxS": np.where(real_BxS, item_BxS[:, 1:], NO_ITEM),
    "segment_BxS": np.where(real_BxS, 0, 4).astype(np.int32),
  }
  return task, params, (), batch


@pytest.mark.parametrize(
  ("accumulate", "devices"),
  [pytest.param(4, 1, marks=pytest.mark.slow), (1, 8), (2, 4)],
  ids=["four passes", "eight devices", "both"],
)
def test_parts_have_the_loss_and_the_gradient_of_the_batch(accumulate, devices):
  task, params, aux, batch = case()
  # Unequal numbers of targets: counted alike, parts would give another loss.
  counts = [int(task.weight({"target_BxS": batch["target_BxS"][i::4]})) for i in range(4)]
  assert counts == [5, 8, 3, 4]
  mesh = make_mesh(jax.devices()[:devices])
  run = jax.jit(
    lambda batch, *how: gradient(task, params, aux, batch, jax.random.key(1), *how),
    static_argnums=(1, 2),
  )
  loss, _, metrics, grads = run(batch)
  parts = run(to_global(mesh, batch), accumulate, mesh)
  assert float(parts[0]) == pytest.approx(float(loss), rel=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), metrics, parts[2])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5e-6), grads, parts[3])


def test_micro_batches_without_targets_change_nothing():
  task, params, aux, batch = case()
  empty = {name: np.full_like(x, NO_ITEM) for name, x in batch.items()}
  empty["segment_BxS"] = np.full_like(batch["segment_BxS"], 4)
  run = jax.jit(lambda: gradient(task, params, aux, empty, jax.random.key(1), 2))
  loss, _, _, grads = run()
  assert float(loss) == 0.0
  assert not any(np.asarray(x).any() for x in jax.tree.leaves(grads))


def test_each_micro_batch_draws_its_own_dropout_and_hands_on_aux():
  drawn = []

  def loss(params, aux, batch, key):
    noise = jax.random.uniform(key)
    jax.debug.callback(lambda x: drawn.append(float(x)), noise)
    return params * batch["x"].mean(), (aux + batch["x"].sum(), {})

  task = case()[0]._replace(loss=loss, weight=None)
  batch = {"x": jnp.arange(6.0)}
  value, aux, _, grad = gradient(
    task, jnp.float32(2.0), jnp.float32(0), batch, jax.random.key(0), 3
  )
  jax.effects_barrier()
  assert (float(value), float(aux), float(grad)) == (5.0, 15.0, 2.5)
  assert len(set(drawn)) == 3


def test_recomputing_blocks_changes_neither_loss_nor_gradient():
  results = []
  for remat in (False, True):
    task, params, aux, batch = case(remat=remat)
    compute = jax.jit(jax.value_and_grad(lambda *args, task=task: task.loss(*args)[0]))
    traced = compute.trace(params, aux, batch, jax.random.key(1))
    assert ("remat" in str(traced.jaxpr) or "checkpoint" in str(traced.jaxpr)) == remat
    results.append(compute(params, aux, batch, jax.random.key(1)))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *results)
