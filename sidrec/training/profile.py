"""Traces of a training, and a cache of compiled programs."""

import functools
import os
import shutil
import socket
import tempfile

import jax

from sidrec.core.atomic import write_whole
from sidrec.core.paths import absolute, as_path, files_under, is_local, open_bytes
from sidrec.parallel.hosts import is_primary


def enable_compilation_cache(folder: str | os.PathLike[str]) -> None:
  """Keeps compiled programs in a folder, where later runs, and other processes, find them.

  Call it before anything is compiled. With several processes the folder must be one that all of
  them share (a bucket will do): only the primary host writes to it.
  """
  folder = absolute(folder)
  folder.mkdir(parents=True, exist_ok=True)
  jax.config.update("jax_compilation_cache_dir", os.fspath(folder))
  if is_local(folder):
    # Small programs, too: there are dozens, which take seconds together. To ask a bucket for each
    # of them would take longer.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


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
    self._folder, self._steps, self._total_steps = as_path(folder), steps, total_steps
    self._calls = 0
    self._started: int | None = None  # the step at which the trace began
    self._traced = ""  # a local folder: the profiler does not write to buckets

  def __call__(self, done: int, state: object) -> None:
    """To be called before every call to the device, and at the end, with the steps done so far."""
    self._calls += 1
    if self._started is not None:
      if done >= min(self._started + self._steps, self._total_steps):
        jax.block_until_ready(state)
        jax.profiler.stop_trace()
        self._started = None
        self._publish()
    elif self._steps and self._calls == 2 and done < self._total_steps and is_primary():
      jax.block_until_ready(state)  # what was dispatched before does not belong to the trace
      self._traced = tempfile.mkdtemp(prefix="sidrec-trace-")
      jax.profiler.start_trace(self._traced)
      self._started = done

  def _publish(self) -> None:
    """Copies the trace to its folder; its files are named by the host, which nobody needs."""
    for file in files_under(self._traced):
      name = file.relative_to(self._traced)
      name = name.with_name(name.name.replace(socket.gethostname(), "host"))
      with open_bytes(file) as trace:
        write_whole(self._folder / name, functools.partial(shutil.copyfileobj, trace))
    shutil.rmtree(self._traced)
