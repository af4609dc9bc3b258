"""The gradient of a batch on one device and on eight, which have to agree."""

import jax
import numpy as np
import pytest

from sidrec.parallel.mesh import make_mesh, to_global
from sidrec.training.gradient import gradient


def same_gradient(task, params, batch, spread=None):
  """The loss and the gradient on one device, after a check that eight have the same.

  With `spread`, eight devices get this batch in place of the other.
  """

  def run(devices, batch):
    mesh = make_mesh(jax.devices()[:devices])
    call = jax.jit(lambda batch: gradient(task, params, (), batch, jax.random.key(0), 1, mesh))
    loss, _, _, grads = call(to_global(mesh, batch))
    return loss, grads

  (one, of_one), (eight, of_eight) = run(1, batch), run(8, spread or batch)
  assert float(one) == pytest.approx(float(eight), rel=1e-5)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4), of_one, of_eight
  )
  return float(one), of_one
