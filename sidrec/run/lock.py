"""One process works on a run at a time; the system frees the lock of a process that is gone."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

LOCK = "run.lock"
_PAUSE = 0.5  # seconds between two attempts


@contextlib.contextmanager
def locked(workdir: Path, wait: bool = False) -> Iterator[None]:
  """Holds the lock of a run's folder during the block.

  Args:
    workdir: the folder, made if it is not there.
    wait: whether to wait for another process; it is refused otherwise.

  Raises:
    BlockingIOError: if another process holds it, with that process's number and host.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  with (workdir / LOCK).open("a+", encoding="utf-8") as file:
    _acquire(file, workdir, wait)
    file.truncate(0)
    json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}, file)
    file.flush()
    try:
      yield
    finally:
      file.truncate(0)  # the lock ends with the file


def _acquire(file: IO[str], workdir: Path, wait: bool) -> None:
  waiting = False
  while True:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return
    except BlockingIOError:
      holder = _holder(file)
    if not wait:
      raise BlockingIOError(
        f"{holder} is at work in {workdir}; wait for its end with --wait, or give another --workdir"
      )
    if not waiting:
      print(f"waiting for {holder} to finish in {workdir}", flush=True)
    waiting = True
    time.sleep(_PAUSE)


def _holder(file: IO[str]) -> str:
  file.seek(0)
  try:
    held = json.loads(file.read())
    return f"process {held['pid']} on {held['host']}"
  except (ValueError, KeyError, TypeError):
    return "another process"  # which has not written its name yet
