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
    weight: batch → scalar, the number of targets that the loss is a mean over: what a
      micro-batch counts beside others. None where that is the number of its examples.
    tokens: batch → scalar, its real history positions, for the meter; None where it has none.
  """

  init: Callable[[jax.Array], tuple[PyTree, PyTree]]
  loss: Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[jax.Array, tuple[PyTree, dict]]]
  amend: Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, PyTree]] | None = None
  weight: Callable[[PyTree], jax.Array] | None = None
  tokens: Callable[[PyTree], jax.Array] | None = None


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
  accumulate: int = 1,
) -> tuple[TrainState, dict]:
  """One optimiser step.

  Args:
    task: what is trained.
    optimizer: an optax transformation.
    state: before the step.
    batch: pytree of arrays [B, …].
    average_decay: of the moving average of parameters.
    accumulate: micro-batches that the gradient is computed in, one after another; static.

  Returns:
    The next state and the step's scalar metrics.
  """
  loss_key, amend_key = jax.random.split(jax.random.fold_in(state.key, state.step))
  loss, aux, metrics, grads = gradient(task, state.params, state.aux, batch, loss_key, accumulate)
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
  if task.tokens is not None:
    metrics["tokens"] = task.tokens(batch)
  return TrainState(state.step + 1, params, aux, opt_state, average, state.key), metrics


def gradient(
  task: Task, params: PyTree, aux: PyTree, batch: PyTree, key: jax.Array, accumulate: int = 1
) -> tuple[jax.Array, PyTree, dict, PyTree]:
  """Loss, aux, metrics and gradient of a batch, in one pass or in several.

  The means over micro-batches count each by `task.weight`, so that they are those of the whole
  batch, up to rounding. Each micro-batch draws its own dropout; `aux` goes from one to the next.
  Devices reduce the gradient of each micro-batch: what is saved is memory, not network.
  """
  grad_fn = jax.value_and_grad(task.loss, has_aux=True)
  if accumulate == 1:
    (loss, (aux, metrics)), grads = grad_fn(params, aux, batch, key)
    return loss, aux, metrics, grads

  # Every accumulate-th example, so that each micro-batch is spread over all devices as it lies.
  split = lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0)

  def add(carry: tuple, part: tuple) -> tuple[tuple, None]:
    total, sums, aux = carry
    index, micro = part
    (loss, (aux, metrics)), grads = grad_fn(params, aux, micro, jax.random.fold_in(key, index))
    weight = jnp.float32(1.0) if task.weight is None else task.weight(micro).astype(jnp.float32)
    sums = jax.tree.map(lambda sum_, x: sum_ + weight * x, sums, (loss, metrics, grads))
    return (total + weight, sums, aux), None

  parts = (jnp.arange(accumulate), jax.tree.map(split, batch))
  first = jax.tree.map(lambda x: x[0], parts[1])
  (loss, (_, metrics)), grads = jax.eval_shape(grad_fn, params, aux, first, key)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), (loss, metrics, grads))
  (total, sums, aux), _ = jax.lax.scan(add, (jnp.float32(0.0), zeros, aux), parts)
  # Without any target, all is zero already.
  loss, metrics, grads = jax.tree.map(lambda x: x / jnp.where(total > 0, total, 1.0), sums)
  return loss, aux, metrics, grads
