"""Where the points of one training go, whatever shows them."""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from etils import epath

TRACKERS = ("tensorboard", "mlflow", "wandb", "none")
TrackerName = Literal["tensorboard", "mlflow", "wandb", "none"]


class Points(Protocol):
  """Takes the points of one training."""

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Adds one point for each name, at a step."""

  def close(self) -> None:
    """Writes what is left; the last call."""


# (folder of the stage, name of the training, restored step, last step ever logged) → Points
MakePoints = Callable[[epath.Path, str, int, int], Points]


class NoPoints:
  """Takes them and shows them nowhere."""

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Does nothing."""

  def close(self) -> None:
    """Does nothing."""


def no_points(folder: epath.Path, training: str, start_step: int, logged: int) -> Points:
  """For `none`."""
  del folder, training, start_step, logged
  return NoPoints()


class EndedEarly(BaseException):
  """Who watches a training has seen enough: it ends on purpose, and nothing failed."""


def plain(name: str) -> str:
  """'ndcg@10' → 'ndcg_10': TensorBoard and MLflow have no @ in names."""
  return name.replace("@", "_")
