"""The files of configs/, found by name wherever the package is installed.

In the repository they lie next to the package, and in a wheel inside it.
"""

import ast
import runpy
from pathlib import Path

from ml_collections import ConfigDict

_PACKAGE = Path(__file__).parent
FOLDER = next(
  (folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir()),
  _PACKAGE / "configs",
)


def names() -> list[str]:
  """What may be asked for: 'beauty', 'demo', …"""
  return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def path_of(name: str) -> Path:
  """The file of a config.

  Raises:
    ValueError: if no config is called so.
  """
  if name not in names():
    raise ValueError(f"there is no config '{name}'; there are {', '.join(names())}")
  return FOLDER / f"{name}.py"


def docstring(name: str) -> str:
  """What a config is for, and how it was measured; nothing in it is run."""
  return ast.get_docstring(ast.parse(path_of(name).read_text(encoding="utf-8"))) or ""


def named_config(name: str) -> ConfigDict:
  """The settings of 'ml1m' or 'ml1m:tiny'.

  Raises:
    ValueError: if no config is called so, or it has no such variant.
  """
  stem, _, variant = name.partition(":")
  return runpy.run_path(str(path_of(stem)))["get_config"](variant)
