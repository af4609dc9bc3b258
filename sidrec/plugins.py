"""Plugins: Python files, or installed packages, that register tokenizers, baselines, and so on.

A package names the module to import as an entry point of the group `sidrec.plugins`.
"""

import hashlib
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sidrec.core.plugged import reason
from sidrec.core.python_file import module_of
from sidrec.data.sources.own_readers import OWN as OWN_READERS
from sidrec.data.sources.registry import READERS, register_reader, register_source
from sidrec.evaluation.own_baselines import BASELINES, register_baseline
from sidrec.evaluation.own_metrics import METRICS, Outcome, register_metric
from sidrec.features.own_blocks import BLOCKS, register_features
from sidrec.models.interface import NextItemModel, child_log_softmax
from sidrec.models.own_models import register_model
from sidrec.models.settings import MODELS
from sidrec.tokenizers.registry import SETTINGS, TOKENIZERS, register_tokenizer

__all__ = [
  "NextItemModel",
  "Outcome",
  "child_log_softmax",
  "load_plugins",
  "register_baseline",
  "register_features",
  "register_metric",
  "register_model",
  "register_reader",
  "register_source",
  "register_tokenizer",
]

GROUP = "sidrec.plugins"
TABLES: tuple[dict[str, Any], ...] = (
  READERS,
  OWN_READERS.known,
  TOKENIZERS,
  SETTINGS,
  BLOCKS.known,
  MODELS.known,
  BASELINES.known,
  METRICS.known,
)  # what registering changes


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
      raise ValueError(f"the installed plugin '{point.name}' fails: {reason(error)}") from error
  for file in files:
    _load_file(file)


def _load_file(file: str) -> None:
  path = Path(file).expanduser().resolve()
  if not path.is_file():
    raise FileNotFoundError(f"there is no plugin {file}")
  name = f"sidrec_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
  if name in sys.modules:
    return
  before = [dict(table) for table in TABLES]
  sys.modules[name], execute = module_of(name, path)
  try:
    execute()
  except Exception as error:
    del sys.modules[name]
    for table, kept in zip(TABLES, before, strict=True):  # what it registered before it failed
      table.clear()
      table.update(kept)
    raise ValueError(f"the plugin {file} fails: {reason(error)}") from error
  if all(len(table) == len(kept) for table, kept in zip(TABLES, before, strict=True)):
    del sys.modules[name]
    raise ValueError(
      f"the plugin {file} registers nothing; let it call sidrec.register_tokenizer …"
    )
