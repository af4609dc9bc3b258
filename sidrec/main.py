"""The one door: python -m sidrec.main --config=configs/demo.py [--mode=…]."""

import sys
from pathlib import Path

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from sidrec import lists, pipeline
from sidrec.cold_start import cold_start
from sidrec.config import run_name
from sidrec.evaluate_all import evaluate_all
from sidrec.evaluate_seeds import evaluate_seeds

STAGES = {
  "prepare": pipeline.prepare,
  "tokenize": pipeline.tokenize,
  "train": pipeline.train_recommender,
  "sasrec": pipeline.train_sasrec,
  "evaluate": lambda config, workdir: evaluate_seeds(config, workdir, SEEDS.value),
  "cold_start": cold_start,
  "all": evaluate_all,
}
CONFIG = config_flags.DEFINE_config_file("config", help_string="Such as configs/demo.py")
MODE = flags.DEFINE_enum("mode", "all", [*STAGES, "recommend"], "What to do, earlier stages too.")
SEEDS = flags.DEFINE_integer("seeds", 1, "evaluate: how many seeds, a run of its own for each.")
WORKDIR = flags.DEFINE_string("workdir", None, "Run folder; default runs/<config name>.")
USER = flags.DEFINE_string("user", None, "recommend: for this user, by original id.")
USERS = flags.DEFINE_string("users", None, "recommend: 'all', or ids with commas between.")
HISTORY = flags.DEFINE_string("history", None, "recommend: after these titles, oldest first.")
ITEMS = flags.DEFINE_string("items", None, "recommend: after these original item ids.")
SPLIT = flags.DEFINE_enum("split", "next", lists.SPLITS, "recommend: the history before what.")
OUTPUT = flags.DEFINE_string("output", None, "recommend: write JSON lines to this file.")
EXCLUDE_SEEN = flags.DEFINE_bool("exclude_seen", True, "recommend: leave out items of the history.")
COUNT = flags.DEFINE_integer("k", None, "recommend: results a user; default 10, or all to a file.")
flags.mark_flag_as_required("config")


def main(_) -> None:
  """Runs the mode; expected errors end with their sentence, without a traceback."""
  logging.set_verbosity(logging.WARNING)
  config, name = CONFIG.value, config_flags.get_config_filename(flags.FLAGS["config"])
  workdir = Path(WORKDIR.value or Path("runs") / run_name(name))
  try:
    if MODE.value == "recommend":
      request = lists.Request(
        user=USER.value,
        users=USERS.value,
        history=HISTORY.value,
        items=ITEMS.value,
        split=SPLIT.value,
        exclude_seen=EXCLUDE_SEEN.value,
        count=COUNT.value,
        output=OUTPUT.value,
      )
      return lists.answer(config, workdir, request)
    if SEEDS.value != 1 and MODE.value != "evaluate":
      raise ValueError("--seeds goes with --mode=evaluate")
    STAGES[MODE.value](config, workdir)
    if MODE.value == "all":
      recommender = pipeline.load_recommender(config, workdir)
      lists.print_lists(recommender, recommender.dataset.histories, np.arange(3), 5)
  except (ValueError, OSError, ImportError, FloatingPointError) as error:
    sys.exit(f"sidrec: {error}")


def parse_flags(arguments: list[str]) -> list[str]:
  """Parses the command line; an unknown setting ends with the nearest name, not a traceback."""
  try:
    return app.parse_flags_with_usage(arguments)
  except (AttributeError, KeyError) as error:
    told = error.args[0]  # an AttributeError of ml_collections wraps the KeyError
    told = str(told.args[0] if isinstance(told, KeyError) else told)
    sys.exit(f"sidrec: no such setting: {' '.join(told.split())}")


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
