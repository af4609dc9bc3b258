"""The gradient of a batch: in one pass, in micro-batches, and over many devices.

Where a loss is a mean over independent targets, each device sums over its own rows, and one
reduction adds up the sums of all devices as one vector. Some backends would run a collective for
each array of a tuple (Gloo does).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sidrec.training.task import Task

PyTree = Any


def gradient(
  task: Task,
  params: PyTree,
  aux: PyTree,
  batch: PyTree,
  key: jax.Array,
  accumulate: int = 1,
  mesh: Mesh | None = None,
) -> tuple[jax.Array, PyTree, dict, PyTree]:
  """Loss, aux, metrics and gradient of a batch, in one pass or in several.

  The means over micro-batches, and over devices, are weighted by `task.weight`, so that they equal
  those of the whole batch, up to rounding. Each micro-batch draws its own dropout; `aux` goes from
  one to the next.

  Args:
    task: what is trained.
    params: what to differentiate with respect to.
    aux: see `Task`.
    batch: pytree of arrays [B, …].
    key: of dropout.
    accumulate: micro-batches, static; a divisor of B, and of each device's share of it.
    mesh: the batch is spread over its axis 'data'; None for one device.
  """
  if mesh is not None and _is_separable(task, aux, mesh):
    return _over_devices(task, params, batch, key, accumulate, mesh)
  if accumulate == 1:
    (loss, (aux, metrics)), grads = jax.value_and_grad(task.loss, has_aux=True)(
      params, aux, batch, key
    )
    return loss, aux, metrics, grads
  return _means(*_weighted_sums(task, params, aux, batch, key, accumulate))


def _is_separable(task: Task, aux: PyTree, mesh: Mesh) -> bool:
  """Whether each device can compute the gradient of its own rows."""
  independent = task.weight is not None and not jax.tree.leaves(aux)
  # Of parameters that are cut over 'model', no device holds a whole vector.
  return independent and mesh.shape["model"] == 1 and mesh.shape["data"] > 1


def _over_devices(task, params, batch, key, accumulate, mesh):
  """Each device takes its own rows; then one sum over all devices."""
  devices = mesh.shape["data"]
  parts = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
  sums = jax.vmap(lambda part: _weighted_sums(task, params, (), part, key, accumulate)[:2])(parts)
  flat_vectors = jax.vmap(lambda tree: ravel_pytree(tree)[0])(sums)
  spread = NamedSharding(mesh, PartitionSpec("data"))
  flat_sum = jax.lax.with_sharding_constraint(flat_vectors, spread).sum(axis=0)
  _, unravel = ravel_pytree(jax.tree.map(lambda x: x[0], sums))
  total, sums = unravel(flat_sum)
  return _means(total, sums, ())


def _weighted_sums(task, params, aux, batch, key, accumulate):
  """Total weight, weighted sums of (loss, metrics, gradient), and aux."""
  grad_fn = jax.value_and_grad(task.loss, has_aux=True)

  def weighted(aux, micro, key):
    (loss, (aux, metrics)), grads = grad_fn(params, aux, micro, key)
    weight = jnp.float32(1.0) if task.weight is None else task.weight(micro).astype(jnp.float32)
    return weight, jax.tree.map(lambda x: weight * x, (loss, metrics, grads)), aux

  if accumulate == 1:
    return weighted(aux, batch, key)

  def add(carry: tuple, part: tuple) -> tuple[tuple, None]:
    total, sums, aux = carry
    index, micro = part
    weight, more, aux = weighted(aux, micro, jax.random.fold_in(key, index))
    return (total + weight, jax.tree.map(jnp.add, sums, more), aux), None

  def split(x: jax.Array) -> jax.Array:
    # Every accumulate-th example, so that each micro-batch is spread over all devices already.
    return jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0)

  parts = (jnp.arange(accumulate), jax.tree.map(split, batch))
  first = jax.tree.map(lambda x: x[0], parts[1])
  shapes = jax.eval_shape(weighted, aux, first, key)[:2]
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), shapes)
  carry, _ = jax.lax.scan(add, (*zeros, aux), parts)
  return carry


def _means(total, sums, aux):
  # Without any target, all sums are zero already.
  loss, metrics, grads = jax.tree.map(lambda x: x / jnp.where(total > 0, total, 1.0), sums)
  return loss, aux, metrics, grads
