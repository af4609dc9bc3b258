"""One process works on a run at a time.

On a local disk the system itself frees the lock of a process that is gone. In a bucket the lock is
a file, which a process on the same host takes over when its owner is gone.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from sidrec.core.atomic import write_whole_text
from sidrec.core.paths import is_local

LOCK = "run.lock"
_PAUSE = 0.5  # seconds between two attempts


@contextlib.contextmanager
def locked(workdir: epath.Path, wait: bool = False) -> Iterator[None]:
  """Holds the lock of a run's folder during the block.

  Args:
    workdir: the folder, made if it is not there.
    wait: whether to wait for another process; it is refused otherwise.

  Raises:
    BlockingIOError: if another process holds it, with that process's number and host.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  hold = _lock_of_disk if is_local(workdir) else _lock_of_bucket
  with hold(workdir / LOCK, lambda holder: _refuse_or_wait(holder, workdir, wait)):
    yield


def _refuse_or_wait(holder: str, workdir: epath.Path, wait: bool) -> None:
  if not wait:
    raise BlockingIOError(
      f"{holder} is at work in {workdir}; wait for its end with --wait, or give another --workdir"
    )
  time.sleep(_PAUSE)


@contextlib.contextmanager
def _lock_of_disk(path: epath.Path, refuse_or_wait: Callable[[str], None]) -> Iterator[None]:
  with open(path, "a+", encoding="utf-8") as file:
    while True:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
      except BlockingIOError:
        file.seek(0)
        refuse_or_wait(_who(_parsed(file.read())))
    file.truncate(0)
    file.write(_this_process())
    file.flush()
    yield  # the lock ends with the open file, and so with the process
    file.truncate(0)


@contextlib.contextmanager
def _lock_of_bucket(path: epath.Path, refuse_or_wait: Callable[[str], None]) -> Iterator[None]:
  while path.exists() and not _is_gone(holder := _parsed(path.read_text())):
    refuse_or_wait(f"{_who(holder)} (if it is no longer there, delete {path})")
  write_whole_text(path, _this_process())
  try:
    yield
  finally:
    path.unlink(missing_ok=True)


def _this_process() -> str:
  return json.dumps({"pid": os.getpid(), "host": socket.gethostname()})


def _parsed(text: str) -> dict[str, Any]:
  try:
    holder = json.loads(text)
    return holder if isinstance(holder, dict) else {}
  except ValueError:
    return {}  # the process has not written its name yet


def _who(holder: dict[str, Any]) -> str:
  return f"process {holder['pid']} on {holder['host']}" if holder else "another process"


def _is_gone(holder: dict[str, Any]) -> bool:
  """Whether this was a process of this host that no longer runs."""
  if not holder or holder["host"] != socket.gethostname():
    return False
  try:
    os.kill(holder["pid"], 0)
  except ProcessLookupError:
    return True
  except PermissionError:
    return False
  return False
