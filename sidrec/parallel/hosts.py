"""Several processes as one program: how they start, share results and end.

The processes are JAX's (one a host, or one a GPU): each runs the same command, computes on all
devices together, and reads and writes one work directory. Process 0, the primary host, prints,
logs and writes everything but checkpoints. A process that fails ends the others, too: it leaves
its message for them in the key-value store of JAX's coordination service.
"""

import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from sidrec.parallel import coordination
from sidrec.parallel import mesh as mesh_lib
from sidrec.parallel.cluster import Cluster, configured_cluster, detected_cluster

_ENDED = "sidrec/ended"  # key: how the first process that failed ended
_SECONDS_TO_END = 10  # that a process waits for others to read the message, or for its threads
_MADE = itertools.count()  # numbers what the primary host makes; equal in all processes
_ENDING = threading.Lock()


def start(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  start_timeout: int = 300,
  heartbeat_timeout: int = 100,
) -> None:
  """Joins the other processes, if there are any; to be called before any device is touched.

  The cluster is the one of the arguments, or of environment variables (see `configured_cluster`),
  or else what a TPU VM, GKE, SLURM or Open MPI offer JAX; without any, nothing is done. Processes
  that cannot join end with a message: one run never becomes several.

  Args:
    coordinator: host:port of process 0, any free port of its host.
    num_processes: how many there are.
    process_id: of this one, from 0.
    start_timeout: seconds to wait for the others, before this process ends with a message.
    heartbeat_timeout: seconds after which a silent process counts as lost, and all end.

  Raises:
    ValueError: for arguments that are incomplete or contradict each other.
  """
  cluster = configured_cluster(coordinator, num_processes, process_id, os.environ)
  detected = "" if cluster else detected_cluster(os.environ)
  if not detected and (cluster is None or cluster.num_processes == 1):
    return
  who, where = f"a process of {detected}", ""
  if cluster:
    who = f"process {cluster.process_id} of {cluster.num_processes}"
    where = f" at {cluster.coordinator}"
  try:
    with _limited_wait(start_timeout, who, where):
      # JAX's own end of the wait is an abort with a stack trace: ours has to come first.
      _join(cluster, start_timeout + 60, heartbeat_timeout)
  except (RuntimeError, ValueError, OSError) as error:
    if detected == "a TPU VM" and "coordinator_address should be defined" in str(error):
      return  # a single host, without a service that knows of others
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    end(f"sidrec: {who} could not join the others{where}: {reason}")
  if not is_primary():
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
  threading.Thread(target=_listen, daemon=True).start()


@contextlib.contextmanager
def _limited_wait(seconds: int, who: str, where: str) -> Iterator[None]:
  """Ends the process with a message if the block takes longer."""

  def give_up() -> None:
    print(
      f"sidrec: {who} waited {seconds} seconds for the others{where}; start all of them with the "
      "same coordinator and number of processes, each with an id of its own, or wait longer with "
      "--start_timeout",
      file=sys.stderr,
      flush=True,
    )
    os._exit(1)

  timer = threading.Timer(seconds, give_up)
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def _join(cluster: Cluster | None, start_timeout: int, heartbeat_timeout: int) -> None:
  """Starts JAX's coordination, and returns when all processes are here."""
  coordination.check()
  if cluster and cluster.process_id == 0:
    _check_port(cluster.coordinator)
  # JAX would handle SIGTERM itself, in training only; `preemption` does.
  jax.config.update("jax_enable_preemption_service", False)
  coordinator, num_processes, process_id = cluster or (None, None, None)
  jax.distributed.initialize(
    coordinator,
    num_processes,
    process_id,
    cluster_detection_method="deactivate" if cluster else None,
    initialization_timeout=start_timeout,
    heartbeat_timeout_seconds=heartbeat_timeout,
  )
  # Now, while all are here: all processes together count the devices, and what carries
  # collectives between CPUs waits only 30 seconds for the other side at its first use.
  if cluster and jax.process_count() != cluster.num_processes:
    raise RuntimeError(f"JAX counts {jax.process_count()} processes")
  wait_for_all()
  jax.block_until_ready(largest_of_all(mesh_lib.make_mesh(), 0))


def _check_port(coordinator: str) -> None:
  """Ends process 0 with a message if it cannot listen there: JAX might crash."""
  port = int(coordinator.rpartition(":")[2])
  family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
  with socket.socket(family) as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections may linger
    try:
      probe.bind(("", port))
    except OSError as error:
      end(
        f"sidrec: process 0 cannot listen at port {port} of {coordinator}: {error.strerror}; "
        "choose a free port for --coordinator"
      )


def is_alone() -> bool:
  """Whether there are no other processes."""
  return not jax.distributed.is_initialized()


def is_primary() -> bool:
  """Whether this process prints and writes."""
  return jax.process_index() == 0


def from_primary(make: Callable[[], Any]) -> Any:
  """What the primary host makes, in all processes; the others wait for it.

  So this is also how a file is written once, and not read before it is complete.

  Args:
    make: called by the primary host alone; returns what JSON can hold.
      All processes must call this.
  """
  if is_alone():
    return make()
  key = f"sidrec/made/{next(_MADE)}"
  if is_primary():
    made = make()
    coordination.publish(key, json.dumps(made))
    return made
  pause = 0.01
  while (text := coordination.published(key)) is None:
    time.sleep(pause)  # A blocking call of the client could not be interrupted by a signal.
    pause = min(2 * pause, 1.0)
  return json.loads(text)


def check_shared(folder: epath.Path) -> None:
  """Checks that every process sees what the primary host writes to a folder; makes the folder.

  Raises:
    OSError: in a process that does not.
  """

  def write() -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".seen-by-all.{os.getpid()}.{time.time_ns()}"
    path.touch()
    return path.name

  if is_alone():
    return
  path = folder / from_primary(write)
  for _ in range(100):  # network file systems show a new file late
    if path.exists():
      break
    time.sleep(0.1)
  else:
    raise OSError(
      f"process {jax.process_index()} does not see in {folder} what process "
      "0 wrote there; --workdir must name a folder on a file system that all processes share"
    )
  wait_for_all()
  if is_primary():
    path.unlink()


def largest_of_all(mesh: jax.sharding.Mesh, number: int) -> jax.Array | int:
  """The largest of the processes' numbers; all processes must call this.

  The answer is on the devices, so that this call waits for nothing; `int` of it waits.
  """
  if is_alone():
    return number
  if all(device.process_index == jax.process_index() for device in mesh.devices.flat):
    mesh = mesh_lib.make_mesh()  # each process works on a mesh of its own
  spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(mesh.axis_names))
  numbers = jax.make_array_from_callback(
    (mesh.devices.size,), spread, lambda index: np.full(1, number, np.int32)
  )
  return jax.jit(jax.numpy.max, out_shardings=mesh_lib.replicated(mesh))(numbers)


def wait_for_all() -> None:
  """Returns when all processes have come here."""
  if not is_alone():
    multihost_utils.sync_global_devices("sidrec")


def leave() -> None:
  """The regular end: no process goes before the others have finished."""
  if not is_alone():
    wait_for_all()
    with _ENDING:  # from now on, the end of another process is no failure
      jax.distributed.shutdown()


def end(message: str, status: int = 1) -> NoReturn:
  """Ends this process with a message, and the others with the same one."""
  in_main = threading.current_thread() is threading.main_thread()
  with _ENDING:
    if in_main:  # a signal changes nothing any more
      for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the reader of stderr may have ended first
      print(message, file=sys.stderr, flush=True)
    if is_alone() and in_main:
      threading.Thread(target=_exit_after_main, args=(status,), daemon=True).start()
      sys.exit(status)
    if not is_alone():
      _end_others(message, status)
    with contextlib.suppress(OSError):
      sys.stdout.flush()
    # A regular exit would wait in JAX's shutdown for processes that may be gone.
    os._exit(status)


def _exit_after_main(status: int) -> None:
  """In a thread: ends the process if other threads, such as Orbax's, outlive the main one."""
  threading.main_thread().join()
  time.sleep(_SECONDS_TO_END)
  os._exit(status)


def _end_others(message: str, status: int) -> None:
  """Leaves the message for the other processes, and waits until they have it."""
  with contextlib.suppress(Exception):  # there is another message, or process 0 is gone
    coordination.publish(_ENDED, json.dumps([message, status]))
  with contextlib.suppress(Exception):  # another process is gone
    coordination.wait_at_barrier(_ENDED, _SECONDS_TO_END)
  if coordination.process_id() == 0:
    time.sleep(0.5)  # it goes last: JAX aborts the processes that are there when it goes


def _listen() -> None:
  """In a thread: ends this process when another one has ended with a failure."""
  while not is_alone():
    try:
      text = coordination.published(_ENDED)
    except (jax.errors.JaxRuntimeError, AttributeError):
      return  # the regular end, or one that JAX handles
    if text is not None:
      end(*json.loads(text))
    time.sleep(1.0)
