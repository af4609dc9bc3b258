"""Plugins for tests: the examples of docs/plug_in.md as files, and registers left as they were."""

import contextlib
import re
import sys
from pathlib import Path

from sidrec import plugins

BUILT_IN = [dict(table) for table in plugins.TABLES]
PAGE = Path(__file__).parents[1] / "docs" / "plug_in.md"


def write_plugins(folder):
  """Writes each example whose first line is a file's name: {name: path}."""
  text = PAGE.read_text(encoding="utf-8")
  files = {}
  for name, code in re.findall(r"```python\n# (\w+)\.py\n(.*?)```", text, re.DOTALL):
    files[name] = str(folder / f"{name}.py")
    Path(files[name]).write_text(code, encoding="utf-8")
  return files


@contextlib.contextmanager
def clean_registers(empty=False):
  """What is registered within is forgotten afterwards; `empty` begins with sidrec's own alone."""
  before = [dict(table) for table in plugins.TABLES]
  if empty:
    forget_modules()
    for table, built_in in zip(plugins.TABLES, BUILT_IN, strict=True):
      _restore(table, built_in)
  try:
    yield
  finally:
    forget_modules()
    for table, kept in zip(plugins.TABLES, before, strict=True):
      _restore(table, kept)


def forget_modules():
  """Lets a file that was loaded be loaded again."""
  for name in [name for name in sys.modules if name.startswith("sidrec_plugin_")]:
    del sys.modules[name]


def _restore(table, kept):
  table.clear()
  table.update(kept)
