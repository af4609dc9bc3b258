"""What is to be measured where an accelerator can be had: all of it, into one JSON.

  python -m sidrec.bench.gpu_checks --folder=runs/gpu_checks
  python -m sidrec.bench.gpu_checks --folder=runs/gpu_checks --steps=wide,throughput --limit=540

Each step is a command of its own, so that a failure stops no other step; its error is recorded.
Steps that are measured again replace what the JSON has of them, and others stay, so that the checks
can be made in pieces. A step that reaches the limit is sent SIGTERM: a training saves its state
then, and the same step goes on from there. What a step prints is in <step>.log of the folder.
`launch/gpu_checks.sh` calls this.

Without an accelerator the command refuses, unless CHECKS_ALLOW_CPU=1: all sizes are tiny then, and
the figures say nothing but that the commands run. Wants the extra 'bench'.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags

from sidrec.bench.command import check_flags_alone, one_sentence
from sidrec.core.atomic import write_whole_text

ALLOW_CPU = "CHECKS_ALLOW_CPU"
FILE = "gpu_checks.json"
_ERROR = 2000  # characters kept of what a command that failed said last
_GRACE = 60.0  # seconds from SIGTERM to SIGKILL

# In a process of its own: a process that holds the device's memory would leave none for the steps.
_LOOK = """
import importlib.metadata, json, jax
from sidrec.parallel.hardware import hardware
names = ("jax", "jaxlib", "flax", "optax", "numpy")
versions = {name: importlib.metadata.version(name) for name in names}
print(json.dumps({"platform": jax.devices()[0].platform, "hardware": hardware(), **versions}))
"""


class Ended(NamedTuple):
  """How a command ended."""

  status: int | None  # None where the limit stopped it
  said: str


# (arguments of Python, seconds it may take, file for what it prints) → how it ended.
Start = Callable[[Sequence[str], float, Path], Ended]


class Plan(NamedTuple):
  """Where files go, and whether sizes are tiny."""

  folder: Path
  tiny: bool

  @property
  def ml1m(self) -> str:
    """The run that is searched."""
    return str(self.folder / "ml1m")

  def json(self, step: str) -> str:
    """Where a step's benchmark writes."""
    return str(self.folder / f"{step}.json")


class Step(NamedTuple):
  """A command, and what is read when it has ended well."""

  command: Callable[[Plan], list[str]]
  figures: Callable[[Plan], dict[str, Any]]


class Mark(NamedTuple):
  """What a figure should reach."""

  step: str
  figure: str
  least: float
  what: str


MARKS = (
  Mark("wide", "mfu", 0.40, "model FLOPs utilisation of a training at width 512 or more"),
  Mark("throughput", "users_per_s_k10", 50_000, "users a second, ten beams, MovieLens-1M"),
)


def _bench(name: str, step: str, *arguments: str, small: Sequence[str] = ()) -> Step:
  """A benchmark with --json; `small` are further arguments where sizes are tiny."""

  def command(plan: Plan) -> list[str]:
    own = [argument.format(ml1m=plan.ml1m) for argument in arguments]
    more = small if plan.tiny else ()
    return ["-m", f"sidrec.bench.{name}", *own, f"--json={plan.json(step)}", *more]

  return Step(command, lambda plan: json.loads(Path(plan.json(step)).read_text(encoding="utf-8")))


def _training(name: str, config: str, *arguments: str) -> Step:
  """A run of a shipped config; at tiny sizes, of its tiny variant without further arguments."""

  def command(plan: Plan) -> list[str]:
    variant = ":tiny" if plan.tiny else ""
    more = () if plan.tiny else arguments
    where = f"--workdir={plan.folder / name}"
    return ["-m", "sidrec.main", f"--config=configs/{config}.py{variant}", where, *more]

  return Step(command, lambda plan: training_figures(plan.folder / name))


_FEW = ("--repeats=1",)
STEPS = {
  # The README's command.
  "ml1m": _training("ml1m", "ml1m"),
  "wide": _training(
    "wide",
    "ml1m_gpu",
    "--mode=train",
    "--config.train.steps=300",
    "--config.train.validate_every=300",
  ),
  "throughput": _bench(
    "decode", "throughput", "--parts=throughput", "--workdir={ml1m}", small=_FEW
  ),
  # Exact lists beside those of beams, and bfloat16 beside float32: that the device computes right.
  "recall": _bench("decode", "recall", "--parts=recall", "--workdir={ml1m}", small=("--users=4",)),
  "layouts": _bench(
    "decode",
    "layouts",
    "--parts=layouts",
    "--nogenerate",
    small=(*_FEW, "--batches=1", "--positions=50", "--beams=10"),
  ),
  "growth": _bench(
    "decode", "growth", "--parts=growth", "--hnsw_items=0", small=(*_FEW, "--items=10000")
  ),
  "trie": _bench(
    "trie",
    "trie",
    "--items=10000,1000000",
    small=(*_FEW, "--items=1000", "--codes=256", "--levels=4", "--beams=10"),
  ),
  "trie_of_run": _bench("trie", "trie_of_run", "--workdir={ml1m}", small=_FEW),
  "tokenize": _bench("tokenize", "tokenize", small=(*_FEW, "--items=4096", "--width=32")),
}


def training_figures(workdir: Path) -> dict[str, Any]:
  """Medians of the rates that a training logged, and the metrics of an evaluation, if there is one.

  Raises:
    FileNotFoundError: if nothing was trained.
  """
  logs = sorted(workdir.glob("stages/train.*/metrics.jsonl"), key=lambda path: path.stat().st_mtime)
  if not logs:
    raise FileNotFoundError(f"no training has logged in {workdir}")
  lines = [json.loads(line) for line in logs[-1].read_text(encoding="utf-8").splitlines()]
  found: dict[str, Any] = {}
  for name in ("mfu", "tokens_per_second", "steps_per_second", "model_flops_per_second"):
    if values := [line[name] for line in lines if line.get(name) is not None]:
      found[name] = statistics.median(values)
  if (evaluation := workdir / "evaluation.json").is_file():
    results = json.loads(evaluation.read_text(encoding="utf-8"))["results"]["sidrec"]["test"]
    for way, metrics in results.items():
      found |= {f"{way}_{name}": metrics[name] for name in ("recall@10", "ndcg@10")}
  return found


def start(arguments: Sequence[str], limit: float, log: Path) -> Ended:
  """Runs Python with these arguments; what it prints goes to a file. SIGTERM after the limit."""
  with log.open("w+", encoding="utf-8", errors="replace") as said:
    process = subprocess.Popen([sys.executable, *arguments], stdout=said, stderr=said)
    try:
      status = process.wait(limit)
    except subprocess.TimeoutExpired:
      status = None
      process.terminate()
      try:
        process.wait(_GRACE)
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    said.seek(0)
    return Ended(status, said.read())


def device(folder: Path, start: Start) -> dict[str, str]:
  """What JAX sees.

  Raises:
    ValueError: if that is no accelerator and no CPU is allowed, or JAX does not start.
  """
  ended = start(["-c", _LOOK], 300.0, folder / "device.log")
  lines = ended.said.strip().splitlines()
  found = next((line for line in reversed(lines) if line.startswith("{")), None)
  seen = None if found is None or ended.status else json.loads(found)
  if seen is None or (seen["platform"] == "cpu" and os.environ.get(ALLOW_CPU) != "1"):
    what = f"only {seen['hardware']}" if seen else f"and ends: {lines[-1] if lines else 'silently'}"
    raise ValueError(
      f"JAX sees no GPU, {what}; install sidrec[cuda] on a machine with one, or set {ALLOW_CPU}=1 "
      "to see that the commands run, at tiny sizes"
    )
  return seen


def run_checks(folder: Path, names: Sequence[str], limit: float, start: Start) -> dict[str, Any]:
  """Takes these steps and writes `FILE` after each of them.

  Args:
    folder: for runs and files; made if it is not there.
    names: of `STEPS`.
    limit: seconds that a step may take.
    start: runs a command.

  Returns:
    What the file holds: device, steps, marks.

  Raises:
    ValueError: as `device` does.
  """
  folder.mkdir(parents=True, exist_ok=True)
  seen = device(folder, start)
  plan, path = Plan(folder, tiny=seen["platform"] == "cpu"), folder / FILE
  before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
  steps = before.get("steps", {}) if before.get("device") == seen else {}
  content = {"device": seen, "tiny": plan.tiny, "steps": steps}
  for name in names:
    print(f"{name}: {shlex.join(STEPS[name].command(plan))}", flush=True)
    ended, seconds = _timed(STEPS[name].command(plan), limit, plan.folder / f"{name}.log", start)
    steps[name] = taken = _taken(STEPS[name], plan, ended, seconds)
    content["marks"] = marks_of(steps)
    write_whole_text(path, json.dumps(content, indent=2) + "\n")
    print(f"{name}: {taken['status']} after {taken['seconds']:.0f} s", flush=True)
  return content


def _timed(command: Sequence[str], limit: float, log: Path, start: Start) -> tuple[Ended, float]:
  begin = time.monotonic()
  ended = start(command, limit, log)
  return ended, time.monotonic() - begin


def _taken(step: Step, plan: Plan, ended: Ended, seconds: float) -> dict[str, Any]:
  """What the file says of a step."""
  taken = {"command": shlex.join(["python", *step.command(plan)]), "seconds": seconds}
  if ended.status is None:
    return {"status": "stopped at the limit", **taken, "error": ended.said[-_ERROR:]}
  if ended.status:
    return {"status": "failed", **taken, "error": ended.said[-_ERROR:]}
  try:
    return {"status": "done", **taken, "figures": step.figures(plan)}
  except (OSError, ValueError, KeyError) as error:
    return {"status": "failed", **taken, "error": f"{type(error).__name__}: {error}"}


def marks_of(steps: dict[str, Any]) -> list[dict[str, Any]]:
  """Each mark with its figure, and whether it is reached; None where it was not measured."""
  found = []
  for mark in MARKS:
    value = steps.get(mark.step, {}).get("figures", {}).get(mark.figure)
    reached = None if value is None else value >= mark.least
    found.append({**mark._asdict(), "value": value, "reached": reached})
  return found


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  flags.DEFINE_string("folder", "runs/gpu_checks", f"For runs and {FILE}.", flag_values=values)
  flags.DEFINE_list("steps", list(STEPS), f"Of {', '.join(STEPS)}.", flag_values=values)
  flags.DEFINE_float("limit", 3600.0, "Seconds of a step.", 1.0, flag_values=values)


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Takes the steps; the status is 1 if one of them failed, whatever the marks say."""
  check_flags_alone(argv)
  if unknown := [name for name in values.steps if name not in STEPS]:
    raise app.UsageError(f"no step {unknown[0]!r}; there are {', '.join(STEPS)}")
  with one_sentence():
    content = run_checks(Path(values.folder), values.steps, values.limit, start)
  for mark in content["marks"]:
    words = {None: "not measured", True: "reached", False: "missed"}[mark["reached"]]
    value = "" if mark["value"] is None else f", {mark['value']:,.4g}"
    print(f"{mark['what']}: at least {mark['least']:,g}: {words}{value}")
  print(f"all figures: {Path(values.folder) / FILE}")
  if any(content["steps"][name]["status"] != "done" for name in values.steps):
    sys.exit(1)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
