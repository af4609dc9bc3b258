"""Raw logs of any size → a store of ArrayRecord shards, through Apache Beam.

  python -m sidrec.data.prepare --source=movielens-1m --path=ml-1m --output=DIR
  python -m sidrec.data.prepare --config=configs/custom.py --output=DIR --k_core=5
  python -m sidrec.data.prepare --source=table --path='logs/part-*.csv' --output=DIR \\
    --runner=DataflowRunner --project=… --temp_location=gs://…

The store holds what the reader of the source would have read into memory, row by row:
histories by user and time, of users with at least `min_interactions`, cut to the k-core, and
the catalogue. Train from it with config.data.source = "store", config.data.path = DIR.

Flags that are not listed here go to Beam and its runner (DirectRunner, on this machine, by
default; --direct_num_workers=2 --direct_running_mode=multi_processing takes two processes). All
workers must reach the raw files and DIR under the same paths.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from sidrec.core.atomic import whole_folder
from sidrec.data import shards, store
from sidrec.data.dataset import Items
from sidrec.data.k_core import check_core, core_note, no_core
from sidrec.data.prepare import grouping, log_parts
from sidrec.data.settings import default_data
from sidrec.data.sources import registry
from sidrec.data.sources.build import build_notes, describe
from sidrec.data.sources.rules import check_repeats, duplicate_notes


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  config_flags.DEFINE_config_file(
    "config", None, "Such as configs/custom.py; its `data` is what to read.", flag_values=values
  )
  flags.DEFINE_string("output", None, "The new folder of the store.", flag_values=values)
  data = default_data()
  for name, help_text in {
    "source": "A name in sidrec.data.sources.registry.READERS, instead of the config's.",
    "path": "Where the raw files are, instead of the config's.",
    "repeats": "'keep' or 'first' of a user with an item, instead of the config's.",
  }.items():
    flags.DEFINE_string(name, None, help_text, flag_values=values)
  for name, help_text in {
    "min_interactions": f"Users with fewer are dropped; default {data.min_interactions}.",
    "k_core": "Drops users and items with fewer interactions, repeatedly; default: the config's.",
  }.items():
    flags.DEFINE_integer(name, None, help_text, flag_values=values)
  flags.DEFINE_integer(
    "core_rounds", 10, "How often to drop, at most.", lower_bound=1, flag_values=values
  )
  flags.DEFINE_integer(
    "shards", 0, "Files; 0 for about 128 MiB each.", lower_bound=0, flag_values=values
  )


def prepare(
  data: ConfigDict,
  output: Path,
  core_rounds: int = 10,
  num_shards: int = 0,
  options: Sequence[str] = (),
) -> str:
  """Reads a raw log through Beam and writes a store, all of it or nothing.

  Args:
    data: which log, as in `config.data`.
    output: the new folder.
    core_rounds: how often to drop rare users and items on the way to the k-core, at most.
    num_shards: files; 0 for about 128 MiB each.
    options: of Beam and its runner, as on a command line.

  Returns:
    One line that says what the store holds.

  Raises:
    FileExistsError: if there is something at `output`.
    FileNotFoundError, ValueError: as the source's reader raises them.
    ImportError: without Apache Beam.
  """
  try:
    from sidrec.data.prepare import beam_graph  # large, optional, and only this command needs it
  except ImportError as error:
    raise ImportError(
      "preparing a store from raw logs needs Apache Beam: pip install 'sidrec[beam]'"
    ) from error
  _check(data)
  with whole_folder(output) as draft:
    log = log_parts.open_log(
      data.source, data.path, data.min_interactions, registry.settings_of(data)
    )
    arguments = (log, draft, data.min_interactions, data.k_core, core_rounds, num_shards, options)
    try:
      beam_graph.run(*arguments)
    except Exception as error:
      raise _sentence(error) or error from error
    with np.load(draft / beam_graph.RESULT, allow_pickle=False) as arrays:
      result = dict(arrays)
    (draft / beam_graph.RESULT).unlink()
    return _finish(draft, log, data, core_rounds, result)


def _check(data: ConfigDict) -> None:
  if data.min_interactions < 3:
    raise ValueError(f"min_interactions is {data.min_interactions}; it must be at least 3")
  if data.k_core:
    check_core(data.k_core)
  check_repeats(data.repeats)
  if data.shuffle_ties >= 0:
    raise ValueError("a store keeps file order among equal times; set data.shuffle_ties=-1")
  if data.source == "store":
    raise ValueError("source 'store' is prepared already")


def _finish(
  folder: Path,
  log: log_parts.RawLog,
  data: ConfigDict,
  core_rounds: int,
  result: dict[str, np.ndarray],
) -> str:
  """Writes catalogue and metadata beside the shards."""
  header = json.loads(result["header"].tobytes())
  before, after = (grouping.Counts(**header[name]) for name in ("before", "after"))
  if not before.users:
    raise ValueError(
      f"data set {log.name!r}: no user has {data.min_interactions} or more interactions"
    )
  if not after.users:
    raise no_core(log.name, data.k_core)
  if data.k_core and int(result["item_count_N"].min()) < data.k_core:
    raise ValueError(
      f"the {data.k_core}-core was not reached within --core_rounds={core_rounds}; give more"
    )
  id_dtype = {
    of: np.dtype(np.int64 if header[f"{of}_kind"] == "whole" else f"<U{header[f'{of}_width']}")
    for of in ("user", "item")
  }
  metadata = log.metadata(header["item_kind"])
  ids_N, ids_M = (result[name].astype(id_dtype["item"]) for name in ("item_ids_N", "item_ids_M"))
  items, _ = describe(log.name, metadata, ids_N)
  store.write_metadata(
    folder,
    log.name,
    _notes(log, data, header, before, after, metadata, ids_M, len(ids_N)),
    items,
    result["length_U"],
    id_dtype["user"],
    [shards.Shard(*map(int, row)) for row in result["shards"]],
  )
  return (
    f"{log.name}: {after.users:,} users, {items.num_items:,} items, "
    f"{after.interactions:,} interactions in {len(result['shards'])} shards"
  )


def _notes(
  log: log_parts.RawLog,
  data: ConfigDict,
  header: dict[str, Any],
  before: grouping.Counts,
  after: grouping.Counts,
  metadata: Items,
  ids_M: np.ndarray,
  num_items: int,
) -> list[str]:
  """What the reader in memory, and `core_of` after it, would have noted."""
  notes = log.notes(header["untimed"], header["nameless"], before.timeless)
  if not log.built:
    _, described = describe(log.name, metadata, ids_M)
    notes = [
      *notes,
      *duplicate_notes(before.copies, before.later),
      *build_notes(
        before.short,
        data.min_interactions,
        metadata.num_items,
        described,
        len(ids_M),
        before.ties,
        before.interactions,
      ),
    ]
  if data.k_core:
    left = zip(
      (after.users, num_items, after.interactions),
      (before.users, len(ids_M), before.interactions),
      strict=True,
    )
    ties = build_notes(0, 3, 0, 0, 0, after.ties, after.interactions)
    notes = [*notes, core_note(data.k_core, *left), *ties]
  return notes


def _sentence(error: Exception) -> Exception | None:
  """The error that a worker met, which Beam wraps into its own with all of its traceback."""
  found = re.search(
    r"\b(ValueError|FileNotFoundError|OSError|ImportError): (.*?)(?: \[while running|\n|$)",
    str(error),
  )
  if isinstance(error, ValueError | OSError | ImportError):
    return type(error)(str(error).split(" [while running")[0])
  return ValueError(found[2]) if found else None


def read_flags(values: flags.FlagValues) -> ConfigDict:
  """`config.data` with what the flags say instead."""
  data = (values.config.data if values.config else default_data()).copy_and_resolve_references()
  for name in ("source", "path", "repeats", "min_interactions", "k_core"):
    if values[name].value is not None:
      data[name] = values[name].value
  return data


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Prepares a store; expected errors end with their sentence, without a traceback."""
  logging.set_verbosity(logging.WARNING)
  try:
    if not values.output:
      raise ValueError("give --output, the new folder of the store")
    told = prepare(
      read_flags(values), Path(values.output), values.core_rounds, values.shards, argv[1:]
    )
  except (ValueError, OSError, ImportError) as error:
    sys.exit(f"sidrec: {error}")
  print(f"prepare: {told} → {values.output}")
