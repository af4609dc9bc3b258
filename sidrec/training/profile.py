"""Traces of a training, and a cache of compiled programs."""

import os
from pathlib import Path

import jax

from sidrec.parallel.hosts import is_primary


def enable_compilation_cache(folder: str | os.PathLike[str]) -> None:
  """Keeps compiled programs in a folder, where later runs, and other processes, find them.

  Call it before anything is compiled. With several processes the folder must be one that all of
  them share (a bucket will do): only the primary host writes to it.
  """
  folder = os.fspath(folder)
  if "://" not in folder:
    Path(folder).mkdir(parents=True, exist_ok=True)
  jax.config.update("jax_compilation_cache_dir", folder)


class Trace:
  """Traces a few training steps for XProf or Perfetto: `folder/plugins/profile/<time>/`.

  It leaves out the first call to the device, which compiles, and traces whole calls: at least
  `steps` steps if there are as many. If training stops early, the trace is lost.
  """

  def __init__(self, folder: str | os.PathLike[str], steps: int, total_steps: int):
    """Prepares a trace; only the primary host traces.

    Args:
      folder: takes the trace; `xprof FOLDER` (or TensorBoard with its profile plug-in) shows it.
      steps: how many to trace; 0 for none.
      total_steps: at which training ends.
    """
    self._folder, self._steps, self._total_steps = folder, steps, total_steps
    self._calls = 0
    self._started: int | None = None  # the step at which the trace began

  def __call__(self, done: int, state: object) -> None:
    """To be called before every call to the device, and at the end, with the steps done so far."""
    self._calls += 1
    if self._started is not None:
      if done >= min(self._started + self._steps, self._total_steps):
        jax.block_until_ready(state)
        jax.profiler.stop_trace()
        self._started = None
    elif self._steps and self._calls == 2 and done < self._total_steps and is_primary():
      jax.block_until_ready(state)  # what was dispatched before does not belong to the trace
      jax.profiler.start_trace(self._folder)
      self._started = done
