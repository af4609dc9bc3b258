"""Dropout draws by position in the whole batch, whoever computes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.models.dropout import Dropout, keep_mask

X = jnp.arange(1.0, 97.0).reshape(8, 3, 4)


def drop(x, key=0, rate=0.25):
  return Dropout(rate).apply({}, x, deterministic=False, rngs={"dropout": jax.random.key(key)})


def test_it_drops_a_share_and_scales_the_rest():
  x = jnp.ones((100, 100))
  dropped = np.asarray(drop(x))
  np.testing.assert_allclose(np.unique(dropped), [0.0, 4 / 3], rtol=1e-6)
  assert (dropped == 0).mean() == pytest.approx(0.25, abs=0.02)
  np.testing.assert_array_equal(Dropout(0.25).apply({}, x, deterministic=True), x)
  np.testing.assert_array_equal(Dropout(0.0).apply({}, x, deterministic=False), x)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint])
def test_parts_of_a_batch_are_dropped_like_the_batch(wrap):
  whole = drop(X)
  for parts in (1, 2, 8):
    split = X.reshape(parts, -1, 3, 4)
    np.testing.assert_array_equal(jax.vmap(wrap(drop))(split).reshape(X.shape), whole)
    square = lambda x: jnp.square(wrap(drop)(x)).sum()
    gradient = jax.vmap(jax.grad(square))(split).reshape(X.shape)
    np.testing.assert_array_equal(gradient, jax.grad(square)(X))
  nested = jax.vmap(jax.vmap(wrap(drop)))(X.reshape(2, 2, 2, 3, 4))
  np.testing.assert_array_equal(nested.reshape(X.shape), whole)


def test_parts_with_keys_of_their_own_draw_apart():
  keys = jax.random.split(jax.random.key(3), 2)
  apart = lambda x: [keep_mask(key, 0.5, x) for key in keys]
  each = jax.vmap(keep_mask, in_axes=(0, None, 0))(keys, 0.5, jnp.stack([X, X]))
  np.testing.assert_array_equal(each, jnp.stack(apart(X)))
  shared = jax.vmap(keep_mask, in_axes=(0, None, None))(keys, 0.5, X)
  np.testing.assert_array_equal(shared, each)
  assert (each[0] != each[1]).any()
