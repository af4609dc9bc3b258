"""Rows of tables that stand for whole ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sidrec.training.optimizer import adamw
from sidrec.training.state import init_state, kept_params, update
from sidrec.training.table_rows import LazyTables, TableRows, distinct
from sidrec.training.task import Task

TABLE_NxD = np.arange(40, dtype=np.float32).reshape(20, 2)


def rows_of(*items):
  row_U = distinct([jnp.asarray(items, jnp.int32)], 20)
  return TableRows(row_U, jnp.asarray(TABLE_NxD)[jnp.minimum(row_U, 19)], 20)


def test_distinct_rows_are_sorted_and_filled_up_and_row_0_is_one_of_them():
  row_U = distinct([jnp.array([[7, 3], [7, -1]]), jnp.array([19])], 20)
  assert row_U.dtype == jnp.int32
  assert row_U.tolist() == [0, 3, 7, 19, 20, 20]


def test_rows_answer_as_the_table_does():
  rows = rows_of(3, 19, 7)
  item_2x2 = jnp.array([[7, 3], [19, 0]])
  np.testing.assert_array_equal(rows[item_2x2], TABLE_NxD[np.asarray(item_2x2)])
  assert len(rows) == 20


def test_a_row_that_is_not_there_is_nan():
  rows = rows_of(3, 7)
  found = np.asarray(rows[jnp.array([3, 4, 8, 19])])
  assert np.isnan(found).all(axis=1).tolist() == [False, True, True, True]


def test_rows_of_numbers_answer_too():
  row_U = distinct([jnp.array([5])], 20)
  rows = TableRows(row_U, jnp.array([0.5, 2.5, 9.0])[: len(row_U)], 20)
  np.testing.assert_array_equal(rows[jnp.array([5, 0])], [2.5, 0.5])


def squares(lazy, num_rows=6):
  """Learns rows of a table, and an offset, by the squares of their sums with a batch's numbers."""

  def init(key):
    del key
    table = jnp.arange(num_rows, dtype=jnp.float32)[:, None] + jnp.ones((num_rows, 3))
    return {"table": table, "offset": jnp.ones((2, 3))}, ()

  def loss(params, aux, batch, key):
    del key
    value = params["table"][batch["row_B"]] + params["offset"][:1] - batch["goal_B"][:, None]
    return (value**2).mean(), (aux, {})

  tables = LazyTables(("table",), lambda batch, key: distinct([batch["row_B"]], num_rows))
  return Task(init, loss, lazy=tables if lazy else None)


def steps(task, batches, weight_decay=0.0):
  optimizer = adamw(0.1, 0, 100, weight_decay, 1.0)
  state = init_state(task, optimizer, jax.random.key(0))
  states = [state]
  for row, goal in batches:
    batch = {"row_B": jnp.array(row), "goal_B": jnp.array(goal)}
    state, metrics = update(task, optimizer, state, batch, 0.9)
    states.append(state)
  return states, metrics


def moments(state):
  return next(x for x in jax.tree.leaves(state.opt_state, is_leaf=has_moments) if has_moments(x))


def has_moments(x):
  return hasattr(x, "mu")


def test_a_lazy_step_is_that_of_adam_from_the_start():
  batches = [([4, 1, 4], [0.0, 3.0, 1.0])]
  lazy, lazy_metrics = steps(squares(True), batches)
  whole, whole_metrics = steps(squares(False), batches)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6),
    (lazy[-1].params, lazy[-1].opt_state),
    (whole[-1].params, whole[-1].opt_state),
  )
  assert float(lazy_metrics["grad_norm"]) == pytest.approx(float(whole_metrics["grad_norm"]))


def test_other_rows_and_their_moments_stay_as_they_are_to_the_bit():
  batches = [([4, 1], [0.0, 3.0]), ([2, 0], [5.0, 5.0]), ([2, 2], [1.0, 7.0])]
  states, _ = steps(squares(True), batches, weight_decay=0.5)
  rows = {1: [0, 1, 4], 2: [0, 2], 3: [0, 2]}  # that a step may change; row 0 is always read
  for step, may in rows.items():
    others = np.setdiff1d(np.arange(6), may)
    pairs = [(s.params, moments(s).mu, moments(s).nu) for s in (states[step - 1], states[step])]
    for before, after in zip(*pairs, strict=True):
      np.testing.assert_array_equal(before["table"][others], after["table"][others])
      assert (np.asarray(before["table"]) != np.asarray(after["table"]))[may[-1]].any()


def test_steps_that_read_all_rows_are_those_of_adam():
  batches = [(list(range(6)), [float(i)] * 6) for i in range(5)]
  lazy, _ = steps(squares(True), batches, weight_decay=0.1)
  whole, _ = steps(squares(False), batches, weight_decay=0.1)
  np.testing.assert_allclose(lazy[-1].params["table"], whole[-1].params["table"], rtol=1e-5)
  np.testing.assert_allclose(lazy[-1].params["offset"], whole[-1].params["offset"], rtol=1e-5)


@pytest.mark.parametrize("largest", [0.05, 0.5, 0.9, 0.999])
def test_the_average_is_that_of_all_steps(largest):
  """Rows are read in some steps only, long rests and none at all included."""
  rng = np.random.default_rng(0)
  batches = [(rng.integers(1, 4, 2).tolist(), [0.0, 3.0]) for _ in range(25)]
  task, optimizer = squares(True), adamw(0.1, 0, 100, 0.0, 1.0)
  state = init_state(task, optimizer, jax.random.key(0), averaged=True)
  expected = jax.tree.map(np.asarray, state.params)
  for step, (row, goal) in enumerate(batches):
    batch = {"row_B": jnp.array(row), "goal_B": jnp.array(goal)}
    state, _ = update(task, optimizer, state, batch, largest)
    decay = min(largest, (1 + step) / (10 + step))
    expected = jax.tree.map(
      lambda mean, value, d=decay: d * mean + (1 - d) * np.asarray(value), expected, state.params
    )
    kept = kept_params(task, state, largest)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), kept, expected)
