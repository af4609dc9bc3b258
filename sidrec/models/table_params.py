"""Parameters with a row for each item, which a training may give as some of their rows."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from sidrec.models.layers import MASKED
from sidrec.training.table_rows import TableRows


def table_param(
  module: nn.Module, name: str, init: Callable[..., jax.Array], shape: tuple[int, ...]
) -> jax.Array | TableRows:
  """What `module.param` returns, or the rows that are given in its place."""
  if module.has_variable("params", name):
    given = module.get_variable("params", name)
    if isinstance(given, TableRows):
      return given
  return module.param(name, init, shape)


def rows_at(table_N: jax.Array | TableRows, item_X: jax.Array | None) -> jax.Array:
  """The rows of some items, int32 [...], or the whole table for None.

  Raises:
    TypeError: if the whole table is needed, and only some rows are given.
  """
  if item_X is not None:
    return table_N[item_X]
  if isinstance(table_N, TableRows):
    raise TypeError("the whole table is needed, and some rows are given; see train.lazy_adam")
  return table_N


def masked_behind(bias_N: jax.Array | TableRows, used: jax.Array | int) -> jax.Array | TableRows:
  """The biases of items, MASKED from row `used` on."""
  if isinstance(bias_N, TableRows):
    value_U = jnp.where(bias_N.row_U < used, bias_N.value_U, MASKED)
    return TableRows(bias_N.row_U, value_U, bias_N.num_rows)
  return jnp.where(jnp.arange(len(bias_N)) < used, bias_N, MASKED)
