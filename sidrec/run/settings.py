"""The settings of a whole run: those of its parts, and how it is computed."""

import dataclasses

from ml_collections import ConfigDict

from sidrec.core.settings import from_dict
from sidrec.data.settings import DataConfig
from sidrec.features.settings import FeaturesConfig
from sidrec.models.sasrec import SASRecSettings
from sidrec.models.settings import RecommenderConfig
from sidrec.search.settings import SearchConfig
from sidrec.tokenizers.settings import TokenizerConfig
from sidrec.trainers.settings import RecommenderTrainConfig, SASRecTrainConfig


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """How devices share the work; changes no result but for rounding."""

  model: int = 1  # devices that large parameters are spread over; the others share batches


@dataclasses.dataclass(frozen=True)
class SASRecRunConfig:
  """What the recommender is compared with; not the item vectors of `features.sasrec`."""

  enabled: bool = False  # whether evaluations train it and show it
  model: SASRecSettings = dataclasses.field(default_factory=SASRecSettings)
  train: SASRecTrainConfig = dataclasses.field(default_factory=SASRecTrainConfig)


@dataclasses.dataclass(frozen=True)
class ColdStartConfig:
  """New items: which are held out, and how they are measured (mode 'cold_start')."""

  fraction: float = 0.05  # of the items, drawn evenly and held out
  seed: int = 0  # of the draw
  # Shares of new items that are tried on validation.
  shares: tuple[float, ...] = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2)
  largest_loss: float = 0.025  # of the known items' recall@10 on validation, relative
  held_out: bool = False  # leaves these items out of this run; the mode sets it


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Every setting there is."""

  seed: int = 0
  mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
  profile_steps: int = 0  # steps of the recommender's training to trace into <workdir>/profile
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  features: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)
  tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
  model: RecommenderConfig = dataclasses.field(default_factory=RecommenderConfig)
  train: RecommenderTrainConfig = dataclasses.field(default_factory=RecommenderTrainConfig)
  sasrec: SASRecRunConfig = dataclasses.field(default_factory=SASRecRunConfig)
  search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
  cold_start: ColdStartConfig = dataclasses.field(default_factory=ColdStartConfig)


def run_config(config: RunConfig | ConfigDict) -> RunConfig:
  """The settings as dataclasses, from a config file's ConfigDict or as they are.

  Raises:
    ValueError: for a setting that makes no sense.
  """
  return config if isinstance(config, RunConfig) else from_dict(RunConfig, config.to_dict())
