"""The one door: python -m sidrec.main --config=configs/demo.py [--mode=…]."""

import traceback
import warnings

import jax
from absl import app, logging

from sidrec import flags, modes
from sidrec.parallel import hosts, preemption
from sidrec.training.profile import enable_compilation_cache

flags.define(modes.MODES, modes.REDONE)


def main(_) -> None:
  """Runs the mode; expected errors end with their sentence, without a traceback.

  However one process ends, the others end with it.
  """
  logging.set_verbosity(logging.WARNING)
  warnings.formatwarning = flags.one_sentence
  try:
    if flags.FLAGS.compilation_cache:
      enable_compilation_cache(flags.FLAGS.compilation_cache)
    hosts.start(**flags.cluster())
    preemption.handle_signals(hosts.end)
    modes.run(flags.FLAGS.mode, flags.config(), flags.workdir())
    hosts.leave()
  except (ValueError, OSError, ImportError, FloatingPointError) as error:
    hosts.end(f"sidrec: {error}")
  except preemption.Stopped as stopped:
    hosts.end(f"sidrec: {stopped}", stopped.status)
  except BaseException as error:
    if hosts.is_alone():
      raise
    if not isinstance(error, jax.errors.JaxRuntimeError):  # which others' ends cause, too
      traceback.print_exc()
    reason = str(error).partition("\n")[0]
    hosts.end(f"sidrec: process {jax.process_index()} failed: {type(error).__name__}: {reason}")


if __name__ == "__main__":
  app.run(main, flags_parser=flags.parse)
