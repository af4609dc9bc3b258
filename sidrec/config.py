"""The settings of a run, with their defaults; experiments in `configs/` change some of them."""

from pathlib import Path

from ml_collections import ConfigDict

from sidrec.cold_start.settings import ColdStartConfig
from sidrec.core.settings import to_dict
from sidrec.data.settings import DataConfig
from sidrec.features.settings import FeaturesConfig
from sidrec.models.settings import RecommenderConfig
from sidrec.search.settings import SearchConfig
from sidrec.tokenizers.settings import TokenizerConfig
from sidrec.trainers.settings import RecommenderTrainConfig, SASRecTrainConfig


def default_config() -> ConfigDict:
  """Every setting there is. A name that is not here is refused, with the nearest one that is."""
  config = ConfigDict()
  config.seed = 0

  # How a run is computed, which changes no result but for rounding: no stage is done again for it.
  config.mesh = ConfigDict()
  config.mesh.model = 1  # devices that large parameters are spread over; the others share batches
  config.profile_steps = 0  # steps of the recommender's training to trace into <workdir>/profile

  config.data = ConfigDict(to_dict(DataConfig()))

  config.features = ConfigDict(to_dict(FeaturesConfig()))

  config.tokenizer = ConfigDict(to_dict(TokenizerConfig()))

  config.model = ConfigDict(to_dict(RecommenderConfig()))

  config.train = ConfigDict(to_dict(RecommenderTrainConfig()))

  config.sasrec = ConfigDict()  # what the recommender is compared with; not an item vector
  config.sasrec.enabled = False  # whether evaluations train it and show it
  config.sasrec.model = ConfigDict()
  config.sasrec.model.history_length = 200
  config.sasrec.model.width = 64
  config.sasrec.model.heads = 2
  config.sasrec.model.layers = 2
  config.sasrec.model.hidden = 256
  config.sasrec.model.dropout = 0.2
  config.sasrec.model.item_bias = False  # each item's popularity
  config.sasrec.model.negatives = 0  # sampled items of the softmax in training; 0 for all items
  config.sasrec.model.dtype = "float32"
  config.sasrec.train = ConfigDict(to_dict(SASRecTrainConfig()))

  config.search = ConfigDict(to_dict(SearchConfig()))

  config.cold_start = ConfigDict(to_dict(ColdStartConfig()))
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
