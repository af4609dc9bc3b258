"""Real processes on this machine, for tests of several of them."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
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


def environment(devices: int, cache: Path | None = None) -> dict[str, str]:
  """For JAX on so many CPU devices; processes that share a cache compile less."""
  own = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": str(devices),
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
  }
  if cache is not None:
    own["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    own["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
  return {**os.environ, **own}


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
