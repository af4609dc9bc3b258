"""A run of sidrec as one run in MLflow or W&B.

What a tracker shows is what lies in the run's folder: the lines of each training's `metrics.jsonl`,
the figures of `evaluation.json`, and the settings. `track.json` remembers what was sent, so that a
run that goes on, or whose server was gone for a while, sends the rest and nothing twice. Other
settings that decide a result, or a training that is done again, begin another run in the tracker.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from etils import epath

from sidrec.core.atomic import write_whole_text
from sidrec.core.paths import absolute
from sidrec.core.readers import parse_json
from sidrec.core.settings import flatten, to_dict
from sidrec.evaluation.report import read_evaluation
from sidrec.parallel.hosts import is_primary
from sidrec.run.config_file import PATHS, without_paths
from sidrec.run.generations import Chain
from sidrec.run.settings import RunConfig
from sidrec.tracking import runs
from sidrec.tracking.points import MakePoints, NoPoints, Points, no_points
from sidrec.tracking.runs import TrackedRun
from sidrec.tracking.tensorboard import events
from sidrec.training.logging import logged_lines, tracked_by

MEMORY = "track.json"
_SECONDS = 10.0  # between two messages to the server
_NOT_SETTINGS = ("track", "mesh", "profile_steps")  # that say nothing about a result
_PLAIN_NAMES = {"cold_start", "trials"}  # folders whose name says too little without their parent's

Finish = Callable[[Chain], None]  # what was run → None; sends what the tracker lacks of it


@contextlib.contextmanager
def tracked(
  config: RunConfig, workdir: epath.Path, deciding: Callable[[], Mapping[str, Any]]
) -> Iterator[Finish]:
  """In the block, trainings are tracked as `config.track` wants.

  Args:
    config: the settings of the run.
    workdir: its folder.
    deciding: () → JSON-able; the settings that decide the results of its stages.

  Yields:
    What sends the rest after the last stage.

  Raises:
    ImportError: if the tracker's package is not installed.
    OSError: if its server does not answer, or refuses; before anything is computed.
  """
  if not runs.keeps_runs(config.track) or not is_primary():
    make: MakePoints = events if config.track == "tensorboard" else no_points
    with tracked_by(make):
      yield lambda chain: None
    return
  runs.check(config.track)
  follower = _Follower(config, workdir, _hash(deciding()))
  try:
    with tracked_by(follower.points):
      yield follower.finish
  except Exception:
    follower.close("failed")
    raise
  except BaseException:  # a signal, or the end of a trial
    follower.close("stopped")
    raise
  follower.close("finished")


@dataclasses.dataclass
class _Sent:
  """What a tracker has of one training."""

  folder: str  # of the stage's generation
  step: int = 0  # the last one


@dataclasses.dataclass
class _Memory:
  """What a tracker has of a run: an entry of `track.json`."""

  of: str  # hash of the settings that decide
  run: str | None = None  # its id in the tracker
  trainings: dict[str, _Sent] = dataclasses.field(default_factory=dict)
  figures: str = ""  # identity of the evaluation whose figures were sent


class _Follower:
  """Sends to one tracker what one run of sidrec logs."""

  def __init__(self, config: RunConfig, workdir: epath.Path, of: str):
    """Nothing is sent or opened yet."""
    self._config, self._workdir = config, workdir
    self._memory = _read(workdir, config.track)
    if self._memory.of != of:
      self._memory = _Memory(of)
    self._open: TrackedRun | None = None
    self._is_lost = False
    self._due = 0.0  # when to flush next
    self._logged: dict[str, int] = {}  # training → its last step that `flush` will send

  def points(self, folder: epath.Path, training: str, start_step: int, logged: int) -> Points:
    """Where a training's points go, after those that the tracker lacks from before.

    Raises:
      OSError: if the tracker refuses; training has not begun.
    """
    if self._is_lost:
      return NoPoints()
    sent = self._memory.trainings.get(training)
    is_new = start_step == 0 and logged == 0
    if sent and (sent.folder != folder.name or (is_new and sent.step > 0)):
      self._begin_anew()
    runs.with_reason(self._config.track, self._opened)
    self._guarded(lambda: self._catch_up(folder, training))
    return _Live(self, training, self._memory.trainings[training].step)

  def scalars(self, training: str, step: int, values: Mapping[str, float]) -> None:
    """Adds points; whatever goes wrong is a warning, and the training goes on."""
    self._guarded(lambda: self._add(training, step, values))

  def flush(self) -> None:
    """Hands over what waits; raises nothing either."""
    self._guarded(self._flush)

  def finish(self, chain: Chain) -> None:
    """Sends what the tracker lacks of finished stages: kept ones, and the evaluation's figures."""
    if not self._is_lost and "train" in chain:
      self._guarded(lambda: self._finish(chain))

  def close(self, how: str) -> None:
    """Ends the tracked run; raises nothing."""
    run = self._open
    if run is not None:
      self._guarded(lambda: (self._flush(), run.close(how)))
      self._open = None

  def _guarded(self, act: Callable[[], Any]) -> None:
    if self._is_lost:
      return
    try:
      act()
    except Exception as error:  # a training is worth more than its picture
      self._is_lost = True
      warnings.warn(
        f"--track={self._config.track} no longer works: {runs.one_line(error)}; the run goes on, "
        "metrics.jsonl has all figures, and the same command sends the rest later",
        stacklevel=2,
      )

  def _opened(self) -> TrackedRun:
    if self._open is None:
      name, settings = name_of(self._workdir), shown_settings(self._config)
      self._open = runs.open_run(self._config.track, name, settings, self._memory.run)
      if not self._open.continues:
        self._memory = _Memory(self._memory.of, self._open.id)
        self._write()
    return self._open

  def _begin_anew(self) -> None:
    self.close("finished")
    self._memory = _Memory(self._memory.of)

  def _catch_up(self, folder: epath.Path, training: str) -> None:
    sent = self._memory.trainings.setdefault(training, _Sent(folder.name))
    for line in logged_lines(folder, training):
      if line["step"] > sent.step:
        values = {n: x for n, x in line.items() if n not in ("step", "stage") and x is not None}
        self._add(training, line["step"], values)
    self._flush()

  def _add(self, training: str, step: int, values: Mapping[str, float]) -> None:
    # Only between two steps: what is remembered of a step is that all of it was sent.
    if step != self._logged.get(training) and time.monotonic() >= self._due:
      self._flush()
    finite = {name: x for name, x in values.items() if math.isfinite(x)}
    self._opened().scalars(training, step, finite)
    self._logged[training] = step

  def _flush(self) -> None:
    self._due = time.monotonic() + _SECONDS
    if not self._logged:
      return
    self._opened().flush()
    for training, step in self._logged.items():
      self._memory.trainings[training].step = step
    self._logged = {}
    self._write()

  def _finish(self, chain: Chain) -> None:
    there = {
      training: generation.folder
      for generation in chain.values()
      for training in {line["stage"] for line in logged_lines(generation.folder)}
    }
    sent = self._memory.trainings
    if any(name in sent and sent[name].folder != f.name for name, f in there.items()):
      self._begin_anew()
    for training, folder in sorted(there.items()):
      last = max(line["step"] for line in logged_lines(folder, training))
      entry = self._memory.trainings.get(training)
      if entry is None or entry.step < last:
        self._opened()
        self._catch_up(folder, training)
    done = chain.get("evaluate")
    if done is not None and self._memory.figures != done.record.identity:
      results = read_evaluation(done.file("evaluation.json"))["results"]
      figures = flatten(results, prefix="evaluate/", separator="/")
      self._opened().figures(figures)
      self._memory.figures = done.record.identity
      self._write()

  def _write(self) -> None:
    path = self._workdir / MEMORY
    entries = {**_entries(path), self._config.track: dataclasses.asdict(self._memory)}
    self._workdir.mkdir(parents=True, exist_ok=True)
    write_whole_text(path, json.dumps(entries, indent=2) + "\n")


class _Live:
  """The points of a training that runs, without those that were sent before it was interrupted."""

  def __init__(self, follower: _Follower, training: str, sent: int):
    self._follower, self._training, self._sent = follower, training, sent

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """The same steps give the same figures again, so that none is sent twice."""
    if step > self._sent:
      self._follower.scalars(self._training, step, values)

  def close(self) -> None:
    """Sends what waits; the tracked run stays open for the next stage."""
    self._follower.flush()


def name_of(workdir: epath.Path) -> str:
  """What the run is called in a tracker: 'ml1m', 'ml1m/cold_start', 'ml1m-sweep/trials/7'."""
  parts = absolute(workdir).parts
  first = len(parts) - 1
  while first > 1 and (parts[first].isdecimal() or parts[first] in _PLAIN_NAMES):
    first -= 1
  return "/".join(parts[first:])


def shown_settings(config: RunConfig) -> dict[str, Any]:
  """Every setting by its dotted name, without paths."""
  values = {name: x for name, x in to_dict(config).items() if name not in _NOT_SETTINGS}
  for section in PATHS:
    values[section] = without_paths(section, values[section])
  return flatten(values)


def _read(workdir: epath.Path, tracker: str) -> _Memory:
  entry = _entries(workdir / MEMORY).get(tracker)
  if entry is None:
    return _Memory("")
  try:
    trainings = {name: _Sent(**sent) for name, sent in entry["trainings"].items()}
    return _Memory(entry["of"], entry["run"], trainings, entry["figures"])
  except (TypeError, KeyError, AttributeError):
    raise _damaged(workdir / MEMORY) from None


def _entries(path: epath.Path) -> dict[str, Any]:
  try:
    entries = parse_json(path.read_bytes()) if path.exists() else {}
  except ValueError:
    raise _damaged(path) from None
  if not isinstance(entries, dict):
    raise _damaged(path)
  return entries


def _damaged(path: epath.Path) -> ValueError:
  return ValueError(
    f"{path} is damaged, so what was sent to the tracker is not known; delete it, and the run "
    "begins anew there"
  )


def _hash(settings: Mapping[str, Any]) -> str:
  text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
