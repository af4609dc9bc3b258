"""Python files of a user, as modules."""

import importlib.machinery
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType


class _FromSource(importlib.machinery.SourceFileLoader):
  """Compiles the file as it is now.

  What Python keeps in __pycache__ it knows by size and second, so of a file that was just edited it
  may run the version before.
  """

  def get_code(self, fullname: str) -> CodeType:
    """The file's code."""
    return self.source_to_code(self.get_data(self.path), self.path)


def module_of(name: str, path: Path) -> tuple[ModuleType, Callable[[], None]]:
  """A module of a file, and what executes it."""
  loader = _FromSource(name, str(path))
  spec = importlib.util.spec_from_file_location(name, path, loader=loader)
  assert spec is not None
  module = importlib.util.module_from_spec(spec)
  return module, lambda: loader.exec_module(module)
