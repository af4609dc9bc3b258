"""What more processes cost on this machine, and a prediction for 8 to 256 chips.

  python -m sidrec.bench.scale --json=scale.json
  python -m sidrec.bench.scale --json=scale.json --size=ml1m --rounds=5

Two processes of one device each and one process of two devices train the same recommender on the
same global batches, by turns; each group of processes starts anew and shares a cache of compiled
programs. Both have two threads of computation to themselves, so on 2 cores their difference is what
the network between processes costs, here loopback. `two_process_over_one` is the ratio of their
throughputs: medians of timed calls within a round, then the median over rounds.

The table multiplies a compiled step's costs with data sheets; see `sidrec.bench.scale_table`.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags

from sidrec.bench import scale_table
from sidrec.bench.scale_training import SIZES
from sidrec.bench.timing import hardware
from sidrec.whole_file import write_whole_text


class Effort(NamedTuple):
  """How much to measure."""

  rounds: int = 3
  steps_per_call: int = 10
  warmup: int = 2  # calls
  calls: int = 10
  timeout: float = 600.0  # seconds that a group of processes may take


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  flags.DEFINE_enum("size", "demo", list(SIZES), "Of model and data.", flag_values=values)
  flags.DEFINE_integer("rows_per_chip", 128, "Of the table.", lower_bound=1, flag_values=values)
  flags.DEFINE_float("mfu", 0.3, "Of the table.", lower_bound=0.001, flag_values=values)
  for name in ("rounds", "steps_per_call", "warmup", "calls"):
    default = Effort._field_defaults[name]
    flags.DEFINE_integer(name, default, "How much to measure.", lower_bound=1, flag_values=values)


def measure_processes(size: str, effort: Effort, say=print) -> dict[str, Any]:
  """Both layouts by turns: throughputs in rows a second, and their ratio."""
  rows = SIZES[size].batch
  seconds: dict[str, list[float]] = {"one_process": [], "two_processes": []}
  with tempfile.TemporaryDirectory() as cache:
    for round_ in range(effort.rounds):
      for name, processes in (("one_process", 1), ("two_processes", 2)):
        found = run_group(size, processes, 2 // processes, effort, cache)
        seconds[name].append(statistics.median(found))
        say(f"round {round_}: {name:<14}{rows / seconds[name][-1]:8.1f} rows/s")
  ratios = [a / b for a, b in zip(seconds["one_process"], seconds["two_processes"], strict=True)]
  return {
    "two_process_over_one": statistics.median(ratios),
    "two_process_over_one_rounds": ratios,
    **{f"{name}_rows_per_s": rows / statistics.median(s) for name, s in seconds.items()},
    **{f"{name}_step_s": s for name, s in seconds.items()},
    "rows": rows,
  }


def run_group(size: str, processes: int, devices: int, effort: Effort, cache: str) -> list[float]:
  """Starts the processes on loopback; seconds a step, of each timed call.

  Raises:
    RuntimeError: if a process fails; the others are stopped.
  """
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": str(devices),
    "JAX_COMPILATION_CACHE_DIR": cache,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  command = [sys.executable, "-m", "sidrec.bench.scale_worker", f"--size={size}"]
  command += [f"--{name}={getattr(effort, name)}" for name in ("steps_per_call", "warmup", "calls")]
  command += [f"--processes={processes}", f"--coordinator=localhost:{_free_port()}"]
  running = [
    subprocess.Popen(
      [*command, f"--process={process}"],
      env=environment,
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
    )
    for process in range(processes)
  ]
  try:
    told = [process.communicate(timeout=effort.timeout) for process in running]
  except subprocess.TimeoutExpired:
    raise RuntimeError(f"{processes} process(es) took over {effort.timeout:.0f} s") from None
  finally:
    for process in running:
      process.kill()
      process.wait()
  for process, (_, errors) in zip(running, told, strict=True):
    if process.returncode:
      raise RuntimeError(f"a process of {processes} failed: {errors.strip()[-2000:]}")
  found = json.loads(told[0][0].strip().splitlines()[-1])
  if found["devices"] != processes * devices:
    raise RuntimeError(f"{found['devices']} devices joined, not {processes * devices}")
  return found["seconds"]


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Measures and prints."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}; every setting is a --flag")
  print(hardware())
  effort = Effort(*(getattr(values, name) for name in Effort._fields[:4]))
  try:
    measured = measure_processes(values.size, effort)
    cost = scale_table.step_cost(SIZES[values.size], values.rows_per_chip)
  except (RuntimeError, OSError) as error:
    sys.exit(f"sidrec: {error}")
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
  if values.json:
    measured |= {
      "size": values.size,
      "step": cost._asdict(),
      "predicted": predicted,
      "assumptions": assumptions,
      "hardware": hardware(),
    }
    write_whole_text(Path(values.json), json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
