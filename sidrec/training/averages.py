"""The exponential moving average of parameters, also where a step changes some rows of a table.

The average of a row that a step does not read goes on towards the row's value. As this stays what
it is, so many steps can be made up for at once, when the row is read again or the average is asked
for: what is left of the difference is the product of the decays of these steps.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PyTree = Any

_AHEAD = 9  # by which the first decays stay behind 1, see `decay_at`


class LazyAverage(NamedTuple):
  """The average where tables are lazy: of their rows, as of the steps that read them last."""

  params: PyTree
  until_N: jax.Array  # int32, the steps that each row's average knows


def decay_at(step: jax.Array, largest: float) -> jax.Array:
  """The decay of a step: smaller at first, so that the random start soon has no weight."""
  return jnp.minimum(largest, (1.0 + step) / (1.0 + _AHEAD + step))


def log_decays_before(step: jax.Array, largest: float) -> jax.Array:
  """The logarithm of the product of the decays of all steps before this one: float32.

  Args:
    step: int32, of any shape.
    largest: the decay that `decay_at` comes to, between 0 and 1.
  """
  # (1 + s) / (10 + s) is the largest decay at this s, and less before. There, the product of
  # fractions keeps nine numerators and nine denominators.
  changes = math.ceil(max((1 + _AHEAD) * largest - 1, 0) / (1 - largest))
  first = jnp.minimum(step, changes).astype(jnp.float32)
  log_product = sum(math.log(j) - jnp.log(first + j) for j in range(1, _AHEAD + 1))
  return log_product + jnp.maximum(step - changes, 0) * math.log(largest)


def made_up(
  average: jax.Array, value: jax.Array, until: jax.Array, step: jax.Array, largest: float
) -> jax.Array:
  """The average of rows [U, …] before a step, where values were the same since step `until`."""
  left_U = jnp.exp(log_decays_before(step, largest) - log_decays_before(until, largest))
  left = left_U.reshape(-1, *[1] * (value.ndim - 1))
  return value + (average - value) * left
