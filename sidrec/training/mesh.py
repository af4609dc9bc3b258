"""Where arrays live: a device mesh, state replicated over it, batches spread over it."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

PyTree = Any


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """A mesh of shape ('data': number of devices, 'model': 1).

  Axes are Auto, not Explicit as `jax.make_mesh` has it by default: Flax Linen's
  `Embed` does not run on explicit axes.

  Args:
    devices: the devices to use; all devices of all processes if None.
  """
  count = jax.device_count() if devices is None else len(devices)
  return jax.make_mesh(
    (count, 1), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto), devices=devices
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of what every device holds in full: parameters, optimiser state."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, leading: int = 0) -> NamedSharding:
  """The sharding of a batch: its batch axis is spread over 'data'.

  Args:
    mesh: from `make_mesh`.
    leading: how many axes stand before the batch axis; 1 where several steps
      are stacked in axis 0.
  """
  return NamedSharding(mesh, PartitionSpec(*[None] * leading, "data"))


def to_global(mesh: Mesh, batch: PyTree, leading: int = 0) -> PyTree:
  """Global arrays from the part of the batch that each process holds.

  Args:
    mesh: from `make_mesh`.
    batch: pytree of numpy arrays, each [*leading axes, this process's share of B, …].
    leading: as in `batch_sharding`.

  Returns:
    The same pytree of `jax.Array`s [*leading axes, B, …]. The processes' shares
    follow each other in the order of the mesh's devices, which is process order.
  """
  sharding = batch_sharding(mesh, leading)
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def check_batch_size(mesh: Mesh, batch_size: int) -> None:
  """Raises ValueError, naming the nearest sizes that work, if devices cannot share a batch evenly.

  Args:
    mesh: from `make_mesh`.
    batch_size: B, over all processes.
  """
  devices = mesh.shape["data"]
  if batch_size > 0 and batch_size % devices == 0:
    return
  below = max(batch_size, 0) // devices * devices
  nearest = f"{below} or {below + devices}" if below else f"{devices}"
  raise ValueError(
    f"batch size {batch_size} cannot be spread evenly over {devices} devices; use {nearest}"
  )
