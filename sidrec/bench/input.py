"""The input pipeline on a log that is larger than it may hold: examples a second, peak memory.

  python -m sidrec.bench.input --json=input.json
  python -m sidrec.bench.input --json=input.json --folder=DIR   # keeps the shards, or takes them

Writes shards of a synthetic log (1 million users, 50 million interactions, items by Zipf's law),
then makes training batches from them in a fresh process for each form of batch, which does
nothing else. Times are of the machine as it is: run it alone.

An example is a row of S positions. In the dense form a row holds the windows of several users
until it is full, in the sliding form one target and what came before it.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from etils import epath

from sidrec.bench.command import check_flags_alone, one_sentence, write_json
from sidrec.core.atomic import whole_folder
from sidrec.core.paths import as_path
from sidrec.data import shards, store
from sidrec.data.batches import packed_batches, sliding_batches
from sidrec.data.dataset import Histories
from sidrec.data.sources.build import item_table

FORMS = {"dense": packed_batches, "sliding": sliding_batches}
_SHORTEST = 5
_START = 1_500_000_000  # seconds since 1970


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  define = flags.DEFINE_integer
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  flags.DEFINE_string(
    "folder", None, "Of the shards; default: a temporary one.", flag_values=values
  )
  flags.DEFINE_enum("measure", None, list(FORMS), "Measure only, in here.", flag_values=values)
  define("users", 1_000_000, "Of the synthetic log.", lower_bound=1, flag_values=values)
  define("mean_length", 50, "Interactions a user.", lower_bound=6, flag_values=values)
  define("items", 1_000_000, "Of the catalogue.", lower_bound=2, flag_values=values)
  define("shards", 8, "Files.", lower_bound=1, flag_values=values)
  define("history_length", 50, "S, positions of an example.", lower_bound=1, flag_values=values)
  define("batch_size", 512, "Examples of a batch.", lower_bound=1, flag_values=values)
  define("threads", 2, "That make batches.", lower_bound=1, flag_values=values)
  define("seconds", 30, "Of the measurement.", lower_bound=1, flag_values=values)


def write_log(
  path: epath.Path, num_users: int, mean_length: int, num_items: int, count: int
) -> None:
  """Writes the store shard by shard; no more than a shard is in memory."""
  rng = np.random.default_rng(0)
  weight_N = 1.0 / np.arange(1, num_items + 1)  # Zipf's law
  cumulative_N = np.cumsum(weight_N / weight_N.sum())
  bounds = np.linspace(0, num_users, count + 1).astype(int)
  lengths, written = [], []
  with whole_folder(path) as draft:
    for shard in range(count):
      users = np.arange(bounds[shard], bounds[shard + 1])
      # Geometric: many short histories and a few of several hundred.
      length_U = _SHORTEST + rng.geometric(1 / (mean_length - _SHORTEST + 1), len(users)) - 1
      total = int(length_U.sum())
      step_T = rng.exponential(3600.0, total)
      offsets_Up1 = np.concatenate([[0], np.cumsum(length_U)]).astype(np.int64)
      histories = Histories(
        offsets_Up1,
        np.searchsorted(cumulative_N[:-1], rng.random(total)).astype(np.int32),
        _START + np.cumsum(step_T).astype(np.int64),
        rng.integers(1, 6, total).astype(np.float32),
        users,
      )
      written.append(shards.write_shard(draft / shards.shard_name(shard, count), histories))
      lengths.append(length_U)
    none = [""] * num_items
    items = item_table(np.arange(num_items), none, [[]] * num_items, {})
    store.write_metadata(
      draft, "synthetic", (), items, np.concatenate(lengths), np.dtype(np.int64), written
    )


def measure(
  folder: epath.Path, form: str, history_length: int, batch_size: int, threads: int, seconds: int
) -> dict[str, float]:
  """Makes batches for a while; to be run in a process that has done nothing else."""
  import grain  # noqa: F401  # its memory is not the pipeline's

  baseline = memory_mib("VmRSS")
  start = time.perf_counter()
  make_batches = store.from_shards(FORMS[form], folder, num_threads=threads)
  batch_at = make_batches(None, history_length, batch_size, 0)
  batch_at(0)
  ready = time.perf_counter()
  steps = 20
  for step in range(1, steps):
    batch_at(step)  # readers open their files, and threads start
  begin, cpu = time.perf_counter(), time.process_time()
  first = steps
  while time.perf_counter() - begin < seconds:
    batch_at(steps)
    steps += 1
  wall = time.perf_counter() - begin
  examples = (steps - first) * batch_size
  return {
    f"{form}_examples_per_s": examples / wall,
    f"{form}_cpu_us_per_example": 1e6 * (time.process_time() - cpu) / examples,
    f"{form}_start_s": ready - start,
    f"{form}_peak_mib": memory_mib("VmHWM"),
    f"{form}_baseline_mib": baseline,
  }


def memory_mib(field: str) -> float:
  """This process's memory by a field of Linux's status file: VmRSS now, VmHWM at the peak."""
  lines = Path("/proc/self/status").read_text().splitlines()
  return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure_all(values: flags.FlagValues, folder: epath.Path, say: Callable[[str], None]) -> dict:
  """Writes the log if it is not there, and measures each form in a process of its own."""
  figures: dict[str, Any] = {
    name: values[name].value
    for name in ("users", "items", "history_length", "batch_size", "threads")
  }
  if not folder.exists():
    start = time.perf_counter()
    write_log(folder, values.users, values.mean_length, values.items, values.shards)
    figures["write_s"] = time.perf_counter() - start
  opened = store.open_store(folder)
  figures["interactions"] = int(opened.lengths_U.sum(dtype=np.int64))
  figures["users"] = len(opened.lengths_U)
  figures["shards_mib"] = sum(file.stat().length for file in folder.iterdir()) / 2**20
  for form in FORMS:
    command = [sys.executable, "-m", "sidrec.bench.input", f"--measure={form}"]
    for name in ("history_length", "batch_size", "threads", "seconds"):
      command.append(f"--{name}={values[name].value}")
    done = subprocess.run([*command, f"--folder={folder}"], check=True, stdout=subprocess.PIPE)
    figures |= json.loads(done.stdout)
    say(
      f"{form:<8} {figures[f'{form}_examples_per_s']:10,.0f} examples/s, "
      f"{figures[f'{form}_cpu_us_per_example']:.1f} CPU µs an example, peak "
      f"{figures[f'{form}_peak_mib']:,.0f} MiB, of which {figures[f'{form}_baseline_mib']:,.0f} "
      f"are imports; ready after {figures[f'{form}_start_s']:.1f} s"
    )
  figures["peak_gib"] = max(figures[f"{form}_peak_mib"] for form in FORMS) / 1024
  figures["examples_per_s"] = min(figures[f"{form}_examples_per_s"] for form in FORMS)
  return figures


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Measures and prints."""
  check_flags_alone(argv)
  with one_sentence():
    if values.measure:
      return print(
        json.dumps(
          measure(
            as_path(values.folder),
            values.measure,
            values.history_length,
            values.batch_size,
            values.threads,
            values.seconds,
          )
        )
      )
    with tempfile.TemporaryDirectory() as temporary:
      folder = as_path(values.folder or f"{temporary}/store")
      figures = measure_all(values, folder, print)
  write_json(values.json, figures)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
