"""Balanced assignment: every code takes about the same number of items of a batch.

Entropic optimal transport by Sinkhorn's iterations (Cuturi, NeurIPS 2013), as LC-Rec
(Zheng et al., ICDE 2024) uses it to spread items over the codes of a level.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp


def transport_plan(cost_VxB: jax.Array, epsilon: float, iterations: int) -> jax.Array:
  """The log of the plan by which items, of weight 1 / B each, go to codes that take 1 / V each.

  It is the plan P of least Σ P · cost / (half the range of the costs) - epsilon · entropy(P), so
  that epsilon means the same at every level and at every time of training. A constant added to
  all costs changes nothing.

  Args:
    cost_VxB: finite costs, float32 [V, B].
    epsilon: less is sharper and takes more iterations to balance; LC-Rec has 0.003.
    iterations: of which each scales the items, then the codes.

  Returns:
    log P, float32 [V, B]. Items sum to 1 / B, codes to 1 / V as far as the iterations reach.
  """
  num_codes, num_items = cost_VxB.shape
  least, most = cost_VxB.min(), cost_VxB.max()
  half_range = jnp.maximum((most - least) / 2, jnp.finfo(cost_VxB.dtype).tiny)
  # In logarithms: the kernel exp(-cost / epsilon) itself underflows at useful epsilons.
  kernel_VxB = (least - cost_VxB) / half_range / epsilon

  def item_scale(code_V: jax.Array) -> jax.Array:
    return -logsumexp(kernel_VxB + code_V[:, None], axis=0) - jnp.log(num_items)

  def iterate(_: int, code_V: jax.Array) -> jax.Array:
    item_B = item_scale(code_V)
    # Not divided by V: the last scaling of the items makes up for any common factor.
    return -logsumexp(kernel_VxB + item_B[None, :], axis=1)

  code_V = jax.lax.fori_loop(0, iterations, iterate, jnp.zeros(num_codes, cost_VxB.dtype))
  return kernel_VxB + code_V[:, None] + item_scale(code_V)[None, :]
