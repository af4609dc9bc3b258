"""python -m sidrec.bench.world: writes a world, or scores a run that was trained on one."""

import resource
import time
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from sidrec.bench.command import check_flags_alone, one_sentence, write_json
from sidrec.bench.world.score import score_run, table
from sidrec.bench.world.settings import WorldConfig
from sidrec.bench.world.write import write_world
from sidrec.core.paths import as_path
from sidrec.parallel.hardware import hardware


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  text, number = flags.DEFINE_string, flags.DEFINE_integer
  text("folder", None, "Write the world to this new folder.", flag_values=values)
  text("score", None, "Score the run in this folder beside the truth.", flag_values=values)
  text("world", None, "Score: folder of the world; default: beside the data.", flag_values=values)
  text("json", None, "Write the figures to this file.", flag_values=values)
  number("items", 10_000, "Of the world.", lower_bound=8, flag_values=values)
  number("users", 10_000, "Of the world.", lower_bound=1, flag_values=values)
  number("seed", 0, "Of the world.", lower_bound=0, flag_values=values)
  number("score_users", 2000, "Score: users to draw.", lower_bound=2, flag_values=values)


def write(values: flags.FlagValues) -> dict[str, Any]:
  """Writes the world; seconds, and the most memory that this process held."""
  start, cpu_start = time.perf_counter(), time.process_time()
  write_world(values.folder, WorldConfig(values.items, values.users, values.seed))
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # on Linux in KiB
  figures = {"items": values.items, "users": values.users, "seed": values.seed}
  cpu_seconds = time.process_time() - cpu_start
  figures |= {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds}
  print(
    f"world: {figures['seconds']:,.0f} s, {cpu_seconds:,.0f} s of CPU time, memory at most "
    f"{peak:.2f} GiB, in {values.folder}"
  )
  return figures | {"peak_gib": peak}


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Writes or scores, and prints."""
  check_flags_alone(argv)
  if (values.folder is None) == (values.score is None):
    raise app.UsageError("give either --folder, of a new world, or --score, of a trained run")
  with one_sentence():
    if values.folder is not None:
      figures = write(values)
    else:
      world = as_path(values.world) if values.world else None
      figures = score_run(values.score, world, values.score_users)
      print(table(figures))
  write_json(values.json, figures | {"hardware": hardware()})


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
