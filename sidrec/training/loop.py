"""The training loop: one for every trained thing.

Each call to the device runs several optimiser steps under `lax.scan`. While it
runs, the host prepares the next call's batches and reads the metrics of the
call before, so the device never waits for the host except to validate.

A signal to stop (see `preemption`) saves the state between two calls. Every call asks all
processes for one, so that they stop at the same step, whichever of them received it.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
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
from sidrec.training.state import TrainState, init_state, kept_params, update
from sidrec.training.task import Task

PyTree = Any
Validate = Callable[[PyTree], dict[str, float]]  # params → scores
# (state, batches, what the task reads) → (state, metrics)
Run = Callable[[TrainState, PyTree, PyTree], tuple[TrainState, dict]]


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

  directory: str | os.PathLike[str]  # takes the checkpoints, the latest and the best
  make_logger: Callable[[int], Logger]  # start step → logger, for progress and scores
  trace: Callable[[int, object], None] = lambda step, state: None  # such as a `profile.Trace`


class Progress(NamedTuple):
  """Holds what the validations so far have found; saved with every state."""

  best: float | None = None  # the best score
  best_step: int = 0
  since_best: int = 0  # validations after it

  def after(self, step: int, score: float, config: LoopConfig) -> "Progress":
    """The progress after one more validation."""
    sign = 1 if config.maximise else -1
    if self.best is None or sign * (score - self.best) > 0:
      return Progress(score, step, 0)
    return self._replace(since_best=self.since_best + 1)


def train(
  task: Task,
  optimizer: optax.GradientTransformation,
  batch_at: Callable[[int], PyTree],
  validate: Validate,
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
  with open_checkpoints(records.directory) as checkpoints, while_training() as signal_here:
    state, progress = _restore(checkpoints, abstract) or (
      jax.jit(start, out_shardings=shardings)(key),
      Progress(),
    )
    reports = _Reports(records.make_logger(int(state.step)), checkpoints)
    arrays = mesh_lib.on_all_devices(mesh, task.arrays)
    calls = _Calls(task, run, arrays, batch_at, mesh, signal_here, records.trace, reports)
    try:
      _train_and_validate(calls, state, progress, validate, config)
    finally:
      reports.logger.close()
    del state  # its buffers are not needed any more
    # An average has the shapes of the parameters, and lies where they do.
    best = checkpoints.restore_best(abstract.params)
  if best is None:
    raise ValueError(f"no best parameters are left in {records.directory}; delete it to train anew")
  return best


def start_from(
  params: PyTree,
  task: Task,
  optimizer: optax.GradientTransformation,
  validate: Validate,
  config: LoopConfig,
  key: jax.Array,
  mesh: jax.sharding.Mesh,
  directory: str | os.PathLike[str],
) -> None:
  """Lets `train`, called with the same arguments, go on from given parameters.

  They are validated and saved as the state before the first step, with a fresh optimiser state; so
  they are what `train` returns if no later ones are better. A training that began before is left
  as it is.

  Args:
    params: as `task.init` gives them.
    directory: of the checkpoints.
    task, optimizer, validate, config, key, mesh: as `train` takes them.

  Raises:
    ValueError: if they do not fit the task; or as `Checkpoints` does.
    TrainingDivergedError: if their score is not finite.
  """
  averaged = config.average_decay > 0
  with open_checkpoints(directory) as checkpoints:
    if checkpoints.latest_step() is not None:
      return
    wanted = jax.eval_shape(lambda key: task.init(key)[0], key)
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (params, wanted)]
    if shapes[0] != shapes[1]:
      raise ValueError("the parameters do not fit the model: other names, shapes or types")

    def begin(params: PyTree, key: jax.Array) -> TrainState:
      given = task._replace(init=lambda key: (params, ()))
      return init_state(given, optimizer, key, averaged=averaged)

    shardings = mesh_lib.state_shardings(mesh, jax.eval_shape(begin, params, key))
    state = jax.jit(begin, out_shardings=shardings)(params, key)
    # Where training has them, so that its validations find this one's programs.
    kept = kept_params(task, state, config.average_decay)
    score = float(validate(kept)[config.metric])
    if not np.isfinite(score):
      raise TrainingDivergedError(f"{config.metric} of the given parameters is {score}")
    checkpoints.save_best(0, kept, score)
    checkpoints.save_latest(0, state, Progress(score)._asdict())


def _train_and_validate(
  calls: "_Calls", state: TrainState, progress: Progress, validate: Validate, config: LoopConfig
) -> None:
  """Trains to the last step, or until patience ends or a signal comes; saves on the way."""
  reports, step, signal = calls.reports, int(state.step), 0
  checkpoints = reports.checkpoints
  while step < config.steps and not signal and not 0 < config.patience <= progress.since_best:
    # A validation comes after the last step, too.
    until = min(step - step % config.validate_every + config.validate_every, config.steps)
    state, step, signal = calls.advance(state, step, until, config.steps_per_call)
    if step < until:
      break
    if step >= config.steps:
      calls.trace(step, state)
    kept = kept_params(calls.task, state, config.average_decay)
    score = reports.validation(step, validate(kept), config.metric)
    progress = progress.after(step, score, config)
    if progress.best_step == step:
      checkpoints.save_best(step, kept, score)
    checkpoints.save_latest(step, state, progress._asdict())
    reports.restart_meter(step)
  if signal:
    checkpoints.save_latest(step, state, progress._asdict())  # a no-op right after a validation
    checkpoints.wait()
    raise Stopped(signal, f" at step {step}, which is saved; the same command goes on from there")


@dataclasses.dataclass
class _Reports:
  """Writes what calls and validations find."""

  logger: Logger
  checkpoints: Checkpoints
  meter: Meter | None = None  # made at the first call

  def call(self, step: int, metrics: dict[str, jax.Array]) -> None:
    """Writes the metrics of a call that ended at `step`; waits for it."""
    means = {name: float(np.mean(values)) for name, values in jax.device_get(metrics).items()}
    if not np.isfinite(means["loss"]):
      saved = self.checkpoints.latest_step()
      kept = "no checkpoint was saved yet" if saved is None else f"the one of step {saved} is kept"
      raise TrainingDivergedError(
        f"the loss became {means['loss']} in the steps up to {step}; {kept}. "
        "Lower the learning rate, or clip gradients harder, and start again."
      )
    rates = {} if self.meter is None else self.meter.read(step, means.get("tokens"))
    self.logger.scalars(step, {f"train/{name}": x for name, x in (means | rates).items()})
    self.logger.progress(step, means["loss"], meter_lib.human(rates))

  def validation(self, step: int, found: dict[str, float], metric: str) -> float:
    """Writes the scores of a validation; returns the one that decides, the same on all hosts."""
    # The last bits may differ from host to host; the primary host's count.
    scores = from_primary(lambda: {name: float(value) for name, value in found.items()})
    self.logger.scalars(step, {f"valid/{name}": value for name, value in scores.items()})
    if not np.isfinite(scores[metric]):
      raise TrainingDivergedError(f"{metric} is {scores[metric]} at step {step}")
    return scores[metric]

  def restart_meter(self, step: int) -> None:
    """Leaves the time of a validation out of the rates."""
    if self.meter is not None:
      self.meter.restart(step)


@dataclasses.dataclass(frozen=True)
class _Calls:
  """Calls to the device: each starts before the metrics of the last are read."""

  task: Task
  run: Run
  arrays: PyTree  # what the task reads
  batch_at: Callable[[int], PyTree]
  mesh: jax.sharding.Mesh
  signal_here: Callable[[], int]  # the signal that this process received, or 0
  trace: Callable[[int, object], None]
  reports: _Reports

  def advance(
    self, state: TrainState, step: int, until: int, steps_per_call: int
  ) -> tuple[TrainState, int, int]:
    """Trains to step `until`, or until a signal comes: (state, step, the signal or 0)."""
    signal, pending = 0, None
    while step < until and not signal:
      count = min(steps_per_call, until - step)
      batches = _stacked(self.batch_at, step, count, self.mesh)
      self.trace(step, state)
      state, metrics = self.run(state, batches, self.arrays)
      signals = largest_of_all(self.mesh, self.signal_here())
      if self.reports.meter is None:
        self.reports.meter = meter_lib.make_meter(self.task.loss, state, batches, self.mesh)
      signal = self._finish(pending)
      step += count
      pending = (step, metrics, signals)
    return state, step, self._finish(pending) or signal

  def _finish(self, pending: tuple[int, dict, jax.Array | int] | None) -> int:
    """Reports a call, waiting for it; returns the signal that came to a process, or 0."""
    if pending is None:
      return 0
    step, metrics, signals = pending
    self.reports.call(step, metrics)
    return int(signals)


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


def make_run(
  task: Task,
  optimizer: optax.GradientTransformation,
  config: LoopConfig,
  mesh: jax.sharding.Mesh,
  shardings: PyTree,
) -> Run:
  """Compiles several optimiser steps: (state, batches, arrays) → (state, metrics).

  Batches are stacked in axis 0; arrays are `task.arrays`. The state is donated and stays where
  `shardings` say; metrics are stacked alike, on every device.
  """

  def run(state: TrainState, batches: PyTree, arrays: PyTree) -> tuple[TrainState, dict]:
    step = functools.partial(
      update,
      task if task.reading is None else task.reading(arrays),
      optimizer,
      average_decay=config.average_decay,
      accumulate=config.accumulate,
      mesh=mesh,
    )
    return jax.lax.scan(step, state, batches)

  return jax.jit(run, donate_argnums=0, out_shardings=(shardings, mesh_lib.replicated(mesh)))


def _stacked(batch_at, step: int, count: int, mesh) -> PyTree:
  """The batches of the next `count` steps, stacked and spread over the devices."""
  batches = [batch_at(step + i) for i in range(count)]
  return mesh_lib.to_global(mesh, jax.tree.map(lambda *x: np.stack(x), *batches), leading=1)
