"""The optimiser's schedule, clip and decay."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sidrec.training.optimizer import adamw


def moves(optimizer, params, grads, steps):
  state, path = optimizer.init(params), []
  for _ in range(steps):
    updates, state = optimizer.update(grads, state, params)
    path.append(updates)
    params = optax.apply_updates(params, updates)
  return path


def test_warm_up_and_cosine_decay():
  # With constant gradients, Adam's step is the learning rate.
  path = moves(adamw(0.1, 10, 100, 0.0, 1.0), {"w": jnp.ones(())}, {"w": jnp.ones(())}, 100)
  rate = -np.array([float(u["w"]) for u in path])
  assert rate[0] == 0.0
  assert rate[5] == pytest.approx(0.05, rel=1e-3)
  assert rate.argmax() == 10
  assert rate.max() == pytest.approx(0.1, rel=1e-3)
  assert (np.diff(rate[11:]) < 0).all()
  assert rate[-1] == pytest.approx(0.002, rel=0.05)


def test_inverse_square_root():
  optimizer = adamw(0.1, 10, 100, 0.0, 1.0, "inverse_sqrt")
  path = moves(optimizer, {"w": jnp.ones(())}, {"w": jnp.ones(())}, 41)
  rate = -np.array([float(u["w"]) for u in path])
  np.testing.assert_allclose(rate[:11], 0.1, rtol=1e-3)
  np.testing.assert_allclose(rate[10:], 0.1 * np.sqrt(10 / np.arange(10, 41)), rtol=1e-3)


def test_inverse_square_root_without_warm_up():
  optimizer = adamw(0.1, 0, 100, 0.0, 1.0, "inverse_sqrt")
  path = moves(optimizer, {"w": jnp.ones(())}, {"w": jnp.ones(())}, 5)
  rate = -np.array([float(u["w"]) for u in path])
  np.testing.assert_allclose(rate, 0.1 / np.sqrt([1, 1, 2, 3, 4]), rtol=1e-3)


def test_unknown_schedule_is_refused():
  with pytest.raises(ValueError, match="must be 'cosine' or 'inverse_sqrt', not 'linear'"):
    adamw(0.1, 10, 100, 0.0, 1.0, "linear")


def test_vectors_are_not_decayed():
  params = {"matrix": jnp.ones((2, 2)), "vector": jnp.ones(2)}
  zero = {"matrix": jnp.zeros((2, 2)), "vector": jnp.zeros(2)}
  last = moves(adamw(0.1, 1, 10, 0.5, 1.0), params, zero, 3)[-1]
  assert (np.asarray(last["matrix"]) < 0).all()
  np.testing.assert_array_equal(last["vector"], 0)


def test_gradients_are_clipped_together():
  optimizer = adamw(0.1, 1, 10, 0.0, 1.0)
  params = {"a": jnp.zeros(()), "b": jnp.zeros(())}
  state = optimizer.init(params)
  _, state = optimizer.update({"a": jnp.float32(300.0), "b": jnp.float32(400.0)}, state, params)
  mean = next(s for s in state[1] if hasattr(s, "mu")).mu
  assert float(mean["a"]) == pytest.approx(0.1 * 0.6, rel=1e-3)
  assert float(mean["b"]) == pytest.approx(0.1 * 0.8, rel=1e-3)
