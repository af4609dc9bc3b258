"""Runs in Weights & Biases; where they go is decided by its own settings: WANDB_MODE and others."""

import os
from collections.abc import Mapping
from typing import Any

import wandb

from sidrec.tracking.points import plain

PROJECT = "sidrec"  # unless WANDB_PROJECT names another
_SECONDS = 30.0  # to wait for the server; W&B's own patience is 90
_EXIT_CODES = {"finished": 0, "failed": 1, "stopped": 130}


def check() -> None:
  """Asks the server whether the key is right; offline, there is nothing to ask."""
  if _is_online() and not wandb.login(verify=True, timeout=int(_SECONDS)):
    raise OSError("no key is known; run wandb login, or set WANDB_MODE=offline")


def open_run(name: str, settings: Mapping[str, Any], earlier: str | None) -> "WandbRun":
  """As `runs.open_run`. What W&B would note of the host, its paths and its output is left out."""
  run: Any = wandb.init(
    project=os.environ.get("WANDB_PROJECT") or PROJECT,
    name=name,
    id=earlier,
    resume="allow",
    config=dict(settings),
    settings=wandb.Settings(
      silent=True,
      console="off",
      disable_git=True,
      save_code=False,
      init_timeout=_SECONDS,
      x_disable_meta=True,
      x_disable_stats=True,
      host="unnamed",
      x_save_requirements=False,
    ),
  )
  # Offline, each process writes a folder of its own; `wandb sync` joins them by the run's id.
  return WandbRun(run, continues=bool(earlier) and (bool(run.offline) or bool(run.resumed)))


class WandbRun:
  """See `runs.TrackedRun`."""

  def __init__(self, run: Any, *, continues: bool):
    """`run`: as `wandb.init` gives it."""
    self.id, self.continues = run.id, continues
    self._run = run
    self._trainings: set[str] = set()

  def scalars(self, training: str, step: int, values: Mapping[str, float]) -> None:
    """Each training has steps of its own, as a metric that the others are drawn over."""
    at = f"{training}/step"
    if training not in self._trainings:
      self._trainings.add(training)
      self._run.define_metric(at)
      self._run.define_metric(f"{training}/*", step_metric=at)
    self._run.log({at: step, **{f"{training}/{plain(name)}": x for name, x in values.items()}})

  def flush(self) -> None:
    """Does nothing: a process of W&B's sends what was logged."""

  def figures(self, values: Mapping[str, float]) -> None:
    """As the run's summary."""
    self._run.summary.update({plain(name): x for name, x in values.items()})

  def close(self, how: str) -> None:
    """Waits until all is sent."""
    self._run.finish(exit_code=_EXIT_CODES[how])


def _is_online() -> bool:
  return (wandb.setup().settings.mode or "online") == "online"
