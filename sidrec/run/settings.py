"""The settings of a whole run: those of its parts, and how it is computed."""

import dataclasses
from typing import Literal

from ml_collections import ConfigDict

from sidrec.core.settings import check_choices, from_dict
from sidrec.data.settings import DataConfig
from sidrec.evaluation.settings import EvaluationConfig
from sidrec.features.settings import FeaturesConfig
from sidrec.models.sasrec import BSARecSettings, SASRecSettings
from sidrec.models.settings import RecommenderConfig
from sidrec.search.settings import SearchConfig
from sidrec.tokenizers.settings import TokenizerConfig
from sidrec.tracking.points import TrackerName
from sidrec.trainers.settings import BSARecTrainConfig, RecommenderTrainConfig, SASRecTrainConfig


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """How devices share the work; changes no result but for rounding."""

  model: int = 1  # devices that large parameters are spread over; the others share batches
  # Devices that make item vectors and semantic IDs. 'one': IDs depend on data, settings and seed
  # alone. 'all' is faster for millions of items, and other numbers of devices make other IDs.
  ids: Literal["one", "all"] = "one"

  def __post_init__(self) -> None:
    """Raises ValueError for another word."""
    check_choices(self)


@dataclasses.dataclass(frozen=True)
class SASRecRunConfig:
  """What the recommender is compared with; not the item vectors of `features.sasrec`."""

  enabled: bool = False  # whether evaluations train it and show it
  model: SASRecSettings = dataclasses.field(default_factory=SASRecSettings)
  train: SASRecTrainConfig = dataclasses.field(default_factory=SASRecTrainConfig)


@dataclasses.dataclass(frozen=True)
class BSARecRunConfig:
  """A stronger baseline of the same kind."""

  enabled: bool = False  # whether evaluations train it and show it
  model: BSARecSettings = dataclasses.field(default_factory=BSARecSettings)
  train: BSARecTrainConfig = dataclasses.field(default_factory=BSARecTrainConfig)


@dataclasses.dataclass(frozen=True)
class ColdStartConfig:
  """New items: which are held out, and how they are measured (mode 'cold_start')."""

  fraction: float = 0.05  # of the items, drawn evenly and held out
  seed: int = 0  # of the draw
  # Shares of new items that are tried on validation.
  shares: tuple[float, ...] = (
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.125,
    0.15,
    0.2,
    0.25,
    0.3,
    0.4,
  )
  largest_loss: float = 0.025  # of the known items' recall@10 on validation, relative
  held_out: bool = False  # leaves these items out of this run; the mode sets it


@dataclasses.dataclass(frozen=True)
class UpdateConfig:
  """How a finished run takes in a log that has grown (mode 'update')."""

  steps_share: float = 0.1  # of train.steps; 0 carries the parameters over and trains nothing
  # Of train.learning_rate. Few steps have to learn what is new; validation keeps what was carried
  # over where they lose more than they learn.
  learning_rate_share: float = 1.0
  # Besides what the model was never trained on, so much of all training interactions is recent: the
  # newest. Above 0, several nights' events are trained on again.
  recent_share: float = 0.0
  replay: float = 1.0  # targets of older windows, drawn at random, for each recent target
  # Above 0, more older windows are drawn where the steps would go over the same ones more often.
  most_passes: float = 0.0
  # Of the parameters that serve, the share of what was trained; the rest is what was carried over.
  # Below 1, the mean of both keeps more of what the model knew.
  trained_share: float = 1.0
  max_worse: float = (
    0.02  # that NDCG@10 on the newest events may lose, relative to the model before
  )
  users: int = 3000  # with new events, drawn evenly, on whom the models are compared; 0 for all
  from_zero: bool = False  # whether a model trained from zero is compared, too

  # When a new tokenizer is due; asked of all items that came since it was fitted, once there are
  # this many: the perplexity of fewer says nothing.
  drift_items: int = 50
  # A larger share of the new items than of the old ones has a tuple that another item has, too, by
  # this much: the tokens that tell those apart are numbers without meaning.
  drift_collisions: float = 0.25
  # The perplexity of a level's codes, relative to equally many old items drawn at random. Half says
  # that a level tells new items apart by one bit less than old ones.
  drift_perplexity: float = 0.5
  # The mean squared error of what codes stand for, relative to old items. Twice as much is what
  # half a bit less for each dimension costs: quantisation errs with the square of its step.
  drift_error: float = 2.0

  def __post_init__(self) -> None:
    """Raises ValueError for a number that makes no sense."""
    for name in ("steps_share", "learning_rate_share", "replay", "most_passes", "max_worse"):
      if not 0 <= getattr(self, name) < float("inf"):
        raise ValueError(f"nightly.{name} is {getattr(self, name)}; give 0 or more")
    for name in ("recent_share", "trained_share"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f"nightly.{name} is {getattr(self, name)}; give 0 to 1")


@dataclasses.dataclass(frozen=True)
class ServingConfig:
  """How a trained run answers over a catalogue that has changed since; decides no training."""

  # How items are ranked that the model was not trained on. 'similarity': by that of their vectors
  # to the history, in a search of their own. 'model': by their neighbours in one trie of all items.
  new_items: Literal["similarity", "model"] = "similarity"
  # Of 'similarity': the probability that the next item is a new one, before anything is known of
  # the user. More shows more new items; the mode 'cold_start' measures what that gains and costs.
  new_share: float = 0.05
  # Requests that are searched together at most; 0 for 16 on a CPU and 128 elsewhere. A server with
  # few clients needs no large batches, and starts in less time without their programs.
  largest_batch: int = 0

  def __post_init__(self) -> None:
    """Raises ValueError for another word, a share or a size that makes no sense."""
    check_choices(self)
    if self.largest_batch < 0:
      raise ValueError(f"serving.largest_batch is {self.largest_batch}; give 1 or more")
    if not 0 < self.new_share < 1:
      raise ValueError(
        f"serving.new_share is {self.new_share}; give a number between 0 and 1, or "
        "serving.new_items=model"
      )


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Every setting there is."""

  seed: int = 0
  mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
  profile_steps: int = 0  # steps of the recommender's training to trace into <workdir>/profile
  track: TrackerName = "tensorboard"  # where the figures of trainings go; or mlflow, wandb, none
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  features: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)
  tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
  model: RecommenderConfig = dataclasses.field(default_factory=RecommenderConfig)
  train: RecommenderTrainConfig = dataclasses.field(default_factory=RecommenderTrainConfig)
  sasrec: SASRecRunConfig = dataclasses.field(default_factory=SASRecRunConfig)
  bsarec: BSARecRunConfig = dataclasses.field(default_factory=BSARecRunConfig)
  search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
  evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
  cold_start: ColdStartConfig = dataclasses.field(default_factory=ColdStartConfig)
  serving: ServingConfig = dataclasses.field(default_factory=ServingConfig)
  nightly: UpdateConfig = UpdateConfig()  # 'update' is a method of ml_collections' ConfigDict

  def __post_init__(self) -> None:
    """Raises ValueError for a tracker that there is not."""
    check_choices(self)


def run_config(config: RunConfig | ConfigDict) -> RunConfig:
  """The settings as dataclasses, from a config file's ConfigDict or as they are.

  Raises:
    ValueError: for a setting that makes no sense.
  """
  return config if isinstance(config, RunConfig) else from_dict(RunConfig, config.to_dict())
