"""Tokenizers side by side: their quality on a data set, their speed against other libraries.

  python -m sidrec.bench.tokenize --config=configs/ml1m.py       # one table of all methods
  pip install 'sidrec[bench]'
  python -m sidrec.bench.tokenize --json=speed.json              # against other libraries

The first makes the item vectors of a config once and gives them to every tokenizer.
`--tokenizers=rqvae,lsh` chooses; what the config can set can be set here too:
`--config.tokenizer.num_levels=3`. Tokenizers of plugins (`--plugin=FILE`) are compared with the
others. The second is `sidrec.bench.tokenize_speed`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from sidrec.bench.command import check_flags_alone, one_sentence, write_json
from sidrec.config import run_name
from sidrec.core.atomic import PathLike, write_whole_text
from sidrec.core.paths import as_path
from sidrec.flags import named_plugins
from sidrec.parallel.hardware import hardware
from sidrec.plugins import load_plugins
from sidrec.run import item_vectors
from sidrec.run.prepare import load_prepared
from sidrec.run.settings import RunConfig, run_config
from sidrec.run.stages import run_to
from sidrec.run.tokenize_items import tokenize_items, write_tokenized
from sidrec.tokenizers.registry import registered_tokenizers
from sidrec.tokenizers.report.comparison import compare_markdown, compare_table

# A balance follows the colon, see `config.tokenizer.kmeans.balance`.
DEFAULT = (
  "rqvae",
  "residual_kmeans:0",
  "residual_kmeans:1.5",
  "hierarchical_kmeans:0",
  "hierarchical_kmeans:1.5",
  "product_quantization",
  "lsh",
  "category",
  "radix",
)


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  config_flags.DEFINE_config_file("config", help_string="Compare on this data.", flag_values=values)
  flags.DEFINE_list("tokenizers", list(DEFAULT), "Which to compare.", flag_values=values)
  flags.DEFINE_multi_string("plugin", None, "File that registers tokenizers.", flag_values=values)
  flags.DEFINE_string("workdir", None, "Default: runs/tokenize-<config name>.", flag_values=values)
  flags.DEFINE_string("json", None, "Measure speed, write it to this file.", flag_values=values)
  define = flags.DEFINE_integer
  define("items", 100_000, "Speed: number of vectors.", lower_bound=2048, flag_values=values)
  define("width", 384, "Speed: width of a vector.", lower_bound=1, flag_values=values)
  define("repeats", 5, "Speed: timed runs of each.", lower_bound=1, flag_values=values)


def compare(
  config: RunConfig | ConfigDict, names: Sequence[str], workdir: PathLike
) -> dict[str, dict[str, Any]]:
  """Quality reports of tokenizers on the same item vectors; files go to a folder for each."""
  config, workdir = run_config(config), as_path(workdir)
  dataset = load_prepared(run_to("prepare", config, workdir))
  made = item_vectors.item_vectors(config.features, dataset, config.seed, workdir)
  for note in made.notes:
    print(note)
  reports = {}
  for name in names:
    method, _, balance = name.partition(":")
    settings = dataclasses.replace(config.tokenizer, name=method)
    if balance:
      kmeans = dataclasses.replace(settings.kmeans, balance=float(balance))
      settings = dataclasses.replace(settings, kmeans=kmeans)
    folder = workdir / name.replace(":", "-balance-")
    try:
      tokenized = tokenize_items(settings, dataset, made.vectors_NxF, config.seed, folder)
    except ValueError as error:  # the others are still worth having
      print(f"{name}: left out, because {error}", flush=True)
      continue
    write_tokenized(folder, tokenized, dataset.items)
    reports[name] = tokenized.report
    print(f"{name}: done; see {folder}", flush=True)
  return reports


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Compares, measures speed, or both."""
  logging.set_verbosity(logging.WARNING)
  check_flags_alone(argv)
  if values.config is None and not values.json:
    raise app.UsageError("give --config to compare tokenizers, or --json to measure speed")
  print(hardware())
  with one_sentence():
    if values.config is not None:
      name = run_name(config_flags.get_config_filename(values["config"]))
      workdir = as_path(values.workdir or f"runs/tokenize-{name}")
      chosen = values["tokenizers"].present
      names = values.tokenizers if chosen else [*DEFAULT, *registered_tokenizers()]
      reports = compare(values.config, names, workdir)
      write_json(workdir / "comparison.json", reports)
      write_whole_text(workdir / "comparison.md", compare_markdown(reports) + "\n")
      print(compare_table(reports))
    if values.json:
      from sidrec.bench.tokenize_speed import measure, speed_table  # needs the extra 'bench'

      measured = measure(values.items, values.width, values.repeats)
      write_json(values.json, measured)
      print(speed_table(measured))


def parse(arguments: list[str]) -> list[str]:
  """Loads plugins, before a config that names what they register, and parses the flags."""
  with one_sentence():
    load_plugins(named_plugins(arguments))
  return app.parse_flags_with_usage(arguments)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main, flags_parser=parse)
