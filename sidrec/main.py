"""The one door: python -m sidrec.main --config=configs/demo.py [--mode=…]."""

import traceback
import warnings

import jax
from absl import app, logging
from etils import epath
from ml_collections import ConfigDict

from sidrec import flags
from sidrec.cold_start.measure import cold_start
from sidrec.export.finished import export
from sidrec.parallel import hosts, preemption
from sidrec.run import recommend
from sidrec.run.seeds import evaluate_seeds
from sidrec.run.stages import STAGES, run_to, status_text
from sidrec.training.profile import enable_compilation_cache

flags.define(
  ["all", *STAGES, "cold_start", "recommend", "export", "status"], [*STAGES, "cold_start"]
)


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
    run(flags.FLAGS.mode, flags.config(), flags.workdir())
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


def run(mode: str, config: ConfigDict, workdir: epath.Path) -> None:
  """One mode, from its first stage on."""
  if flags.FLAGS.seeds != 1 and mode != "evaluate":
    raise ValueError("--seeds goes with --mode=evaluate")
  manner = flags.manner()
  if manner.redo and mode not in ("all", "cold_start", *STAGES):
    raise ValueError("--redo goes with a --mode that runs stages")
  hosts.check_shared(workdir)
  match mode:
    case "status":
      print(status_text(config, workdir))
    case "recommend":
      recommend.answer(config, workdir, flags.request())
    case "export":
      export(config, workdir, flags.FLAGS.format, flags.FLAGS.output)
    case "cold_start":
      cold_start(config, workdir, manner)
    case "evaluate":
      evaluate_seeds(config, workdir, flags.FLAGS.seeds, manner=manner)
    case "all":
      run_to("evaluate", config, workdir, manner)
      recommend.show_first_users(config, workdir)
    case _:
      run_to(mode, config, workdir, manner)


if __name__ == "__main__":
  app.run(main, flags_parser=flags.parse)
