"""The steps as an Apache Beam pipeline, for a cluster.

  files → batches of rows → shares of users → histories → k-core, round by round → shards

Elements are frames of many rows. The k-core's rounds hand over the histories that are left and
the counts of items alone; no round groups anything again.
"""

import pickle
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import polars as pl
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsSingleton

from sidrec.core import copies
from sidrec.data import shards
from sidrec.data.prepare import steps
from sidrec.data.settings import DataConfig, TableConfig
from sidrec.data.sources import rules
from sidrec.data.sources.actions import checked
from sidrec.data.sources.items import Described
from sidrec.data.sources.log import Met, met_in, named_rows, require_sound
from sidrec.data.sources.table import scan_logs
from sidrec.data.store import default_shards

_RESULT = "prepared.pickle"


def run(
  raw: steps.RawLog,
  data: DataConfig,
  folder: Path,
  core_rounds: int,
  num_shards: int,
  options: Sequence[str],
) -> steps.Result:
  """Writes shards into a folder that all workers reach.

  Args:
    raw: what to read.
    data: its settings.
    folder: where to.
    core_rounds: how often to drop what is rare.
    num_shards: 0 for files of the usual size.
    options: of Beam and its runner, as on a command line.
  """
  place, repeats, shortest = str(folder), raw.repeats, data.min_interactions
  described = raw.described  # not `raw`: what a step names is sent to the workers with it
  files = [(n, str(log.scan.file)) for n, log in enumerate(raw.logs)]
  # Beam takes what annotations say of many elements for what each of them is.
  runner = PipelineOptions(list(options), pipeline_type_check=False)
  try:
    with beam.Pipeline(options=runner) as pipeline:
      rows = _rows(pipeline, files, data.table)
      whole = AsSingleton(_plan(rows, described))
      counted = (
        rows
        | "by user" >> beam.FlatMap(by_share, whole=whole)
        | "shares" >> beam.GroupByKey()
        | "histories"
        >> beam.Map(lambda pair: steps.histories_of(pl.concat(pair[1]), repeats, shortest))
      )
      histories = counted | "without counts" >> beam.Map(lambda pair: pair[0])
      before = counted | "counts" >> beam.Map(lambda pair: pair[1])
      first = _item_counts(histories, whole, "all")
      histories, items = _core(histories, first, whole, data.k_core, core_rounds)
      after = histories | "counts left" >> beam.Map(rules.counts_of)
      written = _write(histories, whole, items, place, num_shards)
      sums = (
        part | f"sum {k}" >> beam.CombineGlobally(steps.add_counts)
        for k, part in enumerate((before, after))
      )
      sides = (whole, *map(AsSingleton, (*sums, first, items)))
      _ = written | "result" >> beam.Map(
        lambda found, *rest: write_result(place, found, *rest), *sides
      )
  except Exception as error:
    raise _sentence(error) or error from error
  file = folder / _RESULT
  result = pickle.loads(file.read_bytes())
  file.unlink()
  return result


def _rows(pipeline: beam.Pipeline, files: Sequence[tuple[int, str]], table: TableConfig) -> Any:
  return (
    pipeline
    | "files" >> beam.Create(files)
    | "spread" >> beam.Reshuffle()
    | "read" >> beam.FlatMap(lambda file: read(file[0], file[1], table))
  )


def read(number: int, file: str, table: TableConfig) -> Iterator[pl.DataFrame]:
  """The rows of one file in batches: those of `LogScan`, 'table' and 'place' in the file."""
  with copies.kept():
    (log,) = scan_logs(file, table)
    place = pl.col("place").cast(pl.Int64)
    frame = log.frame.with_row_index("place").with_columns(place, pl.lit(number).alias("table"))
    for batch in frame.collect_batches():
      require_sound(log, batch)
      yield batch


def facts_of(rows: pl.DataFrame) -> tuple:
  """What `join_facts` needs to know of a batch."""
  named = named_rows(rows)
  sizes = {rows["table"][0]: len(rows)} if len(rows) else {}
  kinds = set(named["action"].unique()) if rules.actions_in(rows) else None
  return sizes, met_in(rows), named.group_by("user").len(), named["item"].unique(), kinds


def join_facts(facts: Iterable[tuple], described: Described) -> tuple[steps.Plan, dict[int, int]]:
  """The plan of the whole log, and how many rows stand before each file's."""
  sizes: dict[int, int] = {}
  mets, users, items, kinds = [Met()], [], [], None
  for size, met, own_users, own_items, own_kinds in facts:
    for table, count in size.items():
      sizes[table] = sizes.get(table, 0) + count
    mets.append(met)
    users.append(own_users)
    items.append(own_items)
    kinds = kinds if own_kinds is None else (kinds or set()) | own_kinds
  met = Met(*(int(sum(column)) for column in zip(*mets, strict=True)))
  firsts = {table: sum(sizes[t] for t in sizes if t < table) for table in sizes}
  summed = pl.concat(users).group_by("user").agg(pl.col("len").sum())
  actions = () if kinds is None else checked(kinds)
  return steps.plan(met, summed, pl.concat(items).unique(), described, actions), firsts


def _plan(rows: Any, described: Described) -> Any:
  return (
    rows
    | "facts" >> beam.Map(facts_of)
    | "all facts" >> beam.combiners.ToList()
    | "plan" >> beam.Map(lambda facts: join_facts(facts, described))
  )


def by_share(
  rows: pl.DataFrame, whole: tuple[steps.Plan, dict[int, int]]
) -> Iterator[tuple[int, pl.DataFrame]]:
  """A batch in shares of users."""
  plan, firsts = whole
  placed = rows.with_columns(pl.col("place") + pl.col("table").replace_strict(firsts))
  numbered = steps.in_numbers(placed.lazy(), plan).collect()
  for (share,), own in numbered.partition_by("share", as_dict=True).items():
    yield int(share), own


def _core(histories: Any, items: Any, whole: Any, k: int, rounds: int) -> tuple[Any, Any]:
  """What is left after so many rounds, and its item counts."""
  for number in range(rounds if k else 0):
    histories = histories | f"round {number}" >> beam.Map(
      lambda log, counts: steps.drop_rare(log, counts, k), counts=AsSingleton(items)
    )
    items = _item_counts(histories, whole, f"left {number}")
  return histories, items


def _item_counts(histories: Any, whole: Any, name: str) -> Any:
  return (
    histories
    | f"items {name}"
    >> beam.Map(lambda log, whole: steps.item_counts(log, len(whole[0].items)), whole=whole)
    | f"sum items {name}" >> beam.CombineGlobally(lambda found: sum(found, 0))
  )


def _write(histories: Any, whole: Any, items: Any, place: str, num_shards: int) -> Any:
  """Writes the shards; a list of what each holds."""
  lengths = (
    histories
    | "users" >> beam.Map(lambda log: log.group_by("user").len())
    | "all users" >> beam.combiners.ToList()
    | "layout" >> beam.Map(lambda found: lay_out(found, num_shards))
  )
  layout = AsSingleton(lengths)
  return (
    histories
    | "by shard" >> beam.FlatMap(by_shard, layout=layout)
    | "in shards" >> beam.GroupByKey()
    | "write"
    >> beam.Map(
      lambda pair, whole, counts, layout: write_shard(
        place, pair[0], pair[1], whole[0], counts, len(layout)
      ),
      whole=whole,
      counts=AsSingleton(items),
      layout=layout,
    )
    | "all shards" >> beam.combiners.ToList()
  )


def lay_out(lengths: Sequence[pl.DataFrame], num_shards: int) -> list[int]:
  """The first user of each shard."""
  found = pl.concat(lengths).sort("user") if lengths else pl.DataFrame({"user": [], "len": []})
  count = num_shards or default_shards(int(found["len"].sum()))
  return found["user"].gather(steps.bounds(len(found), count)[:-1]).to_list()


def by_shard(log: pl.DataFrame, layout: list[int]) -> Iterator[tuple[int, pl.DataFrame]]:
  """The histories of a share by the shard that holds them."""
  shard = np.searchsorted(layout, log["user"].to_numpy(), side="right") - 1
  parts = log.with_columns(shard=shard).partition_by("shard", as_dict=True, include_key=False)
  for (number,), own in parts.items():
    yield int(number), own


def write_shard(
  folder: str,
  shard: int,
  found: Iterable[pl.DataFrame],
  whole: steps.Plan,
  counts: np.ndarray,
  num_shards: int,
) -> tuple:
  """Writes the users of a shard; a worker that does it again writes the same file."""
  path = Path(folder) / shards.shard_name(shard, num_shards)
  draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
  log = pl.concat(found).sort("user", maintain_order=True)
  written, users, lengths = steps.write_shard(draft, log, whole, counts)
  draft.replace(path)
  return shard, written, users, lengths


def write_result(
  folder: str,
  found: list[tuple],
  whole: tuple[steps.Plan, dict[int, int]],
  before: rules.Counts,
  after: rules.Counts,
  first: np.ndarray,
  items: np.ndarray,
) -> None:
  """Writes what the caller needs to finish the store."""
  found = sorted(found, key=lambda shard: shard[0])
  none = np.zeros(0, np.int64)
  result = steps.Result(
    whole[0],
    before,
    after,
    np.flatnonzero(first),
    np.zeros(len(whole[0].items), np.int64) + items,
    np.concatenate([none, *(shard[2] for shard in found)]),
    np.concatenate([none, *(shard[3] for shard in found)]),
    [shard[1] for shard in found],
  )
  (Path(folder) / _RESULT).write_bytes(pickle.dumps(result))


def _sentence(error: Exception) -> Exception | None:
  """The error that a worker met, which Beam wraps into its own with all of its traceback."""
  found = re.search(
    r"\b(ValueError|FileNotFoundError|OSError|ImportError): (.*?)(?: \[while running|\n|$)",
    str(error),
  )
  if isinstance(error, ValueError | OSError | ImportError):
    return type(error)(str(error).split(" [while running")[0])
  return ValueError(found[2]) if found else None
