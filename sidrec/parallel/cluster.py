"""Which processes form one run: by arguments, by environment variables, or as JAX detects it."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Cluster(NamedTuple):
  """The processes of one run, as the user gives them."""

  coordinator: str  # host:port, where process 0 runs
  num_processes: int
  process_id: int


def configured_cluster(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  environ: Mapping[str, str],
) -> Cluster | None:
  """The cluster of the arguments, or of SIDREC_COORDINATOR (or JAX_COORDINATOR_ADDRESS),
  SIDREC_NUM_PROCESSES and SIDREC_PROCESS_ID where an argument is None; None if nothing is given.

  Raises:
    ValueError: if a part is missing, or contradicts the others.
  """
  if coordinator is None:
    coordinator = environ.get("SIDREC_COORDINATOR")
  if num_processes is None:
    num_processes = _number(environ, "SIDREC_NUM_PROCESSES")
  if process_id is None:
    process_id = _number(environ, "SIDREC_PROCESS_ID")
  # Where JAX detects a cluster, it reads its own variable itself.
  if coordinator is None and (num_processes is not None or not detected_cluster(environ)):
    coordinator = environ.get("JAX_COORDINATOR_ADDRESS")
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


def detected_cluster(environ: Mapping[str, str]) -> str:
  """The cluster of several processes that JAX would detect, in words; '' if there is none.

  A TPU VM counts even if it is the only one: nothing here says how many its slice has.

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


def _number(environ: Mapping[str, str], name: str) -> int | None:
  value = environ.get(name)
  try:
    return None if value is None else int(value)
  except ValueError:
    raise ValueError(f"{name} must be a whole number, not {value!r}") from None
