"""The trials of a sweep as rows: what they tried and how they did."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from sidrec.core.tables import aligned_table
from sidrec.sweep.trial import SETTINGS, STEP, WHY, folder_of

_MOST = 10  # trials that are shown
_STATES = {
  "COMPLETE": "finished",
  "PRUNED": "ended early",
  "FAIL": "failed",
  "RUNNING": "begun",
  "WAITING": "waits",
}


class Tried(NamedTuple):
  """A trial as people see it."""

  number: int
  state: str  # 'finished', 'ended early', 'failed' or 'begun'
  value: float | None  # best NDCG@10 on validation; None unless finished
  step: int | None  # where it was reached
  settings: Mapping[str, Any]
  curve: Mapping[int, float]  # step → NDCG@10
  why: str = ""  # it failed


def tried(study: Any) -> list[Tried]:
  """All trials, in the order in which they began."""
  return [
    Tried(
      trial.number,
      state := _STATES[trial.state.name],
      trial.value if state == "finished" else None,
      trial.user_attrs.get(STEP),
      trial.user_attrs.get(SETTINGS, {}),
      dict(sorted(trial.intermediate_values.items())),
      trial.user_attrs.get(WHY, ""),
    )
    for trial in study.get_trials(deepcopy=False)
  ]


def finished(trials: Sequence[Tried]) -> list[Tried]:
  """Those that have a value, the best first; of equal ones, the earlier."""
  return sorted(
    (trial for trial in trials if trial.value is not None),
    key=lambda trial: (-(trial.value or 0.0), trial.number),
  )


def rows(trials: Sequence[Tried], most: int = _MOST) -> list[list[str]]:
  """The best trials with a header; names of settings lose the section they share."""
  best = finished(trials)[:most]
  names = list(dict.fromkeys(name for trial in best for name in trial.settings))
  table = [["trial", "NDCG@10", "at step", *names]]
  for trial in best:
    values = [shown(trial.settings[name]) if name in trial.settings else "-" for name in names]
    table.append([str(trial.number), f"{trial.value:.4f}", str(trial.step), *values])
  return table


def shown(value: Any) -> str:
  """A setting in a table."""
  return f"{value:.4g}" if isinstance(value, float) else str(value)


def counted(trials: Sequence[Tried]) -> str:
  """'12 trials: 9 finished, 3 ended early'."""
  counts = {s: sum(trial.state == s for trial in trials) for s in _STATES.values()}
  parts = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
  return f"{len(trials)} {'trial' if len(trials) == 1 else 'trials'}: {parts}"


def commands(best: Tried, workdir: epath.Path, target: Sequence[str]) -> list[tuple[str, str]]:
  """(what it is for, the command) for the best trial.

  Args:
    best: the trial.
    workdir: the sweep's folder.
    target: the config and the settings that all trials share, as `sidrec` takes them.
  """
  settings = [f"--{name}={_argument(value)}" for name, value in best.settings.items()]
  elsewhere = workdir.with_name(f"{workdir.name}-best")
  again = ["sidrec", "run", *target, *settings, f"--workdir={elsewhere}"]
  return [
    (
      "measure it on the test items, which no trial saw",
      shlex.join(["sidrec", "run", str(folder_of(workdir, best.number))]),
    ),
    ("train it once more from the raw log, in a folder of its own", shlex.join(again)),
  ]


def summary(trials: Sequence[Tried], workdir: epath.Path, target: Sequence[str]) -> str:
  """What a sweep prints at its end."""
  best = finished(trials)
  if not best:
    return f"{counted(trials)}; no trial has finished yet"
  lines = ["", aligned_table(rows(trials)), "", f"{counted(trials)}. {CAUTION}"]
  for purpose, command in commands(best[0], workdir, target):
    lines += ["", f"The best setting, to {purpose}:", f"  {command}"]
  return "\n".join(lines)


CAUTION = (
  "NDCG@10 is that of the users who validate; as they chose the best trial, it is a little better "
  "there than elsewhere."
)


def _argument(value: Any) -> str:
  """A value as the command line takes it."""
  return repr(tuple(value)) if isinstance(value, (tuple, list)) else str(value)
