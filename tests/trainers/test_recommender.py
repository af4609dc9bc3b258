"""What the recommender's loss counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import all_codes, init_params, log_likelihood, make_model

from sidrec.core.vocabulary import NO_ITEM
from sidrec.trainers.recommender import recommender_task
from sidrec.training import meter

BATCHES = {
  "dense": {
    "history_BxS": jnp.array([[4, 5, 6], [8, 2, NO_ITEM]], jnp.int32),
    "target_BxS": jnp.array([[5, 6, 7], [9, 3, NO_ITEM]], jnp.int32),
    "segment_BxS": jnp.array([[0, 0, 0], [0, 1, 3]], jnp.int32),
  },
  "tiger": {
    "history_BxS": jnp.array([[4, 5, 6], [8, NO_ITEM, NO_ITEM]], jnp.int32),
    "target_Bx1": jnp.array([[7], [9]], jnp.int32),
  },
}
# The examples that those batches stand for, each scored on its own.
EXAMPLES = {
  "dense": [([4], 5), ([4, 5], 6), ([4, 5, 6], 7), ([8], 9), ([2], 3)],
  "tiger": [([4, 5, 6], 7), ([8], 9)],
}


def small_task(setting):
  model, trie, path = make_model(
    all_codes(2, 4), setting=setting, history_length=3, encoder_layers=1, encoder_dropout=0.0
  )
  return model, trie, path, recommender_task(model, trie)


@pytest.mark.parametrize("setting", ["dense", "tiger"])
def test_loss_is_the_mean_negative_log_likelihood_of_real_targets(setting):
  """Histories that share a row, too, are scored as if each stood alone."""
  model, trie, path, task = small_task(setting)
  params = init_params(model, trie, path)
  loss, (_, metrics) = jax.jit(task.loss)(params, (), BATCHES[setting], jax.random.key(1))
  logps = []
  for history, target in EXAMPLES[setting]:
    padded = np.array([history + [NO_ITEM] * (3 - len(history))], np.int32)
    targets = np.full((1, 3 if setting == "dense" else 1), target, np.int32)
    logp = np.asarray(log_likelihood(model, params, padded, targets, trie, path)).sum(axis=-1)
    logps.append(float(logp[0, len(history) - 1 if setting == "dense" else 0]))
  assert float(loss) == pytest.approx(-np.mean(logps), rel=1e-5)
  assert float(loss) == pytest.approx(float(sum(metrics.values())), rel=1e-5)


def test_the_item_head_adds_its_own_loss_by_its_weight():
  shape = {"history_length": 3, "encoder_layers": 1, "encoder_dropout": 0.0, "item_head": True}
  model, trie, _ = make_model(all_codes(2, 4), **shape)
  params, aux = jax.jit(recommender_task(model, trie).init)(jax.random.key(0))
  losses = {}
  for weight in (0.0, 2.0):
    loss = jax.jit(recommender_task(model, trie, weight).loss)
    losses[weight], (_, metrics) = loss(params, aux, BATCHES["dense"], jax.random.key(1))
  item_loss = float(metrics["loss_item"])
  # The item table starts small: the head starts near the uniform distribution over 16 items.
  assert item_loss == pytest.approx(np.log(16), abs=0.2)
  assert float(losses[2.0] - losses[0.0]) == pytest.approx(2 * item_loss, rel=1e-5)


def test_a_batch_of_fillers_has_zero_loss():
  *model, task = small_task("dense")
  params = init_params(*model)
  empty = jnp.full((2, 3), NO_ITEM, jnp.int32)
  batch = {"history_BxS": empty, "target_BxS": empty, "segment_BxS": jnp.full((2, 3), 3)}
  grads, _ = jax.jit(jax.grad(task.loss, has_aux=True))(params, (), batch, jax.random.key(1))
  assert all(np.isfinite(x).all() and not x.any() for x in jax.tree.leaves(grads))


def test_bfloat16_multiplies_only_and_all_else_that_matters_stays_float32():
  shape = {"history_length": 3, "item_head": True, "item_negatives": 8}
  model, trie, _ = make_model(all_codes(2, 4), dtype="bfloat16", **shape)
  task = recommender_task(model, trie)
  params, aux = jax.eval_shape(task.init, jax.random.key(0))
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
  loss = lambda *args: task.loss(*args)[0]
  step = jax.make_jaxpr(jax.value_and_grad(loss))(params, aux, BATCHES["dense"], jax.random.key(1))
  assert {x.dtype for x in step.out_avals} == {jnp.dtype("float32")}  # loss and gradients
  inputs = {}
  for equation in equations(step.jaxpr):
    kinds = {x.aval.dtype for x in equation.invars if hasattr(x.aval, "dtype")}
    inputs.setdefault(equation.primitive.name, set()).update(kinds)
  # Softmaxes, their logarithms, and roots of norms.
  for name in ("exp", "log", "log1p", "rsqrt", "reduce_max"):
    assert inputs.get(name, {jnp.dtype("float32")}) == {jnp.dtype("float32")}, name
  assert "exp" in inputs
  assert jnp.dtype("bfloat16") in inputs["dot_general"]


def equations(jaxpr):
  """All equations of a program and of the programs in it."""
  for equation in jaxpr.eqns:
    yield equation
    for part in meter._inner(equation.params):
      yield from equations(part)
