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
from typing import Any

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
  """The loss is not a number any more."""


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


def train(
  task: Task,
  optimizer: optax.GradientTransformation,
  batch_at: Callable[[int], PyTree],
  validate: Callable[[PyTree], dict[str, float]],
  config: LoopConfig,
  key: jax.Array,
  mesh: jax.sharding.Mesh,
  directory: Path | str,
  make_logger: Callable[[int], Logger],
  trace: Trace | None = None,
) -> PyTree:
  """Trains to the end, to early stopping, or on from where a run was stopped.

  Args:
    task: what to train.
    optimizer: an optax transformation.
    batch_at: step → this process's share of the batch, a dict of NumPy arrays.
    validate: params → scores; must hold `config.metric`.
    config: how long and how often.
    key: of parameters and dropout; a resumed run goes on with the saved one.
    mesh: devices; the batch is split over its 'data' axis, large parameters over 'model'.
    directory: holds the checkpoints, the latest and the best.
    make_logger: start step → logger, which takes progress and scores.
    trace: from `profile.make_trace`, to trace some steps; None for no trace.

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
  sign = 1.0 if config.maximise else -1.0
  meter: Meter | None = None

  with open_checkpoints(directory) as checkpoints, while_training() as asked_here:
    progress: dict[str, Any] = {"best": None, "best_step": 0, "since_best": 0}
    restored = checkpoints.restore_latest(abstract)
    if restored is not None:
      state, progress = restored
      best_step = checkpoints.best_step() or 0
      if best_step != progress["best_step"]:  # its files were damaged, so it was forgotten
        progress = {**progress, "best": checkpoints.best_metric(), "best_step": best_step}
    else:
      state = jax.jit(start, out_shardings=shardings)(key)
    step = int(state.step)
    logger = make_logger(step)
    pending = None  # steps and metrics of the call that is running, and whether to stop
    stop = 0

    while step < config.steps and not _out_of_patience(progress, config):
      count = min(config.steps_per_call, _steps_to_validation(step, config))
      batches = _stacked(batch_at, step, count, mesh)
      if meter is None:
        meter = make_meter(task, abstract, batches, mesh)
      if trace is not None:
        trace(step, state)
      state, metrics = run(state, batches)
      asked = largest_of_all(mesh, asked_here())
      stop = _report(pending, logger, checkpoints, meter)
      step += count
      pending = (step, metrics, asked)
      to_validate = step % config.validate_every == 0 or step >= config.steps
      if not to_validate and not stop:
        continue

      stop = _report(pending, logger, checkpoints, meter) or stop
      pending = None
      if not to_validate:
        break
      if trace is not None and step >= config.steps:
        trace(step, state)
      scores = _of_lead(validate(_kept_params(state)))
      logger.scalars(step, {f"valid/{name}": value for name, value in scores.items()})
      if not np.isfinite(scores[config.metric]):
        raise TrainingDivergedError(f"{config.metric} is {scores[config.metric]} at step {step}")
      better = progress["best"] is None or sign * (scores[config.metric] - progress["best"]) > 0
      if better:
        progress = {"best": float(scores[config.metric]), "best_step": step, "since_best": 0}
        checkpoints.save_best(step, _kept_params(state), progress["best"])
      else:
        progress = {**progress, "since_best": progress["since_best"] + 1}
      checkpoints.save_latest(step, state, progress)
      if stop:
        break
      meter.restart(step)

    logger.close()
    if stop:
      checkpoints.save_latest(step, state, progress)  # nothing more where it was just validated
      checkpoints.wait()
      raise Stopped(stop, f" at step {step}, which is saved; the same command goes on from there")
    abstract_params = _kept_params(abstract)
    del state  # its buffers are not needed any more
    best = checkpoints.restore_best(abstract_params)
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


def _of_lead(scores: dict[str, float]) -> dict[str, float]:
  """The primary host's scores, for all: the last bits may differ from host to host."""
  return from_primary(lambda: {name: float(value) for name, value in scores.items()})


def _steps_to_validation(step: int, config: LoopConfig) -> int:
  """Steps until the next validation, which also comes after the last step."""
  return min(config.validate_every - step % config.validate_every, config.steps - step)


def _out_of_patience(progress: dict, config: LoopConfig) -> bool:
  return 0 < config.patience <= progress["since_best"]


def _stacked(batch_at, step: int, count: int, mesh) -> PyTree:
  """The batches of the next `count` steps, stacked and spread over the devices."""
  batches = [batch_at(step + i) for i in range(count)]
  return mesh_lib.to_global(mesh, jax.tree.map(lambda *x: np.stack(x), *batches), leading=1)


def _report(pending, logger: Logger, checkpoints: Checkpoints, meter: Meter) -> int:
  """Writes the metrics of a finished call; this waits for it. Returns the signal to stop, or 0."""
  if pending is None:
    return 0
  step, metrics, asked = pending
  means = {name: float(np.mean(values)) for name, values in jax.device_get(metrics).items()}
  if not np.isfinite(means["loss"]):
    saved = checkpoints.latest_step()
    kept = "no checkpoint was saved yet" if saved is None else f"the one of step {saved} is kept"
    raise TrainingDivergedError(
      f"the loss became {means['loss']} in the steps up to {step}; {kept}. "
      "Lower the learning rate, or clip gradients harder, and start again."
    )
  rates = meter.read(step, means.get("tokens"))
  logger.scalars(step, {f"train/{name}": value for name, value in (means | rates).items()})
  logger.progress(step, means["loss"], meter_lib.human(rates))
  return int(asked)
