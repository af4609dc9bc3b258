"""A small model with repeats, whose parameters are far from those that training starts from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from tiny import all_codes, init_params, make_model

LENGTH = 6  # of histories


@functools.cache
def make_repeats(num_items, levels, codes_per_level, **changes):
  """(model, params, trie, path_NxLp1)."""
  codes = np.random.default_rng(0).permutation(all_codes(levels, codes_per_level))[:num_items]
  shape = {"width": 16, "heads": 2, "hidden": 32, "encoder_layers": 1, "history_length": LENGTH}
  model, trie, path = make_model(codes, **{**shape, "repeats": True, **changes})
  params = init_params(model, trie, path, scale=2.0)
  rng = np.random.default_rng(1)
  draw = lambda x: jnp.asarray(rng.normal(0, 0.7, x.shape), jnp.float32)
  own = {**jax.tree.map(draw, params["repeats"]), "new_bias": jnp.float32(1.0)}
  return model, {**params, "repeats": own}, trie, path
