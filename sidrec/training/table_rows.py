"""Lazy tables: a step reads and changes the rows that its batch needs, and no others.

A batch needs a few thousand rows of a table by item, however many items there are. So the loss gets
these rows alone, as `TableRows`, and the optimiser runs on them and on their moments. Of Adam that
makes what TensorFlow Addons called LazyAdam: the moments of a row, and its numbers by weight decay,
change in steps that read the row only. A table of N rows then costs memory, but no time.

Here U counts the rows that a batch needs.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PyTree = Any


class LazyTables(NamedTuple):
  """Which tables are lazy, and what a batch needs of them."""

  names: tuple[str, ...]  # of entries of the parameters, which have a row for each item
  rows_of: Callable[[PyTree, jax.Array], jax.Array]  # (batch, key) → int32 [U], of `distinct`


@jax.tree_util.register_pytree_node_class
class TableRows:
  """Some rows of a table. For these it answers as the table does: `rows[item]`, `len(rows)`.

  Any other row is NaN, so that the loss of a batch that needs it is, too, and training stops.

  Attributes:
    row_U: int32, ascending; `num_rows` where there is none.
    value_U: the rows [U, …].
    num_rows: of the table.
  """

  def __init__(self, row_U: jax.Array, value_U: jax.Array, num_rows: int):  # noqa: D107
    self.row_U, self.value_U, self.num_rows = row_U, value_U, num_rows

  def __len__(self) -> int:
    """The number of the table's rows."""
    return self.num_rows

  def __getitem__(self, row: jax.Array) -> jax.Array:
    """The table's rows, int32 [...]: [..., …]."""
    place = jnp.minimum(jnp.searchsorted(self.row_U, row), len(self.row_U) - 1)
    is_here, value = self.row_U[place] == row, self.value_U[place]
    return jnp.where(is_here.reshape(*row.shape, *[1] * (value.ndim - row.ndim)), value, jnp.nan)

  def tree_flatten(self) -> tuple[tuple, int]:
    """The arrays, and the number of rows."""
    return (self.row_U, self.value_U), self.num_rows

  @classmethod
  def tree_unflatten(cls, num_rows: int, arrays: tuple) -> "TableRows":
    """What `tree_flatten` took apart."""
    row_U, value_U = arrays
    return cls(row_U, value_U, num_rows)


def distinct(rows: Sequence[jax.Array], num_rows: int) -> jax.Array:
  """Each of the rows once: int32 [U], ascending, filled up with `num_rows`.

  Args:
    rows: int32, of any shapes. Below 0 there is none: a model looks up row 0 there, which is
      always among them.
    num_rows: of the table.
  """
  row_U = jnp.concatenate([jnp.zeros(1, jnp.int32), *(x.ravel() for x in rows)])
  return jnp.unique(jnp.maximum(row_U, 0), size=len(row_U), fill_value=num_rows)


class StepRows(NamedTuple):
  """A step's rows of lazy tables, taken from parameters and the optimiser's state and put back."""

  row_U: jax.Array
  num_rows: dict[str, int]  # of each table
  is_param: PyTree  # bool, which parameters are lazy tables
  is_state: PyTree  # which parts of the optimiser's state are theirs

  @classmethod
  def of(
    cls,
    tables: LazyTables,
    optimizer: optax.GradientTransformation,
    params: PyTree,
    opt_state: optax.OptState,
    row_U: jax.Array,
  ) -> "StepRows":
    """The rows of these parameters, and of this state of the optimiser."""
    is_param = {
      name: jax.tree.map(lambda _, lazy=name in tables.names: lazy, part)
      for name, part in params.items()
    }
    is_state = optax.tree_utils.tree_map_params(
      optimizer.init,
      lambda _, lazy: lazy,
      opt_state,
      is_param,
      transform_non_params=lambda _: False,
    )
    return cls(row_U, {name: len(params[name]) for name in tables.names}, is_param, is_state)

  def take(self, params: PyTree) -> PyTree:
    """The parameters, or what has their structure, with [U, …] in place of each table."""
    return jax.tree.map(self._rows, params, self.is_param)

  def take_state(self, opt_state: optax.OptState) -> optax.OptState:
    """The optimiser's state with [U, …] in place of what belongs to a table."""
    return jax.tree.map(self._rows, opt_state, self.is_state)

  def put(self, params: PyTree, new: PyTree) -> PyTree:
    """What `take` made, changed, with the whole tables again; their other rows are as before."""
    return jax.tree.map(self._whole, params, new, self.is_param)

  def put_state(self, opt_state: optax.OptState, new: optax.OptState) -> optax.OptState:
    """The same for what `take_state` made."""
    return jax.tree.map(self._whole, opt_state, new, self.is_state)

  def _rows(self, whole: jax.Array, lazy: bool) -> jax.Array:
    return whole.at[self.row_U].get(mode="clip") if lazy else whole

  def _whole(self, before: jax.Array, new: jax.Array, lazy: bool) -> jax.Array:
    if not lazy:
      return new
    return before.at[self.row_U].set(new, mode="drop", indices_are_sorted=True)

  def as_tables(self, params: PyTree) -> PyTree:
    """What a loss reads: parameters of `take`, with `TableRows`."""
    tables = {
      name: TableRows(self.row_U, params[name], count) for name, count in self.num_rows.items()
    }
    return {**params, **tables}
