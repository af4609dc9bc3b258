"""The one door: python -m sidrec.main --config=configs/demo.py [--mode=…]."""

import traceback
from pathlib import Path

import jax
import numpy as np
from absl import app, logging
from ml_collections import ConfigDict

from sidrec import flags
from sidrec.cold_start.measure import cold_start
from sidrec.parallel import hosts, preemption
from sidrec.run import pipeline, recommend
from sidrec.run.evaluate import evaluate_all
from sidrec.run.seeds import evaluate_seeds
from sidrec.training.profile import enable_compilation_cache

STAGES = {
  "prepare": pipeline.prepare,
  "tokenize": pipeline.tokenize,
  "train": pipeline.train_recommender,
  "sasrec": pipeline.train_sasrec,
  "evaluate": lambda config, workdir: evaluate_seeds(config, workdir, flags.FLAGS.seeds),
  "cold_start": cold_start,
  "all": evaluate_all,
}
flags.define([*STAGES, "recommend"])


def main(_) -> None:
  """Runs the mode; expected errors end with their sentence, without a traceback.

  However one process ends, the others end with it.
  """
  logging.set_verbosity(logging.WARNING)
  try:
    if flags.FLAGS.compilation_cache:
      enable_compilation_cache(flags.FLAGS.compilation_cache)
    hosts.start(**flags.cluster())
    preemption.obey(hosts.end)
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
    told = str(error).partition("\n")[0]
    hosts.end(f"sidrec: process {jax.process_index()} failed: {type(error).__name__}: {told}")


def run(mode: str, config: ConfigDict, workdir: Path) -> None:
  """One mode, from its first stage on."""
  if flags.FLAGS.seeds != 1 and mode != "evaluate":
    raise ValueError("--seeds goes with --mode=evaluate")
  hosts.check_shared(workdir)
  if mode == "recommend":
    return recommend.answer(config, workdir, flags.request())
  STAGES[mode](config, workdir)
  if mode == "all":
    recommender = pipeline.load_recommender(config, workdir)
    recommend.print_lists(recommender, recommender.dataset.histories, np.arange(3), 5)


if __name__ == "__main__":
  app.run(main, flags_parser=flags.parse)
