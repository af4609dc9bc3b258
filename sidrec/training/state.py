"""The state of a training (`TrainState`), and one optimiser step."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sidrec.training.averages import LazyAverage, decay_at, made_up
from sidrec.training.gradient import gradient
from sidrec.training.table_rows import StepRows
from sidrec.training.task import Task

PyTree = Any


class TrainState(NamedTuple):
  """Holds everything that a resumed run needs."""

  step: jax.Array  # int32 scalar, optimiser updates done
  params: PyTree
  aux: PyTree
  opt_state: optax.OptState
  average: PyTree  # exponential moving average of params, or `LazyAverage`; () where not kept
  key: jax.Array  # never split: step k uses fold_in(key, k)


def init_state(
  task: Task, optimizer: optax.GradientTransformation, key: jax.Array, *, averaged: bool = False
) -> TrainState:
  """The state before the first step."""
  params_key, train_key = jax.random.split(key)
  params, aux = task.init(params_key)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    aux=aux,
    opt_state=optimizer.init(params),
    average=_first_average(task, params) if averaged else (),
    key=train_key,
  )


def _first_average(task: Task, params: PyTree) -> PyTree:
  average = jax.tree.map(jnp.array, params)
  if task.lazy is None:
    return average
  return LazyAverage(average, jnp.zeros(len(params[task.lazy.names[0]]), jnp.int32))


def kept_params(task: Task, state: TrainState, average_decay: float) -> PyTree:
  """The parameters that are validated and kept: their average, where there is one.

  Args:
    task: what is trained.
    state: after any step.
    average_decay: that `update` was called with.
  """
  if state.average == ():
    return state.params
  if task.lazy is None:
    return state.average
  return _averaged_now(task.lazy.names, average_decay, state.average, state.params, state.step)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _averaged_now(
  names: tuple[str, ...], decay: float, average: LazyAverage, params: PyTree, step: jax.Array
) -> PyTree:
  tables = {
    name: made_up(average.params[name], params[name], average.until_N, step, decay)
    for name in names
  }
  return {**average.params, **tables}


def update(
  task: Task,
  optimizer: optax.GradientTransformation,
  state: TrainState,
  batch: PyTree,
  average_decay: float = 0.0,
  accumulate: int = 1,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[TrainState, dict]:
  """One optimiser step.

  Args:
    task: what is trained.
    optimizer: an optax transformation.
    state: before the step.
    batch: pytree of arrays [B, …].
    average_decay: of the moving average of parameters.
    accumulate: micro-batches that the gradient is computed in, one after another; static.
    mesh: the batch is spread over its devices; None for one device.

  Returns:
    The next state and the step's scalar metrics.
  """
  loss_key, amend_key = jax.random.split(jax.random.fold_in(state.key, state.step))
  params, opt_state, read, step_rows = state.params, state.opt_state, task, None
  if task.lazy is not None:
    row_U = task.lazy.rows_of(batch, loss_key)
    step_rows = StepRows.of(task.lazy, optimizer, params, opt_state, row_U)
    params, opt_state = step_rows.take(params), step_rows.take_state(opt_state)
    read = _reading_rows(task, step_rows)
  loss, aux, metrics, grads = gradient(read, params, state.aux, batch, loss_key, accumulate, mesh)
  updates, opt_state = optimizer.update(grads, opt_state, params)
  average, before = state.average, params
  params = optax.apply_updates(params, updates)
  if step_rows is not None:
    if average != ():
      average = _lazily_averaged(step_rows, average, before, params, state.step, average_decay)
    params = step_rows.put(state.params, params)
    opt_state = step_rows.put_state(state.opt_state, opt_state)
  if task.amend is not None:
    params, aux = task.amend(params, aux, batch, amend_key)
  if average != () and step_rows is None:
    decay = decay_at(state.step, average_decay)
    average = optax.incremental_update(params, average, 1.0 - decay)
  metrics = {"loss": loss, "grad_norm": optax.global_norm(grads), **metrics}
  if task.tokens is not None:
    metrics["tokens"] = task.tokens(batch)
  return TrainState(state.step + 1, params, aux, opt_state, average, state.key), metrics


def _lazily_averaged(
  rows: StepRows,
  average: LazyAverage,
  before: PyTree,
  params: PyTree,
  step: jax.Array,
  largest: float,
) -> LazyAverage:
  """The average after a step, from parameters of `StepRows.take`, before and after it."""
  until_U = average.until_N.at[rows.row_U].get(mode="clip")
  known = rows.take(average.params)

  def now(mean: jax.Array, value: jax.Array, lazy: bool) -> jax.Array:
    return made_up(mean, value, until_U, step, largest) if lazy else mean

  known = jax.tree.map(now, known, before, rows.is_param)
  known = optax.incremental_update(params, known, 1.0 - decay_at(step, largest))
  until_N = average.until_N.at[rows.row_U].set(step + 1, mode="drop")
  return LazyAverage(rows.put(average.params, known), until_N)


def _reading_rows(task: Task, step_rows: StepRows) -> Task:
  """The task whose parameters have some rows in place of lazy tables."""

  def loss(params, aux, batch, key):
    return task.loss(step_rows.as_tables(params), aux, batch, key)

  return task._replace(loss=loss)
