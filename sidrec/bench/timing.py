"""How the benchmarks measure: alternately, warm, synchronised; medians."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

LOOK = 0.02  # seconds
WARM = 0.1  # seconds


def settle() -> None:
  """Waits until the threads of this process are idle, such as OpenMP's, which wait busily.

  No longer than that: after long rests the cores of a virtual machine are slow to come back.
  """
  busy = LOOK
  while busy > 0.1 * LOOK:
    before = time.process_time()
    time.sleep(LOOK)
    busy = time.process_time() - before


def alternate(runs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
  """Runs each function once to warm up, then all of them in turn.

  Taking turns spreads whatever else the machine does over all of them alike. Threads
  of the run before are idle when the next one starts. A turn goes on for a tenth of a second, and
  its last run counts: the first ones find caches full of other things, and cores of a virtual
  machine that take milliseconds to answer after a rest.

  Args:
    runs: name → function; arrays that it returns are waited for.
    repeats: turns of each.

  Returns:
    name → median seconds.
  """
  seconds: dict[str, list[float]] = {name: [] for name in runs}
  for run in runs.values():
    jax.block_until_ready(run())
  for _ in range(repeats):
    for name, run in runs.items():
      settle()
      seconds[name].append(_turn(run))
  return {name: statistics.median(values) for name, values in seconds.items()}


def _turn(run: Callable[[], Any]) -> float:
  """Seconds of the last run of a turn."""
  begin = time.perf_counter()
  while True:
    start = time.perf_counter()
    jax.block_until_ready(run())
    end = time.perf_counter()
    if end - begin >= WARM:
      return end - start
