"""What is trained (`Task`) and what training carries along (`TrainState`)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PyTree = Any


class Task(NamedTuple):
  """A thing to train, as pure functions.

  Attributes:
    init: key → (params, aux). `aux` is what training updates without gradients
      (codebook statistics, say); an empty tuple where there is none.
    loss: (params, aux, batch, key) → (scalar loss, (aux, metrics)); metrics is a
      dict of scalars. Differentiated with respect to params.
    amend: (params, aux, batch, key) → (params, aux), run after each optimiser
      update (to revive dead codes, say); None where there is nothing to do.
  """

  init: Callable[[jax.Array], tuple[PyTree, PyTree]]
  loss: Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[jax.Array, tuple[PyTree, dict]]]
  amend: Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, PyTree]] | None = None


class TrainState(NamedTuple):
  """Holds everything that a resumed run needs."""

  step: jax.Array  # int32 scalar, optimiser updates done
  params: PyTree
  aux: PyTree
  opt_state: optax.OptState
  average: PyTree  # exponential moving average of params, () where not kept
  key: jax.Array  # never split: step k uses fold_in(key, k)


def init_state(
  task: Task, optimizer: optax.GradientTransformation, key: jax.Array, averaged: bool = False
) -> TrainState:
  """The state before the first step."""
  params_key, train_key = jax.random.split(key)
  params, aux = task.init(params_key)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    aux=aux,
    opt_state=optimizer.init(params),
    average=jax.tree.map(jnp.array, params) if averaged else (),
    key=train_key,
  )


def update(
  task: Task,
  optimizer: optax.GradientTransformation,
  state: TrainState,
  batch: PyTree,
  average_decay: float = 0.0,
) -> tuple[TrainState, dict]:
  """One optimiser step. Returns the next state and the step's scalar metrics."""
  loss_key, amend_key = jax.random.split(jax.random.fold_in(state.key, state.step))
  grad_fn = jax.value_and_grad(task.loss, has_aux=True)
  (loss, (aux, metrics)), grads = grad_fn(state.params, state.aux, batch, loss_key)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  if task.amend is not None:
    params, aux = task.amend(params, aux, batch, amend_key)
  average = state.average
  if average != ():
    # A short memory at first, so that the random start is forgotten soon.
    decay = jnp.minimum(average_decay, (1.0 + state.step) / (10.0 + state.step))
    average = optax.incremental_update(params, average, 1.0 - decay)
  metrics = {"loss": loss, "grad_norm": optax.global_norm(grads), **metrics}
  return TrainState(state.step + 1, params, aux, opt_state, average, state.key), metrics
