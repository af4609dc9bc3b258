"""A run of sidrec as one run in a tracker that keeps runs: MLflow or Weights & Biases."""

import importlib.util
from collections.abc import Mapping
from typing import Any, Protocol

_PACKAGES = {"mlflow": "mlflow", "wandb": "wandb"}  # tracker → what it imports
_LONGEST = 300  # letters of an error that a tracker raised


class TrackedRun(Protocol):
  """A run in a tracker, open for what comes.

  Attributes:
    id: of the run there.
    continues: whether it is the run that was asked for, with all that it was sent before.
  """

  id: str
  continues: bool

  def scalars(self, training: str, step: int, values: Mapping[str, float]) -> None:
    """Adds finite numbers of a training at a step; they may wait for `flush`."""

  def flush(self) -> None:
    """Hands over what waits."""

  def figures(self, values: Mapping[str, float]) -> None:
    """Sets numbers that belong to the whole run."""

  def close(self, how: str) -> None:
    """Ends the run: 'finished', 'failed' or 'stopped'."""


def keeps_runs(tracker: str) -> bool:
  """Whether a tracker keeps runs; TensorBoard has files alone."""
  return tracker in _PACKAGES


def check(tracker: str) -> None:
  """Finds out whether a tracker can be used, before anything is computed.

  Raises:
    ImportError: if its package is not installed.
    OSError: if its server does not answer, or refuses.
  """
  if importlib.util.find_spec(_PACKAGES[tracker]) is None:
    raise ImportError(
      f"--track={tracker} needs a package that is not installed: pip install 'sidrec[{tracker}]'"
    )
  with_reason(tracker, _module(tracker).check)


def open_run(
  tracker: str, name: str, settings: Mapping[str, Any], earlier: str | None
) -> TrackedRun:
  """Begins a run in a tracker, or goes on with an earlier one.

  Args:
    tracker: 'mlflow' or 'wandb'.
    name: of the run, for people.
    settings: flat; its parameters.
    earlier: the id of a run to go on with. Where it is no longer there, a new one begins.

  Raises:
    OSError: if the server does not answer, or refuses.
  """
  return with_reason(tracker, lambda: _module(tracker).open_run(name, settings, earlier))


def with_reason(tracker: str, act: Any) -> Any:
  """What `act` returns; whatever it raises becomes an OSError of one sentence."""
  try:
    return act()
  except Exception as error:
    raise OSError(f"--track={tracker} does not work: {one_line(error)}") from error


def one_line(error: Exception) -> str:
  """The first line of what an error says."""
  text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
  return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _module(tracker: str) -> Any:
  if tracker == "mlflow":
    from sidrec.tracking import mlflow_runs

    return mlflow_runs
  from sidrec.tracking import wandb_runs

  return wandb_runs
