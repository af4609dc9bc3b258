"""Every command: what it does, which flags it takes, and how it is called."""

from typing import NamedTuple

EVERYWHERE = ("workdir", "compilation_cache", "plugin")
STAGES = (*EVERYWHERE, "redo", "wait", "track", "profile")
CLUSTER = ("coordinator", "num_processes", "process_id", "start_timeout", "heartbeat_timeout")
ASKING = ("user", "users", "history", "items", "allow", "deny", "k", "exclude_seen", "split")
ASKING += (
  "categories",
  "forbidden_categories",
  "draw",
  "times",
  "ratings",
  "actions",
  "attributes",
  "request_time",
  "output",
)


class Command(NamedTuple):
  """A command that is a mode of `sidrec.main`."""

  mode: str
  summary: str
  flags: tuple[str, ...]
  examples: tuple[str, ...]


class Program(NamedTuple):
  """A command with flags of its own."""

  module: str  # whose main(argv) runs it, and returns the exit status
  summary: str
  takes_run: bool = False  # the first argument may be a run's folder, in place of --workdir
  first: tuple[str, ...] = ()  # arguments before those that are given


COMMANDS: dict[str, Command | Program] = {
  "run": Command(
    "all",
    "All stages, from the raw log to recommendations.",
    (*STAGES, *CLUSTER),
    ("sidrec run demo", "sidrec run custom --data.path=log.csv --workdir=runs/shop"),
  ),
  "prepare": Command(
    "prepare",
    "Reads the log, and says what it dropped or assumed.",
    (*STAGES, *CLUSTER),
    ("sidrec prepare custom --data.path=log.csv --data.table.columns.user=customer",),
  ),
  "tokenize": Command(
    "tokenize",
    "Makes item vectors and semantic IDs, and reports on their quality.",
    (*STAGES, *CLUSTER),
    ("sidrec tokenize demo", "sidrec tokenize demo --tokenizer.name=residual_kmeans"),
  ),
  "train": Command(
    "train",
    "Trains the recommender; an interrupted training goes on.",
    (*STAGES, *CLUSTER),
    (
      "sidrec train demo",
      "sidrec train ml1m --train.steps=100 --workdir=runs/short",
      "sidrec train ml1m --track=mlflow",
    ),
  ),
  "sasrec": Command(
    "sasrec",
    "Trains SASRec, the embedding baseline.",
    (*STAGES, *CLUSTER),
    ("sidrec sasrec ml1m",),
  ),
  "bsarec": Command(
    "bsarec",
    "Trains BSARec, the stronger embedding baseline.",
    (*STAGES, *CLUSTER),
    ("sidrec bsarec beauty",),
  ),
  "evaluate": Command(
    "evaluate",
    "Ranks all items for all users, next to the baselines.",
    (*STAGES, *CLUSTER, "seeds"),
    ("sidrec evaluate demo", "sidrec evaluate ml1m --seeds=3", "sidrec evaluate runs/demo"),
  ),
  "cold-start": Command(
    "cold_start",
    "Holds items out of training, and measures how well they are recommended.",
    (*STAGES, *CLUSTER),
    ("sidrec cold-start demo",),
  ),
  "recommend": Command(
    "recommend",
    "Prints or writes what to recommend to users, or after items.",
    (*EVERYWHERE, *CLUSTER, *ASKING),
    (
      "sidrec recommend runs/demo --user=8",
      'sidrec recommend runs/demo --history="Inception (2010), Looper (2012)" --k=5',
      "sidrec recommend runs/demo --users=all --output=lists.jsonl",
    ),
  ),
  "status": Command(
    "status",
    "Says which stages are done, and which would be done again and why.",
    ("workdir", "plugin"),
    ("sidrec status runs/demo", "sidrec status demo --train.steps=2000"),
  ),
  "update": Command(
    "update",
    "Takes in a log that has grown: IDs stay, and the model is trained further.",
    (
      "workdir",
      "compilation_cache",
      "plugin",
      "wait",
      "force",
      "forget_users",
      "compare_from_zero",
    ),
    (
      "sidrec update runs/demo",
      "sidrec update runs/shop --data.path=log.csv --forget_users=ids.txt",
    ),
  ),
  "sweep": Command(
    "sweep",
    "Tries settings with Optuna, and compares them by the validation of their training.",
    (*EVERYWHERE, "track", "space", "trials", "prune"),
    (
      "sidrec sweep demo --space=space.py --trials=20",
      "sidrec sweep ml1m --space=space.py --train.steps=1000 --workdir=runs/short-sweep",
    ),
  ),
  "report": Command(
    "report",
    "Writes report.html, a page with pictures, from what lies in a run.",
    ("workdir", "plugin"),
    ("sidrec report runs/demo",),
  ),
  "search-cost": Command(
    "search_cost",
    "Measures recall and speed with several numbers of beams, and draws the report again.",
    (*EVERYWHERE, *CLUSTER),
    (
      "sidrec search-cost runs/demo",
      "sidrec search-cost runs/demo --evaluation.search_cost.beams=10,30,100",
    ),
  ),
  "export": Command(
    "export",
    "Writes a bundle that runs without sidrec, or files for language models.",
    (*EVERYWHERE, "output", "format"),
    (
      "sidrec export runs/demo --output=bundles/demo",
      "sidrec export runs/demo --format=llm --output=llm/demo",
    ),
  ),
  "compare": Program(
    "sidrec.report.__main__",
    "Says which of several runs is best, on one page: sidrec compare runs/a runs/b.",
    first=("compare",),
  ),
  "serve": Program("sidrec.serving.__main__", "Serves a run over HTTP.", takes_run=True),
  "explore": Program(
    "sidrec.serving.__main__",
    "Shows a run in the browser: searches step by step, codes, the map of the items.",
    takes_run=True,
    first=("--explore",),
  ),
  "configs": Program(
    "sidrec.command.configs", "Lists, shows and copies the shipped configs.", False
  ),
}
