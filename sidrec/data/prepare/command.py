"""Raw logs of any size → a store of ArrayRecord shards.

  python -m sidrec.data.prepare --source=movielens-1m --path=ml-1m --output=DIR
  python -m sidrec.data.prepare --config=configs/custom.py --output=DIR --k_core=5
  python -m sidrec.data.prepare --source=table --path='logs/part-*.csv' --output=DIR --beam \\
    --runner=DataflowRunner --project=… --temp_location=gs://…

The store holds what the reader of the source would have read into memory, row by row:
histories by user and time, of users with at least `min_interactions`, cut to the k-core, and
the catalogue. Train from it with config.data.source = "store", config.data.path = DIR.

Tables may be larger than memory: Polars reads them in batches, and what is on the way waits on
disk, in a folder next to DIR. All other sources are read into memory.

With --beam, Apache Beam reads tables on a cluster, a file at a time. Flags that are not listed
here then go to Beam and its runner. All workers must reach the raw files and DIR under the same
paths.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging
from ml_collections import config_flags

from sidrec.core import copies
from sidrec.core.atomic import PathLike, whole_folder
from sidrec.core.paths import as_path, files_in
from sidrec.core.settings import from_dict
from sidrec.data import store
from sidrec.data.cache import save_users
from sidrec.data.k_core import check_core, core_note, core_of, no_core
from sidrec.data.prepare import local, steps
from sidrec.data.settings import DataConfig
from sidrec.data.sources import registry, rules
from sidrec.data.sources.build import as_array, describe
from sidrec.data.sources.log import known_notes, log_notes
from sidrec.data.sources.scan import name_of
from sidrec.data.sources.table import describe_items, describe_users, scan_logs
from sidrec.data.sources.users import users_among


def define_flags(values: flags.FlagValues) -> None:
  """Adds this command's flags to `values`, so that importing the module defines none."""
  config_flags.DEFINE_config_file(
    "config", None, "Such as configs/custom.py; its `data` is what to read.", flag_values=values
  )
  flags.DEFINE_string("output", None, "The new folder of the store.", flag_values=values)
  for name, help_text in {
    "source": "A name in sidrec.data.sources.registry.READERS, instead of the config's.",
    "path": "Where the raw files are, instead of the config's.",
    "repeats": "'keep' or 'first' of a user with an item, instead of the config's.",
  }.items():
    flags.DEFINE_string(name, None, help_text, flag_values=values)
  for name, help_text in {
    "min_interactions": f"Users with fewer are dropped; default {DataConfig.min_interactions}.",
    "k_core": "Drops users and items with fewer interactions, repeatedly; default: the config's.",
  }.items():
    flags.DEFINE_integer(name, None, help_text, flag_values=values)
  flags.DEFINE_integer(
    "shards", 0, "Files; 0 for about 128 MiB each.", lower_bound=0, flag_values=values
  )
  flags.DEFINE_bool("beam", False, "Read tables through Apache Beam.", flag_values=values)
  flags.DEFINE_integer(
    "core_rounds", 10, "With --beam: how often to drop.", lower_bound=1, flag_values=values
  )


@copies.kept()
def prepare(data: DataConfig, output: PathLike, num_shards: int = 0) -> str:
  """Reads a raw log on this machine and writes a store, all of it or nothing.

  Args:
    data: which log.
    output: the new folder.
    num_shards: files; 0 for about 128 MiB each.

  Returns:
    One line that says what the store holds.

  Raises:
    FileExistsError: if there is something at `output`.
    FileNotFoundError, ValueError: as the source's reader raises them.
  """
  _check(data)
  if data.source == "table":
    with whole_folder(output) as draft:
      raw = open_log(data)
      result = local.run(raw, draft, data.min_interactions, data.k_core, num_shards)
      return finish(draft, raw, data, result)
  dataset = registry.read(
    data.source, data.path, data.min_interactions, **registry.settings_of(data)
  )
  if data.k_core:
    dataset = core_of(dataset, data.k_core)
  store.write_store(output, dataset, num_shards)
  histories = dataset.histories
  files = sum(".array_record" in file.name for file in files_in(output))
  return _said(
    dataset.name, histories.num_users, dataset.items.num_items, len(histories.item_T), files
  )


@copies.kept()
def prepare_by_beam(
  data: DataConfig,
  output: PathLike,
  core_rounds: int = 10,
  num_shards: int = 0,
  options: Sequence[str] = (),
) -> str:
  """`prepare` for tables, through Apache Beam.

  Args:
    data: which log.
    output: the new folder.
    core_rounds: how often to drop rare users and items on the way to the k-core, at most.
    num_shards: files; 0 for about 128 MiB each.
    options: of Beam and its runner, as on a command line.

  Returns, Raises:
    as `prepare`; also ImportError without Apache Beam, and ValueError for other sources and for a
    core that is not reached.
  """
  try:
    from sidrec.data.prepare import beam_graph  # large, optional, and only clusters need it
  except ImportError as error:
    raise ImportError("--beam needs Apache Beam: pip install 'sidrec[beam]'") from error
  _check(data)
  if data.source != "table":
    raise ValueError(f"source {data.source!r} fits one machine; leave --beam away")
  with whole_folder(output) as draft:
    raw = open_log(data)
    result = beam_graph.run(raw, data, draft, core_rounds, num_shards, options)
    counts = result.item_counts[result.item_counts > 0]
    if data.k_core and len(counts) and int(counts.min()) < data.k_core:
      raise ValueError(
        f"the {data.k_core}-core was not reached within --core_rounds={core_rounds}; give more"
      )
    return finish(draft, raw, data, result)


def open_log(data: DataConfig) -> steps.RawLog:
  """Opens the tables of a source 'table'.

  Raises:
    FileNotFoundError, ValueError: as the reader of tables.
  """
  table = data.table
  logs, users = scan_logs(data.path, table), describe_users(table)
  return steps.RawLog(name_of(data.path), logs, describe_items(table), data.repeats, users)


def _check(data: DataConfig) -> None:
  rules.check_min_interactions(data.min_interactions)
  if data.k_core:
    check_core(data.k_core)
  rules.check_repeats(data.repeats)
  if data.shuffle_ties >= 0:
    raise ValueError("a store keeps file order among equal times; set data.shuffle_ties=-1")
  if data.source == "store":
    raise ValueError("source 'store' is prepared already")


def finish(folder: Path, raw: steps.RawLog, data: DataConfig, result: steps.Result) -> str:
  """Writes catalogue and metadata next to the shards; says what the store holds."""
  before, after = result.before, result.after
  if not before.users:
    raise ValueError(
      f"data set {raw.name!r}: no user has {data.min_interactions} or more interactions"
    )
  if not after.users:
    raise no_core(raw.name, data.k_core)
  ids = result.plan.items["id"]
  table = raw.described.frame.with_columns(item=raw.described.frame["item"].cast(ids.dtype))
  items, _ = describe(raw.name, table, ids.filter(result.item_counts > 0))
  notes = _notes(raw, data, result, items.num_items)
  if raw.users is not None:
    ids_U = as_array(result.plan.users["id"].gather(result.user_numbers))
    known, more = users_among(ids_U, raw.users)
    notes += more
    if known:
      save_users(folder / "users.npz", known)
  store.write_metadata(
    folder,
    raw.name,
    notes,
    items,
    result.lengths_U,
    as_array(result.plan.users["id"].head(0)).dtype,
    result.shards,
    result.plan.actions,
  )
  return _said(raw.name, after.users, items.num_items, after.interactions, len(result.shards))


def _said(name: str, users: int, items: int, interactions: int, files: int) -> str:
  return (
    f"{name}: {users:,} users, {items:,} items, {interactions:,} interactions in {files} shards"
  )


def _notes(raw: steps.RawLog, data: DataConfig, result: steps.Result, num_items: int) -> list[str]:
  """What the reader in memory, and `core_of` after it, would have noted."""
  before, after = result.before, result.after
  first = result.plan.items["item"].gather(result.first_items)
  described = int(raw.described.frame["item"].is_in(first.implode()).sum())
  logged = result.plan.items.filter("logged")["item"]
  notes = [
    *log_notes(raw.logs, result.plan.met),
    *raw.described.notes,
    *known_notes(raw.logs[0], raw.described, logged),
    *rules.duplicate_notes(before.copies, before.later, actions=bool(result.plan.actions)),
    *rules.build_notes(
      before, data.min_interactions, len(raw.described.frame), described, len(first)
    ),
  ]
  if data.k_core:
    notes += [
      core_note(
        data.k_core,
        (after.users, before.users),
        (num_items, len(first)),
        (after.interactions, before.interactions),
      ),
      rules.tie_note(after),
    ]
  return notes


def read_flags(values: flags.FlagValues) -> DataConfig:
  """`config.data` with what the flags say instead."""
  given = {
    name: values[name].value
    for name in ("source", "path", "repeats", "min_interactions", "k_core")
    if values[name].value is not None
  }
  return from_dict(DataConfig, {**(values.config.data.to_dict() if values.config else {}), **given})


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Prepares a store; expected errors end with their sentence, without a traceback."""
  logging.set_verbosity(logging.WARNING)
  try:
    if not values.output:
      raise ValueError("give --output, the new folder of the store")
    data, output = read_flags(values), as_path(values.output)
    if values.beam:
      said = prepare_by_beam(data, output, values.core_rounds, values.shards, argv[1:])
    elif argv[1:]:
      raise ValueError(f"unknown flag {argv[1]}; those of a runner need --beam")
    else:
      said = prepare(data, output, values.shards)
  except (ValueError, OSError, ImportError) as error:
    sys.exit(f"sidrec: {error}")
  print(f"prepare: {said} → {output}")
