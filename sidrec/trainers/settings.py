"""How the recommender and SASRec are trained."""

import dataclasses
from typing import Literal

from sidrec.core.settings import check_choices
from sidrec.data.targets import check_targets


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """The settings of a training on histories."""

  batch_size: int = 16  # rows of S positions, over all processes
  accumulate: int = 1  # micro-batches that a step's gradient is computed in
  steps: int = 3000
  steps_per_call: int = 10  # that one call to the device runs
  learning_rate: float = 2e-3  # the peak
  warmup_steps: int = 200
  schedule: str = "cosine"  # or 'inverse_sqrt': at its peak for warmup_steps, then 1/√step
  weight_decay: float = 0.05
  clip_norm: float = 1.0
  average_decay: float = 0.999  # of the moving average of parameters; 0 keeps none
  # A step changes the rows of the item table that its batch needs, and no others: it costs as much
  # with any number of items. Moments and weights of the other rows do not decay.
  lazy_adam: bool = False
  validate_every: int = 300
  valid_users: int = 1500  # a random sample, so that validating stays cheap
  patience: int = 3  # validations without a better NDCG@10 before stopping; 0 never stops

  def __post_init__(self) -> None:
    """Raises ValueError for settings that exclude each other."""
    if self.lazy_adam and self.accumulate > 1:
      raise ValueError(
        "train.lazy_adam takes each batch in one pass; set train.accumulate to 1, or lazy_adam to "
        "False"
      )


@dataclasses.dataclass(frozen=True)
class RecommenderTrainConfig(TrainConfig):
  """The settings of `config.train`."""

  item_loss: float = 1.0  # weight of the item head's loss, added to the semantic ID's
  # What is predicted, by all models of the run, in training and evaluation; other events are read.
  targets: tuple[str, ...] = ()  # names of actions, such as ("buy",); () for all
  least_rating: float = 0.0  # of a target; above 0, events without a rating are none

  def __post_init__(self) -> None:
    """Raises ValueError for settings that exclude each other, or that name no action or rating."""
    super().__post_init__()
    check_targets(self.targets, self.least_rating)


@dataclasses.dataclass(frozen=True)
class SASRecTrainConfig(TrainConfig):
  """The settings of `config.sasrec.train`."""

  steps: int = 5000
  validate_every: int = 500
  # 'every': all positions of a history predict what follows, in one pass. 'last': each prefix of a
  # history is an example of its own, and its last position predicts.
  predicts: Literal["every", "last"] = "every"

  def __post_init__(self):
    """Raises ValueError for another word, or settings that exclude each other."""
    super().__post_init__()
    check_choices(self)


@dataclasses.dataclass(frozen=True)
class BSARecTrainConfig(SASRecTrainConfig):
  """The settings of `config.bsarec.train`."""

  batch_size: int = 48  # rows, that prefixes share
  learning_rate: float = 1e-3
  weight_decay: float = 0.0
  predicts: Literal["every", "last"] = "last"
