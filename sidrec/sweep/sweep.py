"""Mode 'sweep': trials one after the other until there are enough; several processes may help."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from etils import epath
from ml_collections import ConfigDict

from sidrec.core.atomic import PathLike
from sidrec.core.paths import as_path, is_local
from sidrec.parallel import hosts
from sidrec.run.generations import STAGES as GENERATIONS
from sidrec.run.settings import RunConfig, run_config
from sidrec.sweep.page import write_page
from sidrec.sweep.shared import prepared
from sidrec.sweep.space import Space, load_space
from sidrec.sweep.study import check_data, import_optuna, next_trial, open_study
from sidrec.sweep.table import finished, summary, tried
from sidrec.sweep.trial import work_on

_HOPELESS = 3  # trials that all fail, after which a sweep ends


class Search(NamedTuple):
  """What a sweep is to do."""

  space: str  # a Python file with a function `space(trial)`
  trials: int = 20  # in all, those that are there and those of other processes included
  prune: bool = True  # ends trials early whose validation falls behind
  target: Sequence[str] = ()  # config and settings as `sidrec` takes them, for a command


def sweep(config: RunConfig | ConfigDict, workdir: PathLike, search: Search) -> None:
  """Runs trials until there are enough of them; prints the best, and writes `report.html`.

  An interrupted sweep goes on where it was, its last trial included. Trials are trained and
  validated; nothing here looks at the test items.

  Args:
    config: the settings that trials share.
    workdir: the sweep's folder.
    search: what to do.

  Raises:
    ImportError: if Optuna is not installed.
    ValueError: for a space, settings or a folder that make no sense, or if every trial fails.
    FileNotFoundError: if there is no such space.
  """
  base, workdir = run_config(config), as_path(workdir)
  _check(workdir, search)
  space = load_space(search.space, base)
  _rehearse(space)
  study = open_study(workdir, base)
  check_data(study, prepared(base, workdir).record.identity, workdir)
  try:
    while _one_trial(study, space, workdir, base.seed, search):
      pass
  finally:
    _draw(study, workdir, search)
  trials = tried(study)
  if trials and all(trial.state == "failed" for trial in trials):
    raise ValueError(f"all {len(trials)} trials failed, the last one because {trials[-1].why}")
  print(summary(trials, workdir, search.target))


def _one_trial(study: Any, space: Space, workdir: epath.Path, seed: int, search: Search) -> bool:
  """Works on the next trial; whether there was one."""
  states = [trial.state for trial in tried(study)]
  if len(states) >= _HOPELESS and set(states) == {"failed"}:
    return False
  with next_trial(study, workdir, search.trials, seed) as trial:
    if trial is None:
      return False
    work_on(study, trial, space, workdir, prune=search.prune)
  return True


def _draw(study: Any, workdir: epath.Path, search: Search) -> None:
  """Writes the page, once a trial has finished; whatever goes wrong is a warning."""
  try:
    if finished(tried(study)):
      print(f"\nreport: {write_page(study, workdir, search.target)}")
  except Exception as error:  # the trials are worth more than their picture
    warnings.warn(f"the report was not drawn: {type(error).__name__}: {error}", stacklevel=2)


def _rehearse(space: Space) -> None:
  """Finds out whether the space makes sense, with a trial that is thrown away."""
  space.config(space.of(import_optuna().create_study().ask()))


def _check(workdir: epath.Path, search: Search) -> None:
  import_optuna()
  if search.trials < 1:
    raise ValueError(f"--trials is {search.trials}; give 1 or more")
  if not is_local(workdir):
    raise ValueError(f"{workdir}: a sweep keeps its trials in SQLite, which wants a local folder")
  if not hosts.is_alone():
    raise ValueError(
      "a sweep runs each trial in one process; start several sweeps with the same --workdir instead"
    )
  if (workdir / GENERATIONS).exists():
    raise ValueError(f"{workdir} is the folder of a run; give a sweep a --workdir of its own")
