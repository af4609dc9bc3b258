"""The steps on this machine: the log goes through files on disk, memory holds one share at a time.

  tables → rows.parquet → shares of users → histories → k-core, round by round → shards

In memory stay the distinct ids, the counts of items and the lengths of histories.
"""

import itertools
import shutil
from pathlib import Path

import numpy as np
import polars as pl

from sidrec.data import shards
from sidrec.data.prepare import steps
from sidrec.data.sources import rules
from sidrec.data.sources.actions import checked
from sidrec.data.sources.log import met_in, named_rows, read_rows, require_sound
from sidrec.data.store import default_shards


def run(
  raw: steps.RawLog, folder: Path, min_interactions: int, k_core: int, num_shards: int
) -> steps.Result:
  """Writes shards into a folder.

  Args:
    raw: what to read.
    folder: where to; it also holds what is written on the way.
    min_interactions: users with fewer are dropped first.
    k_core: k; 0 for none.
    num_shards: 0 for files of the usual size.

  Raises:
    ValueError: in one sentence with file and line, for what cannot be read.
  """
  drafts = folder / "drafts"
  drafts.mkdir()
  rows = _rows(raw, drafts / "rows.parquet")
  named = named_rows(rows)
  whole = steps.plan(
    met_in(rows),
    named.group_by("user").len().collect(engine="streaming"),
    named.select(pl.col("item").unique()).collect(engine="streaming")["item"],
    raw.described,
    _actions(named),
  )
  files = _shares(rows, whole, drafts)
  (drafts / "rows.parquet").unlink()

  size = len(whole.items)
  met, first = [], np.zeros(size, np.int64)
  for file in files:
    log, counts = steps.histories_of(pl.read_parquet(file), raw.repeats, min_interactions)
    log.write_parquet(file, compression="lz4")
    met.append(counts)
    first += steps.item_counts(log, size)
  counts = _core(files, first, k_core) if k_core else first
  after = steps.add_counts(rules.counts_of(pl.read_parquet(file)) for file in files)
  none = np.zeros(0, np.int64)
  written = (none, none, [])
  if after.users:
    written = _write(files, folder, whole, counts, num_shards or default_shards(after.interactions))
  shutil.rmtree(drafts)
  return steps.Result(whole, steps.add_counts(met), after, np.flatnonzero(first), counts, *written)


def _actions(rows: pl.LazyFrame) -> tuple[str, ...]:
  """The names of a log's actions, if it has any."""
  if not rules.actions_in(rows):
    return ()
  return checked(rows.select(pl.col("action").unique()).collect(engine="streaming")["action"])


def _rows(raw: steps.RawLog, file: Path) -> pl.LazyFrame:
  """All rows of a log, read once and written to one file: those of `LogScan`, and 'place'."""
  tables = [log.frame.with_columns(table=pl.lit(n)) for n, log in enumerate(raw.logs)]
  place = pl.col("place").cast(pl.Int64)
  try:
    pl.concat(tables).with_row_index("place").with_columns(place).sink_parquet(
      file, compression="lz4"
    )
  except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
    for log in raw.logs:
      read_rows(log)  # raises the sentence that names the file
    raise
  rows = pl.scan_parquet(file)
  for faulty in rows.filter("faulty").head(1).collect().iter_slices(1):
    require_sound(raw.logs[faulty["table"][0]], faulty)
  return rows


def _shares(rows: pl.LazyFrame, whole: steps.Plan, folder: Path) -> list[Path]:
  """Writes the rows in shares of whole users; the files, in the order of users."""
  files = [folder / f"share-{share}.parquet" for share in range(whole.num_shares)]
  numbered = steps.in_numbers(rows, whole)
  numbered.sink_parquet(pl.PartitionBy(folder / "shares", key="share"), mkdir=True)
  for share, file in enumerate(files):
    parts = folder / "shares" / f"share={share}"
    pl.read_parquet(parts / "*.parquet").write_parquet(file, compression="lz4")
    shutil.rmtree(parts)
  return files


def _core(files: list[Path], counts: np.ndarray, k: int) -> np.ndarray:
  """Leaves the k-core in the files; the counts of its items."""
  while True:
    left = np.zeros_like(counts)
    for file in files:
      log = pl.read_parquet(file)
      kept = steps.drop_rare(log, counts, k)
      if len(kept) < len(log):
        kept.write_parquet(file, compression="lz4")
      left += steps.item_counts(kept, len(counts))
    if (left == counts).all():
      return counts
    counts = left


def _write(
  files: list[Path], folder: Path, whole: steps.Plan, counts: np.ndarray, num_shards: int
) -> tuple[np.ndarray, np.ndarray, list[shards.Shard]]:
  """Writes the shards; the users' numbers, their lengths, and what each shard holds."""
  log = pl.scan_parquet(files)
  users = log.select(pl.col("user").unique().sort()).collect(engine="streaming")["user"]
  bounds = steps.bounds(len(users), num_shards)
  found = []
  for shard, (first, stop) in enumerate(itertools.pairwise(bounds.tolist())):
    own = log.filter(pl.col("user").is_between(users[first], users[stop - 1])).collect()
    path = folder / shards.shard_name(shard, len(bounds) - 1)
    found.append(steps.write_shard(path, own, whole, counts))
  written, numbers, lengths = zip(*found, strict=True)
  return np.concatenate(numbers), np.concatenate(lengths), list(written)
