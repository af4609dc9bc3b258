"""The settings of a run as the command line takes them; `configs/` changes some of them.

Each default stands in the dataclass of its room; `run/settings.py` collects them.
"""

from pathlib import Path

from ml_collections import ConfigDict

from sidrec.core.settings import to_dict
from sidrec.run.settings import RunConfig


def default_config() -> ConfigDict:
  """Every setting there is. A name that is not here is refused, with the nearest one that is."""
  return ConfigDict(to_dict(RunConfig()))


def custom_config() -> ConfigDict:
  """The settings of configs/custom.py: for anybody's own log."""
  config = default_config()
  config.data.source = "table"
  config.tokenizer.name = "residual_kmeans"
  config.model.history_length = 50
  config.model.encoder_dropout = 0.4
  config.train.batch_size = 32
  config.train.steps = 1500
  config.train.validate_every = 100
  return config


def run_name(config_path: str) -> str:
  """'configs/ml1m.py:tiny' → 'ml1m-tiny', the default folder name below runs/."""
  path, _, variant = config_path.partition(":")
  return Path(path).stem + (f"-{variant}" if variant else "")


def check_variant(config_path: str, variant: str) -> None:
  """Raises ValueError for what follows the colon of --config=FILE:VARIANT unless it is 'tiny'."""
  if variant not in ("", "tiny"):
    name = f"configs/{Path(config_path).name}"
    raise ValueError(f"{name} has no variant {variant!r}; there is 'tiny'")
