"""Several processes as one program: how they start, agree and end.

The processes are JAX's (one a host, or one a GPU): each runs the same command, computes on all
devices together, and reads and writes one work directory. Process 0, the primary host, prints,
logs and writes what is not a checkpoint. A process that fails takes the others with it: its
message goes to all of them through the key-value store of JAX's coordination service.
"""

import contextlib
import importlib.util
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
from jax._src import distributed as runtime  # no public name leads to the key-value store
from jax.experimental import multihost_utils

from sidrec.parallel import mesh as mesh_lib

_ENDED = "sidrec/ended"  # key: how the first process that failed ended
_GONE = "sidrec/gone"  # key/process: that it knows, and ends
_LAST_WORDS = 10.0  # seconds that process 0 waits for the others to end
_NUMBERS = itertools.count()  # of what the primary host made, which all processes count alike
_ENDING = threading.Lock()


class Cluster(NamedTuple):
  """Which processes belong together, as the user says it."""

  coordinator: str  # host:port, where process 0 runs
  num_processes: int
  process_id: int


def start(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  start_timeout: int = 300,
  heartbeat_timeout: int = 100,
) -> None:
  """Joins the other processes, if there are any; to be called before any device is touched.

  With arguments, or the environment variables that stand in for them (see `told_cluster`), the
  cluster is what they say. Without, it is what a TPU VM, GKE, SLURM or Open MPI tell JAX; where
  none of them is there, nothing is done. Processes that cannot join end: there are never several
  runs where one was wanted.

  Args:
    coordinator: host:port of process 0, any free port of its.
    num_processes: how many there are.
    process_id: of this one, from 0.
    start_timeout: seconds to wait for the others, before this process ends with a sentence.
    heartbeat_timeout: seconds after which a silent process counts as lost, and all end.

  Raises:
    ValueError: for arguments that are incomplete or contradict each other.
  """
  told = told_cluster(coordinator, num_processes, process_id, os.environ)
  found = "" if told else found_cluster(os.environ)
  if not found and (told is None or told.num_processes == 1):
    return
  if told and told.process_id == 0:
    _check_port(told.coordinator)
  # JAX would catch SIGTERM for itself; `preemption` does.
  jax.config.update("jax_enable_preemption_service", False)
  who = f"process {told.process_id} of {told.num_processes}" if told else f"a process of {found}"
  where = f" at {told.coordinator}" if told else ""
  late = threading.Timer(
    start_timeout,
    _give_up,
    [
      f"{who} waited {start_timeout} seconds for the others{where}; start all of them with the "
      "same coordinator and number of processes, each with an id of its own, or wait longer with "
      "--start_timeout"
    ],
  )
  late.daemon = True
  late.start()
  # JAX's own end of the wait is an abort with a stack trace: ours has to come first.
  timeouts = {
    "initialization_timeout": start_timeout + 60,
    "heartbeat_timeout_seconds": heartbeat_timeout,
  }
  try:
    if told:
      jax.distributed.initialize(*told, cluster_detection_method="deactivate", **timeouts)
    else:
      jax.distributed.initialize(**timeouts)
    # Now, while all are here: devices are counted by all processes together, and what carries
    # collectives between CPUs waits only 30 seconds for the other side at its first use.
    if told and jax.process_count() != told.num_processes:
      raise RuntimeError(f"JAX counts {jax.process_count()} processes")
    multihost_utils.sync_global_devices("sidrec start")
    jax.block_until_ready(largest_of_all(mesh_lib.make_mesh(), 0))
  except (RuntimeError, ValueError, OSError) as error:
    if found == "a TPU VM" and "coordinator_address should be defined" in str(error):
      return  # one host, and no service that would know of others
    late.cancel()
    end(f"sidrec: {who} could not join the others{where}: {_first_line(error)}")
  finally:
    late.cancel()
  if not is_primary():
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
  threading.Thread(target=_listen, daemon=True).start()


def told_cluster(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  environ: Mapping[str, str],
) -> Cluster | None:
  """The cluster that arguments name, or else SIDREC_COORDINATOR (or JAX_COORDINATOR_ADDRESS),
  SIDREC_NUM_PROCESSES and SIDREC_PROCESS_ID; None if there is nothing of it.

  Raises:
    ValueError: if a part is missing, or does not go with the others.
  """
  if coordinator is None:
    coordinator = environ.get("SIDREC_COORDINATOR")
  if num_processes is None:
    num_processes = _number(environ, "SIDREC_NUM_PROCESSES")
  if process_id is None:
    process_id = _number(environ, "SIDREC_PROCESS_ID")
  if coordinator is None and (num_processes is not None or not found_cluster(environ)):
    coordinator = environ.get("JAX_COORDINATOR_ADDRESS")  # which JAX reads where it finds a cluster
  parts = {
    "--coordinator": coordinator,
    "--num_processes": num_processes,
    "--process_id": process_id,
  }
  missing = [name for name, value in parts.items() if value is None]
  if len(missing) == len(parts):
    return None
  if coordinator is None or num_processes is None or process_id is None:
    given = ", ".join(name for name in parts if name not in missing)
    raise ValueError(f"{given} without {' and '.join(missing)}: a cluster needs all three")
  if num_processes < 1:
    raise ValueError(f"--num_processes must be 1 or more, not {num_processes}")
  if not 0 <= process_id < num_processes:
    raise ValueError(
      f"--process_id must be 0 to {num_processes - 1} with --num_processes={num_processes}, "
      f"not {process_id}"
    )
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise ValueError(f"--coordinator must be host:port, not {coordinator!r}")
  return Cluster(coordinator, num_processes, process_id)


def _check_port(coordinator: str) -> None:
  """Ends process 0 with a sentence if it cannot listen there: JAX might crash on it."""
  port = int(coordinator.rpartition(":")[2])
  family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
  with socket.socket(family) as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has ended is no hindrance
    try:
      probe.bind(("", port))
    except OSError as error:
      end(
        f"sidrec: process 0 cannot listen at port {port} of {coordinator}: {error.strerror}; "
        "choose a free port for --coordinator"
      )


def found_cluster(environ: Mapping[str, str]) -> str:
  """What makes JAX find a cluster of several processes by itself, in words; '' if nothing does.

  A TPU VM counts even if it is the only one: its slice alone knows.

  Raises:
    ValueError: on Kubernetes without the package that JAX asks it with.
  """
  tasks = environ.get("SLURM_NTASKS", "")
  if {"SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"} <= environ.keys():
    return f"SLURM's {tasks} tasks" if tasks.isdecimal() and int(tasks) > 1 else ""
  ranks = environ.get("OMPI_COMM_WORLD_SIZE", "")
  if ranks.isdecimal() and int(ranks) > 1:
    return f"Open MPI's {ranks} ranks"
  platforms = environ.get("JAX_PLATFORMS", "tpu")
  if "tpu" in platforms and importlib.util.find_spec("libtpu") is not None:
    devices = Path("/dev")
    if any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*")):
      return "a TPU VM"
  if {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= environ.keys():
    if importlib.util.find_spec("kubernetes") is None:
      raise ValueError(
        "this is an indexed job of Kubernetes, whose other processes JAX finds with the package "
        "'kubernetes': pip install kubernetes, or name them by --coordinator, --num_processes "
        "and --process_id"
      )
    return "a job of Kubernetes"
  return ""


def is_primary() -> bool:
  """Whether this process prints and writes."""
  return jax.process_index() == 0


def from_primary(make: Callable[[], Any]) -> Any:
  """What the primary host process makes, in all of them; the others wait for it.

  So this is also how files are written once, and read by no one before they are complete.

  Args:
    make: called by the primary host alone; returns what JSON can hold.
      All processes must call this.
  """
  client = runtime.global_state.client
  if client is None:
    return make()
  key = f"sidrec/made/{next(_NUMBERS)}"
  if is_primary():
    made = make()
    client.key_value_set(key, json.dumps(made))
    return made
  pause = 0.01
  while (text := _value(client, key)) is None:
    time.sleep(pause)  # Not a blocking call of the client's, which a signal could not end.
    pause = min(2 * pause, 1.0)
  return json.loads(text)


def check_shared(folder: Path) -> None:
  """Checks that every process sees what the primary host writes to a folder; makes the folder.

  Raises:
    OSError: in a process that does not.
  """

  def write() -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".seen-by-all.{os.getpid()}.{time.time_ns()}"
    path.touch()
    return path.name

  if runtime.global_state.client is None:
    return
  path = folder / from_primary(write)
  for _ in range(100):  # network file systems show a new file late
    if path.exists():
      break
    time.sleep(0.1)
  else:
    raise OSError(
      f"process {runtime.global_state.process_id} does not see in {folder.absolute()} what process "
      "0 wrote there; --workdir must name a folder on a file system that all processes share"
    )
  wait_for_all()
  if is_primary():
    path.unlink()


def largest_of_all(mesh: jax.sharding.Mesh, number: int) -> jax.Array | int:
  """The largest of the processes' numbers; all must call this alike.

  The answer is on the devices, so that to ask costs no waiting; `int` of it waits.
  """
  if runtime.global_state.client is None:
    return number
  spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(mesh.axis_names))
  of_device = lambda index: np.full(1, number, np.int32)
  number_D = jax.make_array_from_callback((mesh.devices.size,), spread, of_device)
  return jax.jit(jax.numpy.max, out_shardings=mesh_lib.replicated(mesh))(number_D)


def wait_for_all() -> None:
  """Returns when all processes have come here."""
  if runtime.global_state.client is not None:
    multihost_utils.sync_global_devices("sidrec")


def leave() -> None:
  """The regular end: no process goes before the others have finished."""
  if runtime.global_state.client is not None:
    wait_for_all()
    with _ENDING:  # whatever happens to the others from now on is not a failure
      jax.distributed.shutdown()


def is_alone() -> bool:
  """Whether there are no other processes."""
  return runtime.global_state.client is None


def end(sentence: str, status: int = 1) -> NoReturn:
  """Ends this process with a sentence, and the others with the same one."""
  in_main = threading.current_thread() is threading.main_thread()
  with _ENDING:
    if in_main:  # a signal has nothing to add
      for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # whoever read it may have gone first
      print(sentence, file=sys.stderr, flush=True)
    client = runtime.global_state.client
    if client is None and in_main:
      sys.exit(status)
    with contextlib.suppress(Exception):  # of a service that is gone: nobody is left to be told
      _tell_others(client, sentence, status)
    with contextlib.suppress(OSError):
      sys.stdout.flush()
    # A regular exit would wait in JAX's shutdown for processes that may be gone.
    os._exit(status)


def _tell_others(client: Any, sentence: str, status: int) -> None:
  """Leaves word for the others; process 0 waits until they have it.

  It holds what they read, and JAX aborts every process that is there when process 0 goes.
  """
  if client is None:
    return
  state = runtime.global_state
  # This fails where process 0 is gone already, or another process had the first word.
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    client.key_value_set(_ENDED, json.dumps([sentence, status]))
  if state.process_id:
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      client.key_value_set(f"{_GONE}/{state.process_id}", "")
    return
  there = set(range(1, state.num_processes))
  deadline = time.monotonic() + _LAST_WORDS
  while there and time.monotonic() < deadline:
    time.sleep(0.1)
    there = {i for i in there if _value(client, f"{_GONE}/{i}") is None}
  time.sleep(0.5)


def _listen() -> None:
  """In a thread: ends this process when another one has ended with a failure."""
  while (client := runtime.global_state.client) is not None:
    try:
      text = _value(client, _ENDED)
    except jax.errors.JaxRuntimeError:
      return  # the regular end, or one that the runtime takes care of
    if text is not None:
      sentence, status = json.loads(text)
      end(sentence, status)
    time.sleep(1.0)


def _give_up(sentence: str) -> None:
  print(f"sidrec: {sentence}", file=sys.stderr, flush=True)
  os._exit(1)


def _value(client: Any, key: str) -> str | None:
  """What stands under a key, or None if nothing does."""
  try:
    return client.key_value_try_get(key)
  except jax.errors.JaxRuntimeError as error:
    if "NOT_FOUND" in str(error):
      return None
    raise


def _number(environ: Mapping[str, str], name: str) -> int | None:
  value = environ.get(name)
  if value is None:
    return None
  try:
    return int(value)
  except ValueError:
    raise ValueError(f"{name} must be a whole number, not {value!r}") from None


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0]
