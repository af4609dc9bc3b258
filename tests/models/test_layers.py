import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.models import layers
from sidrec.models.layers import Attention


def normal(rng, *shape):
  return rng.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("num_keys", "repeats"), [(7, 1), (6, 2), (2, 3)])
def test_causal_blocks_compute_what_the_whole_mask_does(num_keys, repeats, monkeypatch):
  monkeypatch.setattr(layers, "CAUSAL_BLOCK", 3)
  attention = Attention(heads=2, head_width=4, width=8, dtype=jnp.dtype("float32"))
  rng = np.random.default_rng(0)
  x = normal(rng, 3, num_keys * repeats, 8)
  states = normal(rng, 3, num_keys, 8)
  bias = normal(rng, 2, num_keys * repeats, num_keys)
  seen = np.tril(rng.random((3, num_keys, num_keys)) < 0.7)
  seen = seen | np.eye(num_keys, dtype=bool)[None]  # a query that sees nothing gathers anything
  mask = np.repeat(seen, repeats, axis=1)

  def run(module, x, states, causal):
    return module(x, module.project(states), mask, bias, causal)

  init = lambda key: attention.init(key, x, states, False, method=run)
  shapes = jax.eval_shape(init, jax.random.key(1))
  params = jax.tree.map(lambda like: normal(rng, *like.shape) / 3, shapes)

  @jax.jit
  def both(params, x, states):
    def value_and_gradient(causal):
      output = lambda *args: attention.apply(*args, causal, method=run)
      loss = lambda *args: jnp.sum(jnp.sin(output(*args)))
      return output(params, x, states), jax.grad(loss, argnums=(0, 1, 2))(params, x, states)

    return value_and_gradient(False), value_and_gradient(True)

  whole, blocks = both(params, x, states)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, blocks)


def test_causal_attention_takes_any_leading_axes():
  attention = Attention(heads=2, head_width=4, width=8, dtype=jnp.dtype("float32"))
  rng = np.random.default_rng(0)
  x = normal(rng, 2, 3, 6, 8)

  def run(module, x):
    mask = jnp.broadcast_to(jnp.tril(jnp.ones((6, 6), bool)), (*x.shape[:-1], 6))
    return module(x, module.project(x), mask, causal=True)

  shapes = jax.eval_shape(lambda: attention.init(jax.random.key(1), x[0], method=run))
  params = jax.tree.map(lambda like: normal(rng, *like.shape) / 3, shapes)
  apply = jax.jit(lambda x: attention.apply(params, x, method=run))
  batched = apply(x.reshape(6, 6, 8)).reshape(x.shape)
  np.testing.assert_allclose(apply(x), batched, atol=1e-6)
  np.testing.assert_allclose(apply(x[1, 2]), batched[1, 2], atol=1e-6)
