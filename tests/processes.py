"""Real processes on this machine, for tests of several of them."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FOR_TESTS_ALONE = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
SECONDS = 900  # generous: a busy machine may need much of it to start JAX twice


class Ended(NamedTuple):
  """How a process ended."""

  status: int
  stdout: str
  stderr: str


def free_address() -> str:
  """host:port that nobody listens on."""
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return f"localhost:{probe.getsockname()[1]}"


def environment(devices: int) -> dict[str, str]:
  """For JAX on so many CPU devices, with what conftest.py sets for all tests."""
  path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
  return {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": path}


def as_users_have_it() -> dict[str, str]:
  """Without what conftest.py sets for all tests: one device, and all of XLA's optimisations."""
  return {name: value for name, value in os.environ.items() if name not in FOR_TESTS_ALONE}


def together(commands: list[list[str]], env: dict[str, str], timeout: int = SECONDS) -> list[Ended]:
  """Runs `python …` for each command at the same time, from the root folder, to all their ends."""
  started = [
    subprocess.Popen(
      [sys.executable, *command],
      cwd=ROOT,
      env=env,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for command in commands
  ]
  try:
    outputs = [process.communicate(timeout=timeout) for process in started]
  finally:
    for process in started:
      process.kill()
  return [
    Ended(process.returncode, *output) for process, output in zip(started, outputs, strict=True)
  ]
