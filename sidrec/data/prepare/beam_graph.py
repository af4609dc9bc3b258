"""The Apache Beam pipeline that turns a raw log into shards: `grouping`, wired up.

  parts → blocks → shares by user → histories → k-core, round by round → shards

Elements are blocks of thousands of rows. The k-core's rounds hand over the histories that are
left and the counts of items alone; no round groups anything again.
"""

import collections
import json
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsSingleton

from sidrec.data import shards
from sidrec.data.dataset import Histories
from sidrec.data.prepare import grouping
from sidrec.data.prepare.log_parts import RawLog
from sidrec.data.store import default_shards

RESULT = "prepared.npz"  # what the pipeline found, for the caller
_SHARE_BYTES = 1 << 26


def run(
  log: RawLog,
  folder: Path,
  min_interactions: int,
  k_core: int,
  core_rounds: int,
  num_shards: int,
  options: Sequence[str],
) -> None:
  """Writes shards and RESULT into a folder that all workers reach.

  Args:
    log: what to read.
    folder: where to.
    min_interactions: users with fewer are dropped first.
    k_core: k; 0 for none.
    core_rounds: how often to drop what is rare.
    num_shards: 0 for files of the usual size.
    options: of Beam and its runner, as on a command line.
  """
  place = str(folder)
  with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
    blocks = _blocks(pipeline, log)
    summary = _summary(blocks, log)
    counted = _by_user(blocks, summary, log, min_interactions)
    before = (
      counted | "counts" >> beam.Map(lambda pair: pair[1]) | "sum" >> _adding(grouping.add_up)
    )
    histories = counted | "without counts" >> beam.Map(lambda pair: pair[0])
    first = _item_counts(histories, "all")
    histories, items = _core(histories, first, k_core, core_rounds if k_core else 0)
    after = (
      histories
      | "counts left" >> beam.Map(lambda grouped: grouping.counts_of(grouped))
      | "sum left" >> _adding(grouping.add_up)
    )
    layout = (
      histories
      | "users" >> beam.Map(lambda grouped: grouped.user_ids_U)
      | "all users" >> beam.combiners.ToList()
      | "layout"
      >> beam.Map(
        lambda ids, s, total: grouping.lay_out(
          ids, s.user_kind, num_shards or default_shards(total.interactions)
        ),
        s=AsSingleton(summary),
        total=AsSingleton(after),
      )
    )
    written = _write(histories, summary, layout, items, place)
    sides = (AsSingleton(found) for found in (summary, before, after, first, items))
    _ = written | "result" >> beam.Map(
      lambda found, *rest: write_result(place, found, *rest), *sides
    )


def _blocks(pipeline: beam.Pipeline, log: RawLog) -> Any:
  read, quotes = log.read, log.quotes
  parts = pipeline | "parts" >> beam.Create(log.parts) | "spread" >> beam.Reshuffle()
  if quotes is None:
    return parts | "read" >> beam.Map(lambda part: read(part, 0))
  counts = (
    parts
    | "quotes" >> beam.Map(lambda part: (part.index, part.file, quotes(part)))
    | "all quotes" >> beam.combiners.ToList()
    | "quotes before" >> beam.Map(lambda found: quotes_before(found))
  )
  return parts | "read" >> beam.Map(
    lambda part, before: read(part, before[part.index]), before=AsSingleton(counts)
  )


def quotes_before(found: Iterable[tuple[int, str, int]]) -> dict[int, int]:
  """From each part's number, file and quotes: the quotes before it in its file."""
  before, so_far = {}, collections.Counter()
  for index, file, count in sorted(found):
    before[index] = so_far[file]
    so_far[file] += count
  return before


def _summary(blocks: Any, log: RawLog) -> Any:
  # Not `log` as a whole: what a step names is sent to the workers with it.
  kinds, metadata_ids = log.id_kinds, log.metadata_ids
  return (
    blocks
    | "facts" >> beam.Map(lambda block: grouping.facts_of(block))
    | "all facts" >> beam.combiners.ToList()
    | "summary" >> beam.Map(lambda facts: grouping.summarise(facts, kinds, metadata_ids))
  )


def _by_user(blocks: Any, summary: Any, log: RawLog, min_interactions: int) -> Any:
  """Histories in shares by user, and what was met."""
  num_shares = int(np.clip(log.num_bytes // _SHARE_BYTES, 4, 4096))
  ticks, repeats = log.ticks, log.repeats
  return (
    blocks
    | "by user" >> beam.FlatMap(lambda block: grouping.by_user(block, num_shares))
    | "shares" >> beam.GroupByKey()
    | "histories"
    >> beam.Map(
      lambda pair, s: grouping.group(pair[1], s, ticks, repeats, min_interactions),
      s=AsSingleton(summary),
    )
  )


def _core(histories: Any, items: Any, k: int, rounds: int) -> tuple[Any, Any]:
  """What is left after so many rounds, and its item counts."""
  for number in range(rounds):
    histories = histories | f"round {number}" >> beam.Map(
      lambda grouped, counts: grouping.drop_rare(grouped, counts, k), counts=AsSingleton(items)
    )
    items = _item_counts(histories, f"left {number}")
  return histories, items


def _item_counts(histories: Any, name: str) -> Any:
  return (
    histories
    | f"items {name}" >> beam.Map(lambda grouped: grouping.item_counts(grouped))
    | f"sum items {name}" >> _adding(grouping.add_item_counts)
  )


def _adding(add: Any) -> Any:
  return beam.CombineGlobally(lambda found: add(found))


def _write(histories: Any, summary: Any, layout: Any, items: Any, place: str) -> Any:
  """Writes the shards; a list of what each holds."""
  return (
    histories
    | "by shard"
    >> beam.FlatMap(
      lambda grouped, plan, s: grouping.by_shard(grouped, plan, s.user_kind),
      plan=AsSingleton(layout),
      s=AsSingleton(summary),
    )
    | "in shards" >> beam.GroupByKey()
    | "write"
    >> beam.Map(
      lambda pair, plan, s, counts: write_shard(place, pair[0], pair[1], plan, s, counts),
      plan=AsSingleton(layout),
      s=AsSingleton(summary),
      counts=AsSingleton(items),
    )
    | "all shards" >> beam.combiners.ToList()
  )


def write_shard(
  folder: str,
  shard: int,
  found: Iterable[grouping.Grouped],
  layout: grouping.Layout,
  summary: grouping.Summary,
  counts: tuple[np.ndarray, np.ndarray],
) -> tuple[int, shards.Shard, np.ndarray]:
  """Writes the users of a shard; a worker that does it again writes the same file."""
  grouped = grouping.in_order(found, summary.user_kind)
  order_N = np.argsort(grouping.order_keys(counts[0], summary.item_kind))
  row_N = np.empty(len(order_N), np.int32)
  row_N[order_N] = np.arange(len(order_N))
  local_N = row_N[np.searchsorted(counts[0], grouped.item_ids_N)]
  histories = Histories(
    grouped.offsets_Up1,
    local_N[grouped.item_T],
    grouped.time_T,
    grouped.rating_T,
    grouped.user_ids_U,
  )
  path = Path(folder) / shards.shard_name(shard, layout.num_shards)
  draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
  written = shards.write_shard(draft, histories)
  draft.replace(path)
  return shard, written, histories.lengths_U


def write_result(
  folder: str,
  found: list[tuple[int, shards.Shard, np.ndarray]],
  summary: grouping.Summary,
  before: grouping.Counts,
  after: grouping.Counts,
  first: tuple[np.ndarray, np.ndarray],
  items: tuple[np.ndarray, np.ndarray],
) -> None:
  """Writes what the caller needs to finish the store."""
  found = sorted(found, key=lambda shard: shard[0])
  header = summary._replace(first_row={})._asdict() | {
    "before": before._asdict(),
    "after": after._asdict(),
  }
  order_N = np.argsort(grouping.order_keys(items[0], summary.item_kind))
  order_M = np.argsort(grouping.order_keys(first[0], summary.item_kind))
  np.savez(
    Path(folder) / RESULT,
    allow_pickle=False,
    header=np.frombuffer(json.dumps(header).encode(), np.uint8),
    item_ids_N=items[0][order_N],
    item_count_N=items[1][order_N],
    item_ids_M=first[0][order_M],
    shards=np.array([shard for _, shard, _ in found], np.int64).reshape(-1, 3),
    length_U=np.concatenate([np.zeros(0, np.int64), *(lengths for _, _, lengths in found)]),
  )
