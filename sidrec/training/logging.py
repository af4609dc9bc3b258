"""What a training reports: `metrics.jsonl`, points for a tracker, and progress on the terminal."""

import contextlib
import contextvars
import datetime
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TextIO

from etils import epath
from rich import progress
from rich.console import Console
from rich.table import Column

from sidrec.core.atomic import write_whole_text
from sidrec.core.growing import GrowingFile
from sidrec.core.paths import as_path
from sidrec.parallel.hosts import is_primary
from sidrec.tracking.points import MakePoints, no_points
from sidrec.tracking.tensorboard import events

METRICS = "metrics.jsonl"  # in the folder of a stage
SECONDS_BETWEEN_LINES = 10.0

_tracker: contextvars.ContextVar[MakePoints] = contextvars.ContextVar("tracker", default=events)
_watcher: contextvars.ContextVar[MakePoints] = contextvars.ContextVar("watcher", default=no_points)


class Logger(NamedTuple):
  """Where training reports to; made by `make_logger`.

  Attributes:
    scalars: (step, name → number or 0-d array) → None. Writes one line of
      `metrics.jsonl` and one point per name for the tracker. Names that start with
      'valid' are results of a validation; the terminal shows them too.
    progress: (step, loss, rates in words) → None. Moves the progress bar; cheap enough
      for every step, but the loss must be on the host already.
    close: () → None. Flushes and closes everything; the last call.
  """

  scalars: Callable[[int, Mapping[str, Any]], None]
  progress: Callable[[int, float, str], None]
  close: Callable[[], None]


@contextlib.contextmanager
def tracked_by(make_points: MakePoints) -> Iterator[None]:
  """In the block, the points of every training go there; elsewhere, they are TensorBoard's."""
  token = _tracker.set(make_points)
  try:
    yield
  finally:
    _tracker.reset(token)


@contextlib.contextmanager
def watched_by(make_points: MakePoints) -> Iterator[None]:
  """In the block, the points of every training go there, too; it may end the training."""
  token = _watcher.set(make_points)
  try:
    yield
  finally:
    _watcher.reset(token)


def make_logger(
  workdir: str | os.PathLike[str], stage: str, total_steps: int, start_step: int = 0
) -> Logger:
  """Opens the logs of one stage of a run; on other processes than the primary host, does nothing.

  Args:
    workdir: the run's folder. Lines are appended to `workdir/metrics.jsonl`, which
      the stages share: {"step": …, "stage": …, name: number, …}; null stands for NaN and
      infinities, which JSON cannot hold. TensorBoard's events go to `workdir/tensorboard/<stage>`,
      unless another tracker takes the points; see `tracked_by`.
    stage: what is trained.
    total_steps: the step at which training ends.
    start_step: the restored step. What an interrupted run logged for this stage
      after it is dropped, because those steps run again.
  """
  if not is_primary():
    return Logger(lambda *_: None, lambda *_: None, lambda: None)
  workdir = as_path(workdir)
  logged = max((line["step"] for line in logged_lines(workdir, stage)), default=0)
  drop_after(workdir / METRICS, stage, start_step)
  lines = GrowingFile(workdir / METRICS)
  tracker, watcher = (
    make.get()(workdir, stage, start_step, logged) for make in (_tracker, _watcher)
  )
  display = Display(stage, total_steps, start_step, sys.stderr)
  if start_step:
    display.note(f"{stage}: goes on from step {start_step} of {total_steps}, which was saved")

  def scalars(step: int, values: Mapping[str, Any]) -> None:
    numbers = {name: float(value) for name, value in values.items()}
    finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
    line = json.dumps({"step": int(step), "stage": stage, **finite}, allow_nan=False) + "\n"
    lines.write(line.encode())
    lines.flush()
    tracker.scalars(int(step), numbers)
    validation = [f"{name} {x:.4g}" for name, x in numbers.items() if name.startswith("valid")]
    if validation:
      display.note(f"{stage} {step}/{total_steps}  " + "  ".join(validation))
    watcher.scalars(int(step), numbers)

  def close() -> None:
    for log in (display, lines, tracker, watcher):
      log.close()

  return Logger(scalars, display.progress, close)


def logged_lines(folder: epath.Path, stage: str | None = None) -> Iterator[dict[str, Any]]:
  """The lines of a folder's `metrics.jsonl`, of one stage or of all; none where there is no file.

  A line that a killed run left unfinished is left out.
  """
  path = folder / METRICS
  text = path.read_bytes().decode(errors="replace") if path.exists() else ""
  for line in text.splitlines():
    try:
      entry = json.loads(line)
    except json.JSONDecodeError:
      continue
    is_line = isinstance(entry, dict) and {"step", "stage"} <= set(entry)
    if is_line and stage in (None, entry["stage"]):
      yield entry


def drop_after(path: epath.Path, stage: str, step: int) -> None:
  """Removes a stage's lines after `step`, and a line that a killed run left unfinished."""
  if not path.exists():
    return

  def stays(line: str) -> bool:
    try:
      entry = json.loads(line)
    except json.JSONDecodeError:
      return False
    return line.endswith("\n") and (entry.get("stage") != stage or entry["step"] <= step)

  before = path.read_bytes().decode(errors="replace").splitlines(keepends=True)
  after = [line for line in before if stays(line)]
  if after != before:
    write_whole_text(path, "".join(after))


class Display:
  """Progress on a terminal, as a moving bar; elsewhere, as a line now and then."""

  def __init__(
    self,
    stage: str,
    total_steps: int,
    start_step: int,
    stream: TextIO,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Starts the display at `start_step`; `clock` is in seconds."""
    self._bar = progress.Progress(
      "{task.description}",
      progress.BarColumn(20),
      progress.MofNCompleteColumn(),
      progress.TimeRemainingColumn(),
      progress.TextColumn("{task.fields[values]}", table_column=Column(no_wrap=True, ratio=1)),
      expand=True,  # so that the last column takes the rest, and is cut where that is too little
      console=Console(file=stream),
      redirect_stdout=False,
      redirect_stderr=False,
      get_time=clock,
      disable=not stream.isatty(),
    )
    self._task = self._bar.add_task(stage, total=total_steps, completed=start_step, values="")
    self._next_line = -math.inf  # when the next line is due
    self._bar.start()
    if not self._bar.disable:
      self._bar.console.show_cursor()  # a run that is killed would leave it hidden

  def progress(self, step: int, loss: float, rates: str = "") -> None:
    """Shows the state of training after a step."""
    self._bar.update(self._task, completed=step, values=f"loss {loss:.4f}  {rates}".rstrip())
    task, now = self._bar.tasks[0], self._bar.get_time()
    if not self._bar.disable or not (task.finished or now >= self._next_line):
      return
    self._next_line = now + SECONDS_BETWEEN_LINES
    shown = [f"{task.description} {step}/{task.total:.0f}", f"loss {loss:.4f}", rates]
    if task.speed is not None and task.time_remaining is not None:
      shown.insert(2, f"{task.speed:.3g} steps/s")
      shown.append(f"{datetime.timedelta(seconds=task.time_remaining)} left")
    self.note("  ".join(filter(None, shown)))

  def note(self, text: str) -> None:
    """Shows a line of its own."""
    self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

  def close(self) -> None:
    """Leaves the terminal as it was."""
    self._bar.stop()
