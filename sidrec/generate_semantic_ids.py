"""Makes a semantic-ID mapping file.

The simple mapping needs three numbers:

  python -m sidrec.generate_semantic_ids --num_items 3706 --id_length 4 \
    --codebook_size 256 --output data/semantic_id_mapping.json

Any other tokenizer comes from an experiment's config:

  python -m sidrec.generate_semantic_ids --config=configs/x.py --output ids.json
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.config import run_name

SIZES = ("num_items", "id_length", "codebook_size")


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  define = flags.DEFINE_integer
  define("num_items", None, "items 0..num_items-1", lower_bound=1, flag_values=values)
  define("id_length", None, "tokens per semantic ID", lower_bound=1, flag_values=values)
  define("codebook_size", None, "codes per token", lower_bound=2, flag_values=values)
  flags.DEFINE_string("output", None, "file to write: .json or .npz", flag_values=values)
  flags.DEFINE_string(
    "workdir", None, "run folder with --config; default runs/<config name>", flag_values=values
  )
  config_flags.DEFINE_config_file("config", help_string="experiment", flag_values=values)


def make(values: flags.FlagValues) -> SemanticIDManager:
  """The mapping that the flags ask for; app.UsageError if they do not fit together."""
  given = [f"--{name}" for name in SIZES if values[name].value is not None]
  if values.config is None:
    if missing := [f"--{name}" for name in SIZES if f"--{name}" not in given]:
      raise app.UsageError(f"{', '.join(missing)} not given; the simple mapping needs it")
    if values.workdir is not None:
      raise app.UsageError("--workdir is for --config only; leave it out")
    try:
      return SemanticIDManager(values.id_length, values.codebook_size, values.num_items)
    except ValueError as error:
      raise app.UsageError(str(error)) from None
  if given:
    raise app.UsageError(f"{', '.join(given)} with --config; leave it out, the config decides")
  # The simple mapping needs neither JAX nor a data set.
  from sidrec.run.load import load_semantic_ids
  from sidrec.run.stages import run_to

  name = run_name(config_flags.get_config_filename(values["config"]))
  workdir = values.workdir or Path("runs") / name
  run_to("tokenize", values.config, workdir)
  return load_semantic_ids(values.config, workdir)


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Makes the mapping, writes it and says what was written."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}; every setting is a --flag")
  if not values.output:
    raise app.UsageError("--output not given; name the file to write")
  manager = make(values)
  manager.save_to_file(values.output)
  first, last = (f"item {manager.item_ids[row]} → {manager.codes[row].tolist()}" for row in (0, -1))
  print(f"{manager.num_items} semantic IDs in {values.output}: {first}, …, {last}")


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
