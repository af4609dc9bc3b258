"""The sweep's memory: an Optuna study in SQLite, which several processes may work on.

Whoever works on a trial holds a lock that ends with the process. So a trial that is 'running' in
the study and whose lock is free was interrupted, and is gone on with.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from etils import epath

from sidrec.core.settings import flatten
from sidrec.run.lock import locked
from sidrec.run.settings import RunConfig
from sidrec.run.track import shown_settings

STORAGE = "sweep.db"
_AT_WORK = "at_work"  # folder of the locks
_BASE, _DATA = "base", "data"  # attributes of the study
_SECONDS = 60  # that a process waits for others' writes
_STARTUP = 5  # trials before which none is ended early
_WARMUP = 2  # validations that a trial has in any case
_HOW = ("train.accumulate", "model.remat", "train.steps_per_call")  # that change no result

Trial = Any  # optuna.Trial; the package is optional


def import_optuna() -> Any:
  """Optuna, quiet.

  Raises:
    ImportError: if it is not installed.
  """
  try:
    import optuna
  except ModuleNotFoundError:
    raise ImportError(
      "a sweep needs a package that is not installed: pip install 'sidrec[sweep]'"
    ) from None
  optuna.logging.set_verbosity(optuna.logging.WARNING)
  return optuna


def open_study(workdir: epath.Path, base: RunConfig) -> Any:
  """The study of a sweep, made if it is not there.

  Args:
    workdir: the sweep's folder.
    base: the settings that all trials share, but for those that are swept.

  Raises:
    ValueError: if the sweep was begun with other settings.
  """
  optuna = import_optuna()
  pruner = optuna.pruners.MedianPruner(
    n_startup_trials=_STARTUP, n_warmup_steps=_WARMUP * base.train.validate_every
  )
  with locked(workdir, wait=True):
    study = optuna.create_study(
      storage=optuna.storages.RDBStorage(
        f"sqlite:///{workdir / STORAGE}", engine_kwargs={"connect_args": {"timeout": _SECONDS}}
      ),
      study_name="sweep",
      direction="maximize",
      pruner=pruner,
      load_if_exists=True,
    )
    wanted = {name: x for name, x in shown_settings(base).items() if name not in _HOW}
    _check_equal(study, _BASE, json.loads(json.dumps(wanted)), workdir)
  return study


def check_data(study: Any, identity: str, workdir: epath.Path) -> None:
  """Raises ValueError if the sweep was begun with other data."""
  with locked(workdir, wait=True):
    _check_equal(study, _DATA, {"the data": identity}, workdir)


def _check_equal(study: Any, name: str, wanted: dict[str, Any], workdir: epath.Path) -> None:
  before = study.user_attrs.get(name)
  if before is None:
    study.set_user_attr(name, wanted)
    return
  old, new = flatten(before), flatten(wanted)
  changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
  if not changed:
    return
  key = changed[0]
  what = "other data" if name == _DATA else f"{key}={old.get(key)!r}, which is now {new.get(key)!r}"
  raise ValueError(
    f"{workdir} holds a sweep that was begun with {what}; trials would not be comparable: give "
    "another --workdir"
  )


@contextlib.contextmanager
def next_trial(study: Any, workdir: epath.Path, most: int, seed: int) -> Iterator[Trial | None]:
  """A trial to work on, which no other process works on during the block.

  Args:
    study: of `open_study`.
    workdir: the sweep's folder.
    most: how many trials there are to be, those of all processes and failed ones included.
    seed: of what Optuna draws; with one process, a sweep is the same each time.

  Yields:
    An interrupted trial, or a new one; None when there is nothing left to begin.
  """
  optuna = import_optuna()
  running = optuna.trial.TrialState.RUNNING
  with contextlib.ExitStack() as stack:
    with locked(workdir, wait=True):
      found = None
      for frozen in study.get_trials(deepcopy=False, states=(running,)):
        with contextlib.suppress(BlockingIOError):
          held = locked(workdir / _AT_WORK / str(frozen.number))
          stack.enter_context(held)
          if study.trials[frozen.number].state == running:  # and was not finished just now
            found = optuna.trial.Trial(study, frozen._trial_id)
            break
      if found is None and len(study.trials) < most:
        number = len(study.trials)
        # A seed for each trial: processes and restarts must not draw the same again.
        study.sampler = optuna.samplers.TPESampler(seed=seed + 7919 * number, constant_liar=True)
        found = study.ask()
        stack.enter_context(locked(workdir / _AT_WORK / str(found.number)))
    yield found
