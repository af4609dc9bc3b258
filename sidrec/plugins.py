"""Plugins: Python files, or installed packages, that register tokenizers and sources.

A package names the module to import as an entry point of the group `sidrec.plugins`.
"""

import hashlib
import importlib.metadata
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from sidrec.data.sources.registry import READERS
from sidrec.tokenizers.registry import TOKENIZERS

GROUP = "sidrec.plugins"


def load_plugins(files: Sequence[str] = ()) -> None:
  """Imports all installed plugins, then files; what was imported before is left alone.

  Raises:
    FileNotFoundError: for a file that is not there.
    ValueError: for a plugin that fails, or a file that registers nothing.
  """
  for point in importlib.metadata.entry_points(group=GROUP):
    try:
      point.load()
    except Exception as error:
      raise ValueError(f"the installed plugin '{point.name}' fails: {_reason(error)}") from error
  for file in files:
    _load_file(file)


def _load_file(file: str) -> None:
  path = Path(file).expanduser().resolve()
  if not path.is_file():
    raise FileNotFoundError(f"there is no plugin {file}")
  name = f"sidrec_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
  if name in sys.modules:
    return
  spec = importlib.util.spec_from_file_location(name, path)
  if spec is None or spec.loader is None:
    raise ValueError(f"{file} is no Python file")
  before = _registered()
  module = sys.modules[name] = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except Exception as error:
    del sys.modules[name]
    raise ValueError(f"the plugin {file} fails: {_reason(error)}") from error
  if _registered() == before:
    del sys.modules[name]
    raise ValueError(
      f"the plugin {file} registers nothing; let it call sidrec.register_tokenizer …"
    )


def _registered() -> int:
  return len(TOKENIZERS) + len(READERS)


def _reason(error: Exception) -> str:
  """'NameError: … (my_plugin.py, line 3)'."""
  *_, last = traceback.extract_tb(error.__traceback__)
  return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
