"""What a measured time depends on."""

import os
import platform

import jax


def hardware() -> str:
  """The machine and the versions that a figure depends on, in one line."""
  device = jax.devices()[0]
  return (
    f"{jax.device_count()} {device.device_kind} device(s), {num_cores()} CPU cores "
    f"({platform.processor() or platform.machine()}), jax {jax.__version__}, "
    f"Python {platform.python_version()}"
  )


def num_cores() -> int:
  """CPU cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
