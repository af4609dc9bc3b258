"""What a run tells: `metrics.jsonl`, TensorBoard events, and progress on the terminal."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import tensorboardX
import tqdm

from sidrec.core.atomic import write_whole_text

SECONDS_BETWEEN_LINES = 10.0


class Logger(NamedTuple):
  """Where training reports to; made by `make_logger`.

  Attributes:
    scalars: (step, name → number or 0-d array) → None. Writes one line of
      `metrics.jsonl` and one TensorBoard point per name. Names that start with
      'valid' are results of a validation, which are shown as well.
    progress: (step, loss, rates in words) → None. Moves the progress bar; cheap enough
      for every step, but the loss must be on the host already.
    close: () → None. Flushes and closes everything; no call may follow.
  """

  scalars: Callable[[int, Mapping[str, Any]], None]
  progress: Callable[[int, float, str], None]
  close: Callable[[], None]


def make_logger(
  workdir: str | os.PathLike[str],
  stage: str,
  total_steps: int,
  start_step: int = 0,
  primary: bool = True,
) -> Logger:
  """Opens the logs of one stage of a run.

  Args:
    workdir: the run's folder. Lines are appended to `workdir/metrics.jsonl`, which
      the stages share: {"step": …, "stage": …, name: number, …}; null stands for a
      number that is not finite, which JSON cannot hold. TensorBoard's events go to
      `workdir/tensorboard/<stage>`.
    stage: what is trained.
    total_steps: the step at which training ends.
    start_step: the restored step. What an interrupted run logged for this stage
      beyond it is dropped, as those steps are taken again.
    primary: whether this process logs; if not, all is a no-op.
  """
  if not primary:
    return Logger(lambda *_: None, lambda *_: None, lambda: None)
  workdir = Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  lines_path = workdir / "metrics.jsonl"
  drop_beyond(lines_path, stage, start_step)
  lines = lines_path.open("a", encoding="utf-8")
  events = tensorboardX.SummaryWriter(
    str(workdir / "tensorboard" / stage),
    purge_step=start_step + 1,
    flush_secs=30,
    # Event files are named by the second; a quick restart must not overwrite one.
    filename_suffix=f".{os.getpid()}.{start_step}",
  )
  display = make_display(stage, total_steps, start_step, sys.stderr)

  def scalars(step: int, values: Mapping[str, Any]) -> None:
    numbers = {name: float(value) for name, value in values.items()}
    finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
    lines.write(json.dumps({"step": int(step), "stage": stage, **finite}, allow_nan=False) + "\n")
    lines.flush()
    for name, x in numbers.items():
      events.add_scalar(name.replace("@", "_"), x, int(step))  # TensorBoard has no @ in names
    validation = [f"{name} {x:.4g}" for name, x in numbers.items() if name.startswith("valid")]
    if validation:
      display.note(f"{stage} {step}/{total_steps}  " + "  ".join(validation))

  def close() -> None:
    display.close()
    lines.close()
    events.close()

  return Logger(scalars, display.progress, close)


def drop_beyond(path: Path, stage: str, step: int) -> None:
  """Removes a stage's lines beyond `step`, and a line that a killed run left unfinished."""
  if not path.exists():
    return

  def stays(line: str) -> bool:
    try:
      entry = json.loads(line)
    except json.JSONDecodeError:
      return False
    return line.endswith("\n") and (entry.get("stage") != stage or entry["step"] <= step)

  before = path.read_text(encoding="utf-8").splitlines(keepends=True)
  after = [line for line in before if stays(line)]
  if after != before:
    write_whole_text(path, "".join(after))


class Display(NamedTuple):
  """How far training is, for a person who looks on."""

  progress: Callable[[int, float, str], None]  # (step, loss, rates in words)
  note: Callable[[str], None]  # a line of its own
  close: Callable[[], None]


def make_display(
  stage: str,
  total_steps: int,
  start_step: int,
  stream: TextIO,
  clock: Callable[[], float] = time.monotonic,
) -> Display:
  """A moving bar if the stream is a terminal, else a line now and then."""
  if stream.isatty():
    return _bar(stage, total_steps, start_step, stream)
  return _lines(stage, total_steps, start_step, stream, clock)


def _bar(stage: str, total_steps: int, start_step: int, stream: TextIO) -> Display:
  bar = tqdm.tqdm(
    desc=stage,
    total=total_steps,
    initial=start_step,
    unit=" steps",
    file=stream,
    dynamic_ncols=True,
  )

  def progress(step: int, loss: float, rates: str = "") -> None:
    bar.set_postfix_str(f"loss {loss:.4f}  {rates}".rstrip(), refresh=False)
    bar.update(step - bar.n)

  return Display(progress, lambda text: bar.write(text, file=stream), bar.close)


def _lines(
  stage: str, total_steps: int, start_step: int, stream: TextIO, clock: Callable[[], float]
) -> Display:
  # The last line's step and time. Rates are taken between lines, so that
  # compilation slows down the first one only.
  last_step, last_time = start_step, clock()
  first = True

  def note(text: str) -> None:
    print(text, file=stream, flush=True)

  def progress(step: int, loss: float, rates: str = "") -> None:
    nonlocal last_step, last_time, first
    now = clock()
    if step == last_step or not (
      first or step >= total_steps or now - last_time >= SECONDS_BETWEEN_LINES
    ):
      return
    rate = (step - last_step) / max(now - last_time, 1e-9)
    left = tqdm.tqdm.format_interval((total_steps - step) / rate)
    told = f"{rate:.3g} steps/s  {rates}".rstrip()
    note(f"{stage} {step}/{total_steps}  loss {loss:.4f}  {told}  {left} left")
    last_step, last_time, first = step, now, False

  return Display(progress, note, lambda: None)
