"""Hierarchical k-means on a catalogue that is read from disk: time and memory.

  python -m sidrec.bench.large_catalogue --file=/tmp/vectors.npy --items=10000000 --width=64

Makes the file (a mixture of Gaussians, float32) if it is not there, tokenises it memory-mapped
and prints seconds and the peak of the memory that this process held.
"""

import resource
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import app, flags
from etils import epath

from sidrec.bench.command import check_flags_alone, one_sentence, write_json
from sidrec.core.codes import group
from sidrec.core.paths import as_path
from sidrec.parallel.hardware import hardware
from sidrec.tokenizers.kmeans.hierarchical import hierarchical_kmeans

ROWS_AT_ONCE = 1 << 18


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  flags.DEFINE_string("file", None, "The .npy file of vectors.", flag_values=values)
  flags.DEFINE_string("json", None, "Write the figures to this file.", flag_values=values)
  define = flags.DEFINE_integer
  define("items", 10_000_000, "Rows of a new file.", lower_bound=1, flag_values=values)
  define("width", 64, "Columns of a new file.", lower_bound=1, flag_values=values)
  define("levels", 2, "Levels of the IDs.", lower_bound=1, flag_values=values)
  define("codes", 256, "Codes of a level.", lower_bound=2, flag_values=values)
  define("iterations", 20, "Of Lloyd's algorithm.", lower_bound=0, flag_values=values)


def make_file(path: epath.Path, num_items: int, width: int) -> None:
  """A mixture of 10,000 Gaussians, written block by block."""
  rng = np.random.default_rng(0)
  centres = rng.normal(size=(10_000, width)).astype(np.float32)
  draft = path.with_suffix(".part.npy")
  vectors_NxF = np.lib.format.open_memmap(draft, "w+", np.float32, (num_items, width))
  for start in range(0, num_items, ROWS_AT_ONCE):
    rows = centres[rng.integers(0, len(centres), min(ROWS_AT_ONCE, num_items - start))]
    noise = rng.normal(size=rows.shape, scale=0.5).astype(np.float32)
    vectors_NxF[start : start + len(rows)] = rows + noise
  vectors_NxF.flush()
  draft.rename(path)


def measure(path: epath.Path, levels: int, codes: int, iterations: int) -> dict[str, Any]:
  """Fits and encodes the file; a flat dict of figures."""
  vectors_NxF = np.load(path, mmap_mode="r")
  tokenizer = hierarchical_kmeans(levels, codes, iterations)
  start = time.perf_counter()
  params = jax.block_until_ready(tokenizer.fit(jax.random.key(0), vectors_NxF))
  fitted = time.perf_counter()
  codes_NxL = np.asarray(tokenizer.encode(params, vectors_NxF))
  encoded = time.perf_counter()
  sizes = group(codes_NxL).size_G
  return {
    "items": len(vectors_NxF),
    "width": vectors_NxF.shape[1],
    "levels": levels,
    "codes": codes,
    "iterations": iterations,
    "fit_seconds": fitted - start,
    "encode_seconds": encoded - fitted,
    "total_minutes": (encoded - start) / 60,
    # On Linux in KiB; pages of the file that are in memory count, too.
    "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    "distinct_ids": len(sizes),
    "largest_group": int(sizes.max()),
    "hardware": hardware(),
  }


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Makes the file if need be, measures and prints."""
  check_flags_alone(argv)
  if not values.file:
    raise app.UsageError("give --file, the .npy file to read or to make")
  path = as_path(values.file)
  with one_sentence():
    if not path.exists():
      make_file(path, values.items, values.width)
    measured = measure(path, values.levels, values.codes, values.iterations)
  for name, value in measured.items():
    print(f"{name:<16}{f'{value:,.2f}' if isinstance(value, float) else value}")
  write_json(values.json, measured)


if __name__ == "__main__":
  define_flags(flags.FLAGS)
  app.run(main)
