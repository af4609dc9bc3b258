"""One trial: a run of its own up to the trained recommender, watched while it trains."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from etils import epath

from sidrec.run.stages import run_to
from sidrec.sweep.shared import share_stages
from sidrec.sweep.space import Space
from sidrec.sweep.study import Trial, import_optuna
from sidrec.tracking.points import EndedEarly, MakePoints, NoPoints, Points
from sidrec.training.logging import logged_lines, watched_by

METRIC = "valid/ndcg@10"  # that a training keeps its best parameters by, and trials compete for
TRIALS = "trials"
SETTINGS, STEP, WHY = "settings", "step", "why"  # attributes of a trial


class Best(NamedTuple):
  """The best validation of a training."""

  value: float
  step: int


def folder_of(workdir: epath.Path, number: int) -> epath.Path:
  """The run of a trial."""
  return workdir / TRIALS / str(number)


def work_on(study: Any, trial: Trial, space: Space, workdir: epath.Path, *, prune: bool) -> None:
  """Runs a trial to its end and writes down what came out, also a failure.

  Raises:
    OSError, ImportError: for what is wrong with more than this trial.
    Stopped: after a signal; the trial can be gone on with.
  """
  states = import_optuna().trial.TrialState
  try:
    settings = space.of(trial)
    trial.set_user_attr(SETTINGS, settings)
    words = "  ".join(f"{name}={value!r}" for name, value in settings.items())
    print(f"\ntrial {trial.number}: {words}", flush=True)
    best = _train(trial, space.config(settings), workdir, prune)
  except EndedEarly as ended:
    study.tell(trial, state=states.PRUNED)
    print(f"trial {trial.number}: {ended}")
  # Wrong values, a loss that is not finite, too little memory: of this trial alone.
  except (ValueError, FloatingPointError, jax.errors.JaxRuntimeError) as error:
    why = str(error).partition("\n")[0]
    trial.set_user_attr(WHY, why)
    study.tell(trial, state=states.FAIL)
    print(f"trial {trial.number}: failed: {why}")
  else:
    trial.set_user_attr(STEP, best.step)
    study.tell(trial, best.value)
    print(f"trial {trial.number}: NDCG@10 {best.value:.4f} on validation, at step {best.step}")


def _train(trial: Trial, config: Any, workdir: epath.Path, prune: bool) -> Best:
  folder = folder_of(workdir, trial.number)
  share_stages(config, workdir, folder)
  with watched_by(_watcher(trial, prune)):
    chain = run_to("train", config, folder)
  return best_of(chain["train"].folder)


def best_of(folder: epath.Path) -> Best:
  """The best validation in the log of the stage 'train'.

  Raises:
    ValueError: if there is none.
  """
  lines = [line for line in logged_lines(folder, "recommender") if line.get(METRIC) is not None]
  if not lines:
    raise ValueError(f"{folder} holds no validation of a training")
  best = max(lines, key=lambda line: (line[METRIC], -line["step"]))
  return Best(float(best[METRIC]), int(best["step"]))


def _watcher(trial: Trial, prune: bool) -> MakePoints:
  def points(folder: epath.Path, training: str, start_step: int, logged: int) -> Points:
    del folder, start_step, logged
    return _Watched(trial, prune) if training == "recommender" else NoPoints()

  return points


class _Watched:
  """Tells Optuna of every validation, and ends a training that falls behind."""

  def __init__(self, trial: Trial, prune: bool):
    self._trial, self._prune = trial, prune
    frozen = trial.study.trials[trial.number]
    self._known = set(frozen.intermediate_values)  # before an interruption

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Raises EndedEarly where the trial is worse than the median of those before it."""
    value = values.get(METRIC)
    if value is None or not math.isfinite(value):
      return
    if step not in self._known:
      self._trial.report(value, step)
      self._known.add(step)
    if self._prune and self._trial.should_prune():
      raise EndedEarly(
        f"ended early at step {step}: its validation is worse than the median of other trials there"
      )

  def close(self) -> None:
    """Does nothing."""
