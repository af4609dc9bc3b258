"""CPU seconds of a piece of work, and how many of them went into making programs."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

LOOK = 0.05  # seconds between two looks at the CPU clock
# Tracing a function, lowering it, and compiling it or finding it in the compilation cache.
MAKING = (
  "/jax/core/compile/jaxpr_trace_duration",
  "/jax/core/compile/jaxpr_to_mlir_module_duration",
  "/jax/core/compile/backend_compile_duration",
)


class Cost(NamedTuple):
  """Of a piece of work, in CPU seconds of this process."""

  cpu_s: float
  making_s: float  # of these, while programs were traced, lowered and compiled


class CostMeter:
  """Measures pieces of work in this process, one after another."""

  def __init__(self) -> None:
    """Listens to JAX from now on."""
    self._spans: list[tuple[float, float]] = []
    jax.monitoring.register_event_duration_secs_listener(self._heard)

  @contextlib.contextmanager
  def cost(self) -> Iterator[list[Cost]]:
    """Yields a list, which holds the cost when the block is left."""
    found: list[Cost] = []
    self._spans.clear()
    stop, looks = threading.Event(), [_now()]

    def look() -> None:
      while not stop.wait(LOOK):
        looks.append(_now())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
      yield found
    finally:
      stop.set()
      thread.join()
      looks.append(_now())
    found.append(Cost(looks[-1][1] - looks[0][1], cpu_within(union(self._spans), looks)))

  def _heard(self, event: str, duration_secs: float, **more: Any) -> None:
    del more
    if event in MAKING:
      end = time.monotonic()
      self._spans.append((end - duration_secs, end))


def union(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
  """Spans of time without overlaps: tracing a function traces those that it calls."""
  joined: list[tuple[float, float]] = []
  for begin, end in sorted(spans):
    if joined and begin <= joined[-1][1]:
      joined[-1] = joined[-1][0], max(joined[-1][1], end)
    else:
      joined.append((begin, end))
  return joined


def cpu_within(spans: list[tuple[float, float]], looks: list[tuple[float, float]]) -> float:
  """CPU seconds in these spans, by looks at the clocks: (time, CPU seconds so far)."""
  time_X, cpu_X = np.array(looks).T
  begin, end = np.array(spans).reshape(-1, 2).T
  return float((np.interp(end, time_X, cpu_X) - np.interp(begin, time_X, cpu_X)).sum())


def _now() -> tuple[float, float]:
  return time.monotonic(), time.process_time()
