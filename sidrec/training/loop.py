"""The training loop: one for every trained thing.

Each call to the device runs several optimiser steps under `lax.scan`. While it
runs, the host prepares the next call's batches and reads the metrics of the
call before, so the device never waits for the host except to validate.

A signal to stop (see `preemption`) saves the state between two calls. All processes stop at the
same step, wherever the signal came, because each call asks all of them.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from sidrec.parallel import mesh as mesh_lib
from sidrec.parallel.hosts import from_primary, largest_of_all
from sidrec.parallel.preemption import Stopped, while_training
from sidrec.training import meter as meter_lib
from sidrec.training.checkpoint import Checkpoints, open_checkpoints
from sidrec.training.logging import Logger
from sidrec.training.meter import Meter
from sidrec.training.profile import Trace
from sidrec.training.state import TrainState, init_state, update
from sidrec.training.task import Task

PyTree = Any


class TrainingDivergedError(FloatingPointError):
  """The loss or a score is NaN or infinite."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """How long to train and how often to look.

  Attributes:
    steps: optimiser steps in all.
    steps_per_call: steps run by one call to the device.
    validate_every: steps between validations; each one may save a checkpoint.
    metric: name of the validation score that decides which parameters are kept.
    maximise: whether more of it is better.
    patience: stop after this many validations in a row without a better score; 0 never stops.
    average_decay: decay of the moving average of parameters that is validated
      and kept; 0 keeps the plain parameters.
    accumulate: micro-batches that the gradient of a step is computed in.
  """

  steps: int
  steps_per_call: int
  validate_every: int
  metric: str
  maximise: bool = True
  patience: int = 0
  average_decay: float = 0.0
  accumulate: int = 1

  def __post_init__(self):
    for name in ("steps", "steps_per_call", "validate_every", "accumulate"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
    if not 0.0 <= self.average_decay < 1.0:
      raise ValueError(f"average_decay must lie in [0, 1), not {self.average_decay}")


class Records(NamedTuple):
  """Where a training writes what it does."""

  directory: Path | str  # takes the checkpoints, the latest and the best
  make_logger: Callable[[int], Logger]  # start step → logger, for progress and scores
  trace: Trace | None = None  # from `profile.make_trace`; None traces nothing


class Progress(NamedTuple):
  """Holds what the validations so far have found; saved with every state."""

  best: float | None = None  # the best score
  best_step: int = 0
  since_best: int = 0  # validations after it

  def after(self, step: int, score: float, *, better: bool) -> "Progress":
    """The progress after one more validation."""
    if better:
      return Progress(score, step, 0)
    return self._replace(since_best=self.since_best + 1)

  def improved_by(self, score: float, config: LoopConfig) -> bool:
    """Whether a score is the best so far."""
    if self.best is None:
      return True
    return score > self.best if config.maximise else score < self.best


def train(
  task: Task,
  optimizer: optax.GradientTransformation,
  batch_at: Callable[[int], PyTree],
  validate: Callable[[PyTree], dict[str, float]],
  config: LoopConfig,
  key: jax.Array,
  mesh: jax.sharding.Mesh,
  records: Records,
) -> PyTree:
  """Trains to the end or to early stopping; a run that was stopped continues.

  Args:
    task: what to train.
    optimizer: an optax transformation.
    batch_at: step → this process's share of the batch, a dict of NumPy arrays.
    validate: params → scores; must hold `config.metric`.
    config: how long and how often.
    key: of parameters and dropout; a resumed run continues with the saved one.
    mesh: devices; the batch is split over its 'data' axis, large parameters over 'model'.
    records: where to write.

  Returns:
    The parameters with the best validation score (their moving average, where kept).

  Raises:
    TrainingDivergedError: if the loss is not finite; the last checkpoint is kept.
    ValueError, OSError: if checkpoints cannot be restored or saved; see `Checkpoints`.
    Stopped: after a signal, when the state is saved.
  """
  start = functools.partial(init_state, task, optimizer, averaged=config.average_decay > 0)
  abstract = mesh_lib.with_shardings(mesh, jax.eval_shape(start, key))
  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  run = make_run(task, optimizer, config, mesh, shardings)

  with open_checkpoints(records.directory) as checkpoints, while_training() as asked_here:
    state, progress = _restore(checkpoints, abstract) or (
      jax.jit(start, out_shardings=shardings)(key),
      Progress(),
    )
    step, stop = int(state.step), 0
    logger = records.make_logger(step)
    calls = _Calls(
      run=run,
      batch_at=batch_at,
      make_meter=lambda batches: make_meter(task, abstract, batches, mesh),
      mesh=mesh,
      asked_here=asked_here,
      logger=logger,
      checkpoints=checkpoints,
      trace=records.trace,
    )
    while step < config.steps and not stop and not _out_of_patience(progress, config):
      until = step + _steps_to_validation(step, config)
      state, step, stop = calls.advance(state, step, until, config.steps_per_call)
      if step < until:
        break
      if step >= config.steps:
        calls.trace_before(step, state)
      scores = _validated(validate, state, step, config, logger)
      better = progress.improved_by(scores[config.metric], config)
      progress = progress.after(step, scores[config.metric], better=better)
      if better:
        checkpoints.save_best(step, _kept_params(state), scores[config.metric])
      checkpoints.save_latest(step, state, progress._asdict())
      calls.restart_meter(step)

    logger.close()
    if stop:
      checkpoints.save_latest(step, state, progress._asdict())  # a no-op right after a validation
      checkpoints.wait()
      raise Stopped(stop, f" at step {step}, which is saved; the same command goes on from there")
    del state  # its buffers are not needed any more
    return _best_params(checkpoints, abstract, records.directory)


class _Calls:
  """Calls to the device: each dispatches its steps before the metrics of the last are read."""

  def __init__(
    self,
    *,
    run: Callable[[TrainState, PyTree], tuple[TrainState, dict]],
    batch_at: Callable[[int], PyTree],
    make_meter: Callable[[PyTree], Meter],
    mesh: jax.sharding.Mesh,
    asked_here: Callable[[], int],
    logger: Logger,
    checkpoints: Checkpoints,
    trace: Trace | None,
  ):
    self._run, self._batch_at, self._mesh, self._asked_here = run, batch_at, mesh, asked_here
    self._logger, self._checkpoints, self._trace = logger, checkpoints, trace
    self._make_meter = make_meter
    self._meter: Meter | None = None

  def advance(
    self, state: TrainState, step: int, until: int, steps_per_call: int
  ) -> tuple[TrainState, int, int]:
    """Trains to step `until`, or until a signal comes: (state, step, the signal or 0)."""
    stop, pending = 0, None
    while step < until and not stop:
      count = min(steps_per_call, until - step)
      batches = _stacked(self._batch_at, step, count, self._mesh)
      if self._meter is None:
        self._meter = self._make_meter(batches)
      self.trace_before(step, state)
      state, metrics = self._run(state, batches)
      asked = largest_of_all(self._mesh, self._asked_here())
      stop = self._report(pending)
      step += count
      pending = (step, metrics, asked)
    return state, step, self._report(pending) or stop

  def trace_before(self, step: int, state: TrainState) -> None:
    """Starts or ends the trace, where one is wanted."""
    if self._trace is not None:
      self._trace(step, state)

  def restart_meter(self, step: int) -> None:
    """Leaves the time of a validation out of the rates."""
    if self._meter is not None:
      self._meter.restart(step)

  def _report(self, pending: tuple[int, dict, Any] | None) -> int:
    """Writes the metrics of a finished call, waiting for it; returns the signal to stop, or 0."""
    if pending is None or self._meter is None:
      return 0
    step, metrics, asked = pending
    means = {name: float(np.mean(values)) for name, values in jax.device_get(metrics).items()}
    if not np.isfinite(means["loss"]):
      saved = self._checkpoints.latest_step()
      kept = "no checkpoint was saved yet" if saved is None else f"the one of step {saved} is kept"
      raise TrainingDivergedError(
        f"the loss became {means['loss']} in the steps up to {step}; {kept}. "
        "Lower the learning rate, or clip gradients harder, and start again."
      )
    rates = self._meter.read(step, means.get("tokens"))
    self._logger.scalars(step, {f"train/{name}": value for name, value in (means | rates).items()})
    self._logger.progress(step, means["loss"], meter_lib.human(rates))
    return int(asked)


def _restore(checkpoints: Checkpoints, abstract: TrainState) -> tuple[TrainState, Progress] | None:
  """The latest state and its progress, or None for a new run."""
  restored = checkpoints.restore_latest(abstract)
  if restored is None:
    return None
  state, saved = restored
  progress = Progress(**saved)
  best_step = checkpoints.best_step() or 0
  if best_step != progress.best_step:  # its files were damaged, so it was forgotten
    progress = progress._replace(best=checkpoints.best_metric(), best_step=best_step)
  return state, progress


def _validated(
  validate: Callable[[PyTree], dict[str, float]],
  state: TrainState,
  step: int,
  config: LoopConfig,
  logger: Logger,
) -> dict[str, float]:
  """The scores of a validation, the same on all hosts, and logged."""
  found = validate(_kept_params(state))
  # The primary host's count for all: the last bits may differ from host to host.
  scores = from_primary(lambda: {name: float(value) for name, value in found.items()})
  logger.scalars(step, {f"valid/{name}": value for name, value in scores.items()})
  if not np.isfinite(scores[config.metric]):
    raise TrainingDivergedError(f"{config.metric} is {scores[config.metric]} at step {step}")
  return scores


def _best_params(checkpoints: Checkpoints, abstract: TrainState, directory: Path | str) -> PyTree:
  best = checkpoints.restore_best(_kept_params(abstract))
  if best is None:
    raise ValueError(f"no best parameters are left in {directory}; delete it to train anew")
  return best


def make_run(
  task: Task,
  optimizer: optax.GradientTransformation,
  config: LoopConfig,
  mesh: jax.sharding.Mesh,
  shardings: PyTree,
) -> Callable[[TrainState, PyTree], tuple[TrainState, dict]]:
  """Compiles several optimiser steps: (state, batches stacked in axis 0) → (state, metrics).

  The state is donated and stays where `shardings` say; metrics are stacked alike, on every device.
  """
  step = functools.partial(
    update,
    task,
    optimizer,
    average_decay=config.average_decay,
    accumulate=config.accumulate,
    mesh=mesh,
  )
  return jax.jit(
    lambda state, batches: jax.lax.scan(step, state, batches),
    donate_argnums=0,
    out_shardings=(shardings, mesh_lib.replicated(mesh)),
  )


def make_meter(task: Task, state: TrainState, batches: PyTree, mesh: jax.sharding.Mesh) -> Meter:
  """The meter of a training, from an (abstract) state and stacked global batches."""
  batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batches)

  def flops_per_step() -> float:
    key = jax.eval_shape(lambda: jax.random.key(0))
    return meter_lib.training_flops(task.loss, state.params, state.aux, batch, key)

  peak = meter_lib.peak_flops(mesh.devices.flat[0])
  return meter_lib.make_meter(flops_per_step, mesh.devices.size, peak)


def _kept_params(state: TrainState) -> PyTree:
  """The parameters that are validated and kept."""
  return state.average if state.average != () else state.params


def _steps_to_validation(step: int, config: LoopConfig) -> int:
  """Steps until the next validation, which also comes after the last step."""
  return min(config.validate_every - step % config.validate_every, config.steps - step)


def _out_of_patience(progress: Progress, config: LoopConfig) -> bool:
  return 0 < config.patience <= progress.since_best


def _stacked(batch_at, step: int, count: int, mesh) -> PyTree:
  """The batches of the next `count` steps, stacked and spread over the devices."""
  batches = [batch_at(step + i) for i in range(count)]
  return mesh_lib.to_global(mesh, jax.tree.map(lambda *x: np.stack(x), *batches), leading=1)
