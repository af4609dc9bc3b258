"""The most memory that this process has held, from a moment on."""

import contextlib
import re
from pathlib import Path

_PROCESS = Path("/proc/self")


def forget_peak() -> None:
  """Starts anew: what was held and is given back counts no more. Does nothing but on Linux."""
  with contextlib.suppress(OSError):  # no such file, or not allowed
    (_PROCESS / "clear_refs").write_text("5")


def peak_memory() -> int | None:
  """Bytes at most since `forget_peak`, or since the start where that can do nothing.

  Returns:
    None where the system does not say it as Linux does.
  """
  try:
    status = (_PROCESS / "status").read_text()
  except OSError:
    return None
  found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
  return int(found[1]) << 10 if found else None
