"""The decoder's block: one level at a time is all levels at once, however the cache is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.models.decoder import DecoderBlock
from sidrec.models.layers import KeyValues

B, Q, L, D, S = 2, 3, 3, 8, 5


@pytest.mark.parametrize(
  ("growing", "absorbed", "biased"),
  [(False, False, True), (True, True, True), (True, False, False)],
)
def test_level_by_level_is_all_levels_at_once(growing, absorbed, biased):
  block = DecoderBlock(2, 4, D, 16, dropout=0.0, dtype=jnp.dtype("float32"))
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  x_BxQxLxD, states_BxSxD = draw(B, Q, L, D), draw(B, S, D)
  bias_HxLxL = draw(2, L, L) if biased else None
  mask_BxS = np.arange(S) < np.array([[3], [5]])

  def whole(block):
    mask_BxQxS = np.repeat(mask_BxS[:, None], Q, axis=1)
    return block(x_BxQxLxD, block.cross_keys(states_BxSxD), mask_BxQxS, False, bias_HxLxL)

  def stepwise(block):
    cross = (block.cross_absorbed if absorbed else block.cross_keys)(states_BxSxD)
    empty = jnp.zeros((B, Q, 2, 0 if growing else L, 4))
    cache, levels = KeyValues(empty, empty), []
    for level in range(L):
      at = level if growing else jnp.int32(level)
      y_BxQxD, cache = block.step(x_BxQxLxD[:, :, level], at, cache, cross, mask_BxS, bias_HxLxL)
      assert cache.key.shape == cache.value.shape == (B, Q, 2, level + 1 if growing else L, 4)
      levels.append(y_BxQxD)
    return jnp.stack(levels, axis=2)

  shapes = jax.eval_shape(lambda key: block.init(key, method=whole), jax.random.key(0))
  params = jax.tree.map(lambda x: draw(*x.shape) / 3, shapes)
  both = jax.jit(lambda params: [block.apply(params, method=f) for f in (whole, stepwise)])
  expected, found = both(params)
  np.testing.assert_allclose(found, expected, atol=1e-5)
