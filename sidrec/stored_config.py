"""The settings of a finished run, as a config file: --config=sidrec/stored_config.py:runs/demo."""

from ml_collections import ConfigDict

from sidrec.config import with_plugins
from sidrec.core.settings import to_dict
from sidrec.run.config_file import load_config


def get_config(folder: str) -> ConfigDict:
  """What the run in a folder was built with.

  Raises:
    FileNotFoundError: if there is no run.
    ValueError: if a file of it is damaged.
  """
  return with_plugins(to_dict(load_config(folder)))
