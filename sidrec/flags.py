"""The flags of `sidrec.main`; parsing them touches no device."""

import io
import sys
from pathlib import Path
from typing import Any

from absl import app, flags
from etils import epath
from ml_collections import ConfigDict, config_flags

from sidrec import shipped_configs
from sidrec.config import run_name
from sidrec.core.paths import as_path
from sidrec.export.finished import FORMATS
from sidrec.plugins import load_plugins
from sidrec.run import recommend
from sidrec.run.stage import Manner
from sidrec.sweep.sweep import Search
from sidrec.tracking.points import TRACKERS
from sidrec.update.forget import read_users
from sidrec.update.update import Wish

FLAGS = flags.FLAGS


def define(modes: list[str], stages: list[str]) -> None:
  """Defines the flags; `modes` are what --mode may be, and `stages` what can be done again."""
  config_flags.DEFINE_config_file("config", help_string="Such as configs/demo.py")
  flags.mark_flag_as_required("config")
  flags.DEFINE_enum("mode", "all", modes, "What to do, earlier stages too.")
  flags.DEFINE_enum("redo", None, stages, "A stage to do again though nothing changed.")
  flags.DEFINE_bool("wait", False, "Wait for another process in the same --workdir.")
  flags.DEFINE_integer("seeds", 1, "evaluate: how many seeds, a run of its own for each.")
  flags.DEFINE_string("workdir", None, "Run folder; default runs/<config name>.")
  flags.DEFINE_string("compilation_cache", None, "Folder where later runs find what was compiled.")
  flags.DEFINE_multi_string("plugin", None, "A Python file that registers parts of yours.")
  flags.DEFINE_enum("track", None, TRACKERS, "Where trainings' figures go; default tensorboard.")
  flags.DEFINE_integer("profile", None, "Training steps to trace into <workdir>/profile.", 0)

  # Lists: commas between, several flags add up, @FILE stands for the lines of a file.
  flags.DEFINE_multi_string("user", None, "recommend: for this user, by original id, kept whole.")
  flags.DEFINE_multi_string("users", None, "recommend: 'all', or a list of original ids.")
  flags.DEFINE_multi_string("history", None, "recommend: after a list of titles, oldest first.")
  flags.DEFINE_multi_string("items", None, "recommend: after a list of original item ids.")
  flags.DEFINE_multi_string("times", None, "recommend: a time for each item, seconds since 1970.")
  flags.DEFINE_multi_string("ratings", None, "recommend: a rating for each; nothing if unknown.")
  flags.DEFINE_multi_string("actions", None, "recommend: an action for each; nothing if unknown.")
  help_text = "recommend: what is known of the user of items or history: NAME=VALUE, …"
  flags.DEFINE_multi_string("attributes", None, help_text)
  flags.DEFINE_multi_string("allow", None, "recommend: only items of this list, by original id.")
  flags.DEFINE_multi_string("deny", None, "recommend: no item of this list, by original id.")
  help_text = "recommend: only items of these categories, a list of names."
  flags.DEFINE_multi_string("categories", None, help_text)
  help_text = "recommend: no item of these categories, a list of names."
  flags.DEFINE_multi_string("forbidden_categories", None, help_text)
  flags.DEFINE_integer("draw", None, "recommend: draw items at random, from this seed.", 0)
  flags.DEFINE_integer("request_time", None, "recommend: seconds since 1970; default now.")
  flags.DEFINE_enum("split", "next", recommend.SPLITS, "recommend: the history before what.")
  flags.DEFINE_string("output", None, "recommend: a file for JSON lines. export: a folder.")
  flags.DEFINE_bool("exclude_seen", True, "recommend: leave out items of the history.")
  flags.DEFINE_integer("k", None, "recommend: results a user; default 10, or all to a file.", 1)

  flags.DEFINE_bool("force", False, "update: promotes a model that is worse, too.")
  flags.DEFINE_string("forget_users", None, "update: file of users' ids, one a line, to forget.")
  flags.DEFINE_bool("compare_from_zero", False, "update: trains a model from zero, to compare.")
  flags.DEFINE_enum("format", "bundle", FORMATS, "export: for programs, or for language models.")

  flags.DEFINE_string("space", None, "sweep: a Python file with a function space(trial).")
  flags.DEFINE_integer("trials", 20, "sweep: how many, those that are there included.", 1)
  flags.DEFINE_bool("prune", True, "sweep: ends trials early whose validation falls behind.")

  # Several processes; see launch/README.md.
  flags.DEFINE_string("coordinator", None, "host:port of process 0, or SIDREC_COORDINATOR.")
  flags.DEFINE_integer("num_processes", None, "How many, or SIDREC_NUM_PROCESSES.")
  flags.DEFINE_integer("process_id", None, "Of this one, from 0, or SIDREC_PROCESS_ID.")
  flags.DEFINE_integer("start_timeout", 300, "Seconds to wait for the other processes.", 1)
  flags.DEFINE_integer("heartbeat_timeout", 100, "Seconds until a silent process is lost.", 1)


def parse(arguments: list[str]) -> list[str]:
  """Parses the command line; a mistake ends with one sentence, not a traceback."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # a terminal may lack a title's letters
      stream.reconfigure(errors="backslashreplace")
  try:
    load_plugins(named_plugins(arguments))  # before a config that names what they register
    return app.parse_flags_with_usage(arguments)
  except (ValueError, OSError) as error:
    sys.exit(f"sidrec: {error}")
  except ModuleNotFoundError as error:
    sys.exit(f"sidrec: {error}, which the config imports; run from the folder that holds configs/")
  except (AttributeError, KeyError) as error:
    reason = error.args[0]  # an AttributeError of ml_collections wraps the KeyError
    reason = str(reason.args[0] if isinstance(reason, KeyError) else reason)
    sys.exit(f"sidrec: no such setting: {' '.join(reason.split())}")


def named_plugins(arguments: list[str]) -> list[str]:
  """The files of --plugin=FILE and --plugin FILE, before anything else is read."""
  files = []
  for at, argument in enumerate(arguments):
    name, equals, value = argument.partition("=")
    if name in ("--plugin", "-plugin"):
      files += [value] if equals else arguments[at + 1 : at + 2]
  return files


def config() -> ConfigDict:
  """The settings of the run."""
  if FLAGS.profile is not None:
    FLAGS.config.profile_steps = FLAGS.profile
  if FLAGS.track is not None:
    FLAGS.config.track = FLAGS.track
  return FLAGS.config


def workdir() -> epath.Path:
  """The run's folder."""
  name = config_flags.get_config_filename(FLAGS["config"])
  ending = "-sweep" if FLAGS.mode == "sweep" else ""
  return as_path(FLAGS.workdir or f"runs/{run_name(name)}{ending}")


def manner() -> Manner:
  """How the stages are run."""
  if FLAGS.mode != "update" and (FLAGS.force or FLAGS.forget_users or FLAGS.compare_from_zero):
    raise ValueError("--force, --forget_users and --compare_from_zero go with --mode=update")
  return Manner(FLAGS.redo or "", FLAGS.wait)


def one_sentence(message: Warning | str, *where: Any, **more: Any) -> str:
  """A warning as the command line shows it: without its place in the code."""
  del where, more
  return f"sidrec: {message}\n"


def request() -> recommend.Request:
  """What --mode=recommend is asked for."""
  return recommend.Request(
    user=FLAGS.user,
    users=FLAGS.users,
    history=FLAGS.history,
    items=FLAGS.items,
    allow=FLAGS.allow,
    deny=FLAGS.deny,
    times=FLAGS.times,
    ratings=FLAGS.ratings,
    actions=FLAGS.actions,
    attributes=FLAGS.attributes,
    categories=FLAGS.categories,
    forbidden_categories=FLAGS.forbidden_categories,
    draw=FLAGS.draw,
    split=FLAGS.split,
    request_time=FLAGS.request_time,
    exclude_seen=FLAGS.exclude_seen,
    count=FLAGS.k,
    output=FLAGS.output,
  )


def wish() -> Wish:
  """How --mode=update updates."""
  users = read_users(FLAGS.forget_users) if FLAGS.forget_users is not None else ()
  return Wish(FLAGS.force, users, FLAGS.compare_from_zero, FLAGS.wait)


def search() -> Search:
  """What --mode=sweep tries."""
  if FLAGS.space is None:
    raise ValueError("a sweep needs --space=FILE.py with a function space(trial)")
  return Search(FLAGS.space, FLAGS.trials, FLAGS.prune, target())


def target() -> list[str]:
  """Config and changed settings, as the program `sidrec` takes them."""
  path, colon, variant = config_flags.get_config_filename(FLAGS["config"]).partition(":")
  named = shipped_configs.FOLDER / f"{Path(path).stem}.py"
  if named.exists() and named.samefile(path):
    path = named.stem
  changed = config_flags.get_override_values(FLAGS["config"])
  return [f"{path}{colon}{variant}", *(f"--{name}={value}" for name, value in changed.items())]


def cluster() -> dict[str, Any]:
  """What `hosts.start` takes."""
  names = ("coordinator", "num_processes", "process_id", "start_timeout", "heartbeat_timeout")
  return {name: FLAGS[name].value for name in names}
