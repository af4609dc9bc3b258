"""What a run may be asked to tell about itself, or to remember: traces, and compiled programs."""

import os
from collections.abc import Callable
from pathlib import Path

import jax

# (steps done, state) → None, called before every call to the device.
Trace = Callable[[int, object], None]


def enable_compilation_cache(folder: str | os.PathLike[str]) -> None:
  """Keeps compiled programs in a folder, where later runs, and other processes, find them.

  Call it before anything is compiled. With several processes the folder must be one that all of
  them share (a bucket will do): the first process alone writes to it.
  """
  folder = os.fspath(folder)
  if "://" not in folder:
    Path(folder).mkdir(parents=True, exist_ok=True)
  jax.config.update("jax_compilation_cache_dir", folder)


def make_trace(folder: Path, steps: int, total_steps: int, primary: bool = True) -> Trace:
  """Traces a few training steps for XProf or Perfetto: `folder/plugins/profile/<time>/`.

  The first call is left out, because it compiles. What is traced is whole calls, so at least
  `steps` steps if there are so many; if training stops early, the trace is lost.

  Args:
    folder: takes the trace; `xprof FOLDER` (or TensorBoard with its profile plug-in) shows it.
    steps: how many to trace; 0 for none.
    total_steps: at which training ends.
    primary: whether this process traces; if not, or without steps, all is a no-op.
  """
  if not steps or not primary:
    return lambda done, state: None
  calls, started = 0, -1  # started: step at which the trace began

  def trace(done: int, state: object) -> None:
    nonlocal calls, started
    calls += 1
    if calls == 2 and done < total_steps:
      jax.block_until_ready(state)  # what was dispatched before does not belong to the trace
      jax.profiler.start_trace(folder)
      started = done
    elif started >= 0 and (done >= started + steps or done >= total_steps):
      jax.block_until_ready(state)
      jax.profiler.stop_trace()
      started = -1

  return trace
