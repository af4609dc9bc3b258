"""What more processes cost on this machine, and a prediction for 8 to 256 chips.

  python -m sidrec.bench.scale --json=scale.json
  python -m sidrec.bench.scale --json=scale.json --size=ml1m --turns=50

Two processes of one device each and one process of two devices train the same recommender on the
same global batches, some steps at a time and by turns, so that whatever else the machine does slows
both alike. Processes share the cores evenly (NPROC is the number of threads of XLA's pool), as if
on hosts of their own: what differs is how gradients are summed, through loopback or in memory.
`two_process_over_one` is the ratio of the throughputs, the median over neighbouring turns.
Processes share a cache of compiled programs.

The table multiplies a compiled step's costs with data sheets; see `sidrec.bench.scale_table`.
"""

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags

from sidrec.bench import scale_table
from sidrec.bench.command import check_flags_alone, one_sentence, write_json
from sidrec.bench.scale_training import SIZES
from sidrec.bench.scale_worker import MARK
from sidrec.parallel.hardware import hardware, num_cores


class Effort(NamedTuple):
  """How much to measure."""

  turns: int = 30
  steps: int = 10  # of a turn
  warmup: int = 2  # turns
  timeout: float = 600.0  # seconds that a turn may take, the first of which compiles


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  flags.DEFINE_enum("size", "demo", list(SIZES), "Of model and data.", flag_values=values)
  flags.DEFINE_integer("rows_per_chip", 128, "Of the table.", lower_bound=1, flag_values=values)
  flags.DEFINE_float("mfu", 0.3, "Of the table.", lower_bound=0.001, flag_values=values)
  for name in ("turns", "steps", "warmup"):
    default = Effort._field_defaults[name]
    flags.DEFINE_integer(name, default, "How much to measure.", lower_bound=1, flag_values=values)


def measure_processes(size: str, effort: Effort) -> dict[str, Any]:
  """Both layouts by turns: throughputs in rows a second, and their ratio."""
  seconds: dict[str, list[float]] = {"one_process": [], "two_processes": []}
  with (
    tempfile.TemporaryDirectory() as folder,
    start_group(size, 1, 2, effort, Path(folder)) as one,
    start_group(size, 2, 1, effort, Path(folder)) as two,
  ):
    for call in (one, two):
      for _ in range(effort.warmup):
        call()
    for _ in range(effort.turns):
      seconds["one_process"].append(one() / effort.steps)
      seconds["two_processes"].append(two() / effort.steps)
  rows = SIZES[size].batch
  ratios = [a / b for a, b in zip(seconds["one_process"], seconds["two_processes"], strict=True)]
  return {
    "two_process_over_one": statistics.median(ratios),
    "two_process_over_one_quartiles": statistics.quantiles(ratios, n=4),
    **{f"{name}_rows_per_s": rows / statistics.median(s) for name, s in seconds.items()},
    **{f"{name}_step_s": s for name, s in seconds.items()},
    "rows": rows,
  }


@contextlib.contextmanager
def start_group(
  size: str, processes: int, devices: int, effort: Effort, folder: Path
) -> Iterator[Callable[[], float]]:
  """Starts processes on loopback; gives a function that lets them train: seconds it took.

  They are stopped at the end. The folder takes their cache and what they complain of.

  Raises:
    RuntimeError: if a process fails, here or in a call, or takes too long.
  """
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": str(devices),
    "NPROC": str(max(1, num_cores() // processes)),
    "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  command = [sys.executable, "-m", "sidrec.bench.scale_worker", f"--size={size}"]
  command += [f"--steps={effort.steps}", f"--processes={processes}"]
  command += [f"--coordinator=localhost:{_free_port()}"]
  logs = [folder / f"{processes}_{process}.log" for process in range(processes)]
  running: list[subprocess.Popen] = []

  def stop() -> None:
    for process in running:
      process.kill()

  def answer() -> str:
    timer = threading.Timer(effort.timeout, stop)
    timer.start()
    lines = iter(running[0].stdout.readline, "")  # pyrefly: ignore[missing-attribute]
    line = next((line for line in lines if line.startswith(MARK)), None)
    timer.cancel()
    if line is None:
      stop()
      told = "; ".join(log.read_text(errors="replace").strip()[-1000:] for log in logs)
      raise RuntimeError(f"a group of {processes} process(es) failed or took too long: {told}")
    return line.removeprefix(MARK)

  def call() -> float:
    for process in running:
      with contextlib.suppress(BrokenPipeError):  # the answer says why
        print(file=process.stdin, flush=True)
    return float(answer())

  try:
    for process, log in enumerate(logs):
      with log.open("w") as errors:
        running.append(
          subprocess.Popen(
            [*command, f"--process={process}"],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
          )
        )
    joined = int(answer())
    if joined != processes * devices:
      raise RuntimeError(f"{joined} devices joined, not {processes * devices}")
    yield call
  finally:
    stop()
    for process in running:
      process.communicate()


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Measures and prints."""
  check_flags_alone(argv)
  print(hardware())
  effort = Effort(values.turns, values.steps, values.warmup)
  with one_sentence(RuntimeError):
    measured = measure_processes(values.size, effort)
    cost = scale_table.step_cost(SIZES[values.size], values.rows_per_chip)
  for name in ("one_process_rows_per_s", "two_processes_rows_per_s", "two_process_over_one"):
    print(f"{name:<28}{measured[name]:.4g}")
  predicted = scale_table.table(cost, values.mfu)
  print("\n".join(["", *scale_table.lines(cost, predicted), "", "Assumptions"]))
  assumptions = scale_table.ASSUMPTIONS | {
    f"{name}": f"{c.peak_flops:.3g} FLOP/s, {c.memory:.3g} B/s memory, {c.links:.3g} B/s links; "
    f"{c.source}"
    for name, c in scale_table.CHIPS.items()
  }
  assumptions["mfu"] += f", here {values.mfu:g}"
  print("\n".join(f"  {name}: {text}" for name, text in assumptions.items()))
  measured |= {
    "size": values.size,
    "step": cost._asdict(),
    "predicted": predicted,
    "assumptions": assumptions,
    "hardware": hardware(),
  }
  write_json(values.json, measured)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
