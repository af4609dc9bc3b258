"""The one door: python -m sidrec.main --config=configs/demo.py [--mode=…]."""

import sys
from pathlib import Path

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from sidrec import pipeline, recommend
from sidrec.config import run_name

STAGES = {
  "prepare": pipeline.prepare,
  "tokenize": pipeline.tokenize,
  "train": pipeline.train_recommender,
  "evaluate": pipeline.evaluate_all,
  "all": pipeline.evaluate_all,
}
CONFIG = config_flags.DEFINE_config_file(
  "config", help_string="Experiment, such as configs/demo.py"
)
MODE = flags.DEFINE_enum(
  "mode", "all", [*STAGES, "recommend"], "What to do; earlier stages follow."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Run folder; default runs/<config name>.")
USER = flags.DEFINE_string("user", None, "recommend: for this user, by original id.")
USERS = flags.DEFINE_string("users", None, "recommend: 'all', or ids with commas between.")
HISTORY = flags.DEFINE_string("history", None, "recommend: after these titles, oldest first.")
ITEMS = flags.DEFINE_string("items", None, "recommend: after these original item ids.")
SPLIT = flags.DEFINE_enum("split", "next", recommend.SPLITS, "recommend: the history before what.")
OUTPUT = flags.DEFINE_string("output", None, "recommend: write JSON lines to this file.")
EXCLUDE_SEEN = flags.DEFINE_bool("exclude_seen", True, "recommend: leave out items of the history.")
COUNT = flags.DEFINE_integer("k", None, "recommend: results a user; default 10, or all to a file.")
flags.mark_flag_as_required("config")


def run_recommend(config, workdir: Path) -> None:
  """--mode=recommend."""
  if sum(flag.value is not None for flag in (USER, USERS, HISTORY, ITEMS)) != 1:
    raise ValueError("--mode=recommend needs one of --user, --users, --history and --items")
  count = COUNT.value or (config.evaluate.results if OUTPUT.value else 10)
  if count > config.evaluate.beams:
    raise ValueError(f"--k={count} needs as many beams: add --config.evaluate.beams={count}")
  recommender = pipeline.load_recommender(config, workdir)
  dataset = recommender.dataset
  if HISTORY.value or ITEMS.value:
    if HISTORY.value:
      rows = recommend.rows_of_titles(HISTORY.value, recommender)
    else:
      rows = recommend.rows_of_ids(ITEMS.value or "", dataset.items.ids_N, "item")
    histories, users_R = recommend.history_of_items(rows), np.array([0])
  else:
    histories = recommend.histories_before(dataset.histories, SPLIT.value)
    users_R = np.arange(histories.num_users)
    if USERS.value != "all":
      names = USER.value or USERS.value or ""
      users_R = np.array(recommend.rows_of_ids(names, histories.user_ids_U, "user"))
  args = (recommender, histories, users_R, count, EXCLUDE_SEEN.value)
  if OUTPUT.value:
    recommend.write_lists(*args, Path(OUTPUT.value))
  else:
    recommend.print_lists(*args)


def main(_) -> None:
  """Runs the mode; expected errors end with their sentence, without a traceback."""
  logging.set_verbosity(logging.WARNING)
  config, name = CONFIG.value, config_flags.get_config_filename(flags.FLAGS["config"])
  workdir = Path(WORKDIR.value or Path("runs") / run_name(name))
  try:
    if MODE.value == "recommend":
      return run_recommend(config, workdir)
    STAGES[MODE.value](config, workdir)
    if MODE.value == "all":
      recommender = pipeline.load_recommender(config, workdir)
      recommend.print_lists(recommender, recommender.dataset.histories, np.arange(3), 5)
  except (ValueError, OSError, FloatingPointError) as error:
    sys.exit(f"sidrec: {error}")


if __name__ == "__main__":
  app.run(main)
