"""Items that two lists share."""

import jax.numpy as jnp
import numpy as np

from sidrec.evaluation.overlap import in_common


def test_order_and_length_do_not_matter():
  a = np.array([[1, 2, 3], [4, 5, 6]])
  b = jnp.array([[3, 1, 9, 8], [7, 8, 9, 10]])
  assert in_common(a, b).tolist() == [2, 0]
