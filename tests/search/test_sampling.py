"""Numbers that the random draw of beams is computed with."""

import jax.numpy as jnp
import numpy as np

from sidrec.search import sampling


def test_log_of_one_minus_exp_is_accurate_near_both_ends():
  x = np.array([-1e-30, -1e-8, -1e-3, -0.5, -0.69, -0.7, -2.0, -10.0, -20.0], np.float32)
  expected = np.log(-np.expm1(x.astype(np.float64)))
  np.testing.assert_allclose(sampling._log1mexp(jnp.asarray(x)), expected, rtol=1e-5)
  assert np.isneginf(sampling._log1mexp(jnp.zeros(())))
