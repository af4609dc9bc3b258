"""Where arrays live: a (data, model) device mesh, and the shardings of parameters and batches.

Batches are split over the axis 'data'; every device along it has all parameters. Along 'model',
`RULES` split the large parameters. Their copies in the state (moments of the optimiser, moving
averages) are split in the same way, because their paths end with the same names. XLA's partitioner
gathers and reduces where a computation needs it (fully sharded data parallelism:
Rajbhandari et al., 2020, arXiv:1910.02054; Xu et al., 2021, arXiv:2105.04663).
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

PyTree = Any

# End of a leaf's path → axes that may be split, the best one first; the first that divides evenly
# is. A leaf without a rule, or without an axis that divides, is replicated.
RULES: tuple[tuple[str, tuple[int, ...]], ...] = (
  (r"(^|/)(item|node|user)$", (0, 1)),  # tables [rows, D]
  (r"(^|/)(item|node)_bias$", (0,)),  # [rows]
  (r"(^|/)code$", (1, 2)),  # [L, V, D]
  (r"(^|/)out$", (2, 1)),  # [L, D, V]
  (r"(^|/)codebooks_LxVxD$", (1, 2)),  # of an RQ-VAE
  (r"(^|/)feed/up/kernel$", (1, 0)),  # [D, hidden width]
  (r"(^|/)feed/down/kernel$", (0, 1)),  # [hidden width, D]
)


def make_mesh(devices: Sequence[jax.Device] | None = None, model: int = 1) -> Mesh:
  """A mesh of shape ('data': number of devices / model, 'model': model).

  Axes are Auto, not Explicit as by default in `jax.make_mesh`, because Flax Linen's `Embed` does
  not run on explicit axes. Devices are in the order of processes, whatever `model` is and however
  they are connected, so that the global batch does not depend on the processes, and neighbours
  along 'model' share a process where they can.

  Args:
    devices: the devices to use, in this order; all devices of all processes if None.
    model: over how many devices large parameters are split, `config.mesh.model`.

  Raises:
    ValueError: if the number of devices is not a multiple of `model`.
  """
  if devices is None:
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
  count = len(devices)
  if model < 1 or count % model:
    raise ValueError(
      f"mesh.model is {model}, but {count} device(s) are there; give a divisor of {count}"
    )
  return Mesh(
    np.array(devices).reshape(count // model, model),
    ("data", "model"),
    axis_types=(AxisType.Auto, AxisType.Auto),
  )


def one_device() -> Mesh:
  """A mesh of one device of this process.

  What every process computes on its own one depends on no number of devices or processes, because
  nothing is added up between them.
  """
  return make_mesh(jax.local_devices()[:1])


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of arrays that every device holds in full."""
  return NamedSharding(mesh, PartitionSpec())


def state_shardings(mesh: Mesh, tree: PyTree) -> PyTree:
  """The shardings of a state, or of parameters, by `RULES`: a pytree of NamedSharding.

  Args:
    mesh: from `make_mesh`.
    tree: arrays or `jax.ShapeDtypeStruct`s.
  """

  def leaf(path: Any, x: Any) -> NamedSharding:
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return NamedSharding(mesh, spec_of(name, x.shape, mesh.shape["model"]))

  return jax.tree.map_with_path(leaf, tree)


def spec_of(name: str, shape: Sequence[int], parts: int) -> PartitionSpec:
  """Which axis of a leaf `RULES` split over 'model'.

  Args:
    name: the leaf's path, with / between names: 'opt_state/1/0/mu/encoder_0/feed/up/kernel'.
    shape: of the leaf.
    parts: devices along 'model'.
  """
  if parts > 1:
    for pattern, axes in RULES:
      if re.search(pattern, name):
        for axis in axes:
          if axis < len(shape) and shape[axis] % parts == 0:
            return PartitionSpec(*[None] * axis, "model")
  return PartitionSpec()


def with_shardings(mesh: Mesh, tree: PyTree) -> PyTree:
  """`jax.ShapeDtypeStruct`s of a state, with the shardings of its leaves."""
  return jax.tree.map(
    lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    tree,
    state_shardings(mesh, tree),
  )


def batch_sharding(mesh: Mesh, leading: int = 0) -> NamedSharding:
  """The sharding of a batch, split over 'data' along its batch axis.

  Args:
    mesh: from `make_mesh`.
    leading: number of axes before the batch axis; 1 where several steps are stacked in axis 0.
  """
  return NamedSharding(mesh, PartitionSpec(*[None] * leading, "data"))


def batch_share(mesh: Mesh) -> tuple[int, int]:
  """Which share of a batch this process reads, of how many: (index, count).

  Usually the process and the number of processes. Processes at the same place along 'data', with
  different parts of 'model', read the same share.

  Raises:
    ValueError: if processes share some of their places along 'data', or have unequal numbers.
  """
  processes = np.vectorize(lambda device: device.process_index)(mesh.devices)
  here = (processes == jax.process_index()).any(axis=1)
  size, devices = int(here.sum()), mesh.shape["data"]
  first = int(here.argmax())
  alike = (
    (here == there).all() or not (here & there).any()
    for there in ((processes == process).any(axis=1) for process in np.unique(processes))
  )
  if not all(alike):
    raise ValueError(
      f"mesh.model = {mesh.shape['model']} splits the devices of a process; give a divisor or a "
      "multiple of the number of devices of a process"
    )
  if not size or first % size or devices % size or not here[first : first + size].all():
    raise ValueError("the devices of a process must be equally many, and neighbours, in the mesh")
  return first // size, devices // size


def to_global(mesh: Mesh, batch: PyTree, leading: int = 0) -> PyTree:
  """Global arrays from each process's share of the batch.

  Args:
    mesh: from `make_mesh`.
    batch: pytree of numpy arrays, each [*leading axes, this process's share of B, …].
    leading: as in `batch_sharding`.

  Returns:
    The same pytree of `jax.Array`s [*leading axes, B, …], with the shares in process order.
  """
  sharding = batch_sharding(mesh, leading)
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def on_all_devices(mesh: Mesh, tree: PyTree) -> PyTree:
  """Arrays that every process has, in full on each device."""
  sharding = replicated(mesh)

  def put(x: Any) -> jax.Array:
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

  return jax.tree.map(put, tree)


def on_own_rows(mesh: Mesh, compute: Callable[[Any, PyTree], PyTree]) -> Callable[..., PyTree]:
  """Compiles a function of a batch whose rows do not depend on each other.

  Each device computes its own rows and waits for no other one: loops end when their own rows are
  done. XLA's partitioner, left to itself, gathers the whole batch wherever it cannot split an
  operation (on CPUs `top_k`), inside loops too; devices that reach two such loops in different
  orders then wait for each other forever.

  Args:
    mesh: from `make_mesh`. Parameters may be split along 'model'.
    compute: (what all rows share, batch) → results; two pytrees, the second one [B, …], and so are
      the results. It sees B / devices along 'data' of the rows.

  Returns:
    The same for whole batches, spread or not, with whole results on every device.
  """
  rows = PartitionSpec("data")
  spread = jax.shard_map(
    compute,
    mesh=mesh,
    in_specs=(PartitionSpec(), rows),
    out_specs=rows,
    axis_names={"data"},
    check_vma=False,  # loops start from constants, which are the same everywhere
  )
  return jax.jit(spread, out_shardings=replicated(mesh))


def own_key(mesh: Mesh, key: jax.Array) -> jax.Array:
  """Inside `on_own_rows`: a key that differs from device to device; of one device, the key."""
  return key if mesh.shape["data"] == 1 else jax.random.fold_in(key, jax.lax.axis_index("data"))


def rows_for(mesh: Mesh, batch_size: int, accumulate: int = 1) -> int:
  """The least number of rows from B on that devices can share evenly.

  Args:
    mesh: from `make_mesh`.
    batch_size: B, over all processes.
    accumulate: number of micro-batches in it.

  Raises:
    ValueError: for a batch of nothing.
  """
  if batch_size < 1:
    raise ValueError(f"batch size {batch_size} is no batch; give at least 1")
  unit = mesh.shape["data"] * accumulate
  return -(-batch_size // unit) * unit


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
