"""The state of a training (`TrainState`), and one optimiser step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

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
  average: PyTree  # exponential moving average of params but lazy tables, () where not kept
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
    average=jax.tree.map(jnp.array, averaged_part(task, params)) if averaged else (),
    key=train_key,
  )


def averaged_part(task: Task, params: PyTree) -> PyTree:
  """The parameters of which an average may be kept: all but those of lazy tables."""
  if task.lazy is None:
    return params
  return {name: part for name, part in params.items() if name not in task.lazy.names}


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
    params, opt_state = step_rows.take(params, opt_state)
    read = _reading_rows(task, step_rows)
  loss, aux, metrics, grads = gradient(read, params, state.aux, batch, loss_key, accumulate, mesh)
  updates, opt_state = optimizer.update(grads, opt_state, params)
  params = optax.apply_updates(params, updates)
  if step_rows is not None:
    params, opt_state = step_rows.put(state.params, state.opt_state, params, opt_state)
  if task.amend is not None:
    params, aux = task.amend(params, aux, batch, amend_key)
  average = state.average
  if average != ():
    # A smaller decay at first, so that the random start soon has no weight.
    decay = jnp.minimum(average_decay, (1.0 + state.step) / (10.0 + state.step))
    average = optax.incremental_update(averaged_part(task, params), average, 1.0 - decay)
  metrics = {"loss": loss, "grad_norm": optax.global_norm(grads), **metrics}
  if task.tokens is not None:
    metrics["tokens"] = task.tokens(batch)
  return TrainState(state.step + 1, params, aux, opt_state, average, state.key), metrics


def _reading_rows(task: Task, step_rows: StepRows) -> Task:
  """The task whose parameters have some rows in place of lazy tables."""

  def loss(params, aux, batch, key):
    return task.loss(step_rows.as_tables(params), aux, batch, key)

  return task._replace(loss=loss)
