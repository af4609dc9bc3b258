"""Moving averages that make up for steps; `test_table_rows.py` compares them with all steps."""

import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.training.averages import decay_at, log_decays_before, made_up


def test_products_of_decays_are_right_after_many_steps():
  step = np.array([0, 1, 5, 2000, 8989, 8990, 8991, 20_000])
  decay = np.minimum(0.999, (1 + np.arange(20_000)) / (10.0 + np.arange(20_000)))
  log_product = np.concatenate([[0], np.cumsum(np.log(decay))])[step]
  np.testing.assert_allclose(
    log_decays_before(jnp.asarray(step), 0.999), log_product, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("largest", [0.05, 0.3, 0.99])
def test_steps_at_rest_are_made_up_for(largest):
  value, average = np.array([[1.0, -2.0], [4.0, 0.5]]), np.array([[0.0, 3.0], [4.0, 1.0]])
  until, step = np.array([3, 7]), 12
  expected = average.copy()
  for row in range(2):
    for at in range(until[row], step):
      decay = float(decay_at(jnp.int32(at), largest))
      expected[row] = decay * expected[row] + (1 - decay) * value[row]
  found = made_up(*map(jnp.asarray, (average, value, until)), jnp.int32(step), largest)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
