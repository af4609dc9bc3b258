"""The code of what users register, as an input like a file."""

import functools
import hashlib
import inspect
import sys
from typing import Any


def code_hashes(*parts: Any) -> list[str]:
  """What changes when the modules that define these functions or classes do.

  Those of sidrec itself are left out: its version decides there. A module without a file, such as
  a notebook, counts by the source of the part, or else by its bytecode.
  """
  functions = [part.func if isinstance(part, functools.partial) else part for part in parts]
  own = [f for f in functions if not getattr(f, "__module__", "").startswith("sidrec.")]
  return sorted({hashlib.sha256(_code(f)).hexdigest()[:16] for f in own})


def _code(function: Any) -> bytes:
  module = sys.modules.get(getattr(function, "__module__", ""))
  if module is not None and module.__name__ == "__main__":
    module = None  # a script that only registers and runs; its other lines decide nothing
  for readable in filter(None, (module, function)):
    try:
      return inspect.getsource(readable).encode()
    except (TypeError, OSError):
      continue
  if isinstance(function, type):  # of a notebook: by what it defines
    return b"".join(_member(name, vars(function)[name]) for name in sorted(vars(function)))
  code = getattr(function, "__code__", None)
  return repr((code.co_code, code.co_consts) if code else type(function)).encode()


def _member(name: str, value: Any) -> bytes:
  """A method by its code, another attribute by its value; nothing of what Python adds itself."""
  if name.startswith("__") and name != "__call__":
    return b""
  value = inspect.unwrap(value) if callable(value) else value
  if inspect.isfunction(value):
    return name.encode() + _code(value)
  return f"{name}={value!r}".encode() if isinstance(value, bool | int | float | str) else b""
