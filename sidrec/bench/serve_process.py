"""A server in a process of its own, and what it costs; reads /proc."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_SECONDS = 600.0  # until it has to be ready
_TICKS = os.sysconf("SC_CLK_TCK")


class ServerProcess:
  """`python -m sidrec.serving`, ready when the context is entered."""

  def __init__(self, workdir: str, store: Path, cache: Path, room: int):
    """Takes the run, a new file for events, the folder of compiled programs, and `--room`."""
    self._command = [sys.executable, "-m", "sidrec.serving", f"--workdir={workdir}", "--port=0"]
    self._command += [f"--store={store}", f"--compilation_cache={cache}"]
    self._command += [f"--room={room}"]
    self.url = ""

  def __enter__(self) -> "ServerProcess":
    """Starts it, and waits until it is ready."""
    self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
    assert self._process.stdout is not None
    line = self._process.stdout.readline()
    if "http://" not in line:
      self._process.wait()
      raise OSError("the server did not start")
    self.url = "http://" + line.split("http://")[1].strip()
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
      if self._process.poll() is not None:
        raise OSError("the server ended before it was ready")
      try:
        self._get("/readyz")
        return self
      except urllib.error.HTTPError:
        time.sleep(0.1)
    raise OSError(f"the server was not ready within {_SECONDS:g} seconds")

  def __exit__(self, *error: Any) -> None:
    """Stops it."""
    self._process.terminate()
    self._process.wait()

  def cpu_seconds(self) -> float:
    """CPU time of all its threads so far."""
    fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS

  def rss_mib(self) -> float:
    """Memory that it holds."""
    status = Path(f"/proc/{self._process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

  def compilations(self) -> int:
    """Programs that it has compiled or loaded."""
    line = next(
      line for line in self._get("/metrics").splitlines() if line.startswith("sidrec_compilations ")
    )
    return int(float(line.split()[1]))

  def _get(self, path: str) -> str:
    with urllib.request.urlopen(self.url + path, timeout=10) as answer:
      return answer.read().decode()
