"""Stage 1: raw files → dataset.npz, and items.tsv, which names the item of each row."""

from typing import Any

from etils import epath

from sidrec.core.atomic import write_whole_text
from sidrec.core.settings import to_dict
from sidrec.data import store
from sidrec.data.cache import load_dataset, save_dataset
from sidrec.data.dataset import Dataset, Histories, describing_users, training_view
from sidrec.data.held_out_items import draw_items, without_items
from sidrec.data.item_list import item_list
from sidrec.data.k_core import core_of
from sidrec.data.sources import registry
from sidrec.data.targets import Targets, training_part, with_targets
from sidrec.data.tie_breaking import shuffle_ties
from sidrec.parallel.hosts import from_primary
from sidrec.run.config_file import without_paths
from sidrec.run.generations import Chain
from sidrec.run.settings import RunConfig
from sidrec.run.stage import Stage


def prepare(config: RunConfig, folder: epath.Path, before: Chain) -> None:
  """Reads the raw files and writes the data set."""
  del before
  # Nothing here needs a device: the primary host alone reads the raw files.
  from_primary(lambda: write(read(config), folder))


def load_prepared(chain: Chain) -> Dataset:
  """The data set of a run."""
  return describing_users(load_dataset(chain["prepare"].file("dataset.npz")))


def read(config: RunConfig) -> Dataset:
  """The data set that the config describes.

  Raises:
    ValueError: for malformed files, or settings that exclude each other.
    FileNotFoundError: if the files are not there.
  """
  data, cold = config.data, config.cold_start
  if samples_users(config) and (data.k_core or data.shuffle_ties >= 0 or cold.held_out):
    raise ValueError(
      "with data.store.users only a sample is in memory, and training reads the shards as they "
      "are: k_core, shuffle_ties and cold starts need data.store.users=0 (give --k_core to "
      "sidrec.data.prepare)"
    )
  targets = targets_of(config)
  if cold.held_out and targets.any:
    raise ValueError(
      "new items are measured with every event as a target: users who lose one of their two would "
      "train on the other; set train.targets=() and train.least_rating=0"
    )
  settings = registry.settings_of(data)
  dataset = registry.read(data.source, data.path, data.min_interactions, **settings)
  if data.k_core:
    dataset = core_of(dataset, data.k_core)
  if data.shuffle_ties >= 0:
    dataset = shuffle_ties(dataset, data.shuffle_ties)
  if cold.held_out:
    drawn_N = draw_items(dataset.items.num_items, cold.fraction, cold.seed)
    dataset = without_items(dataset, drawn_N)
  return with_targets(dataset, targets)


def targets_of(config: RunConfig) -> Targets:
  """What the run predicts."""
  return Targets(config.train.targets, config.train.least_rating)


def samples_users(config: RunConfig) -> bool:
  """Whether only a sample of the users is in memory."""
  return config.data.source == "store" and config.data.store.users > 0


def training_of(config: RunConfig, dataset: Dataset) -> Histories:
  """What the run learns from: the training view of all users, also of those who are not in memory.

  Args:
    config: of the run.
    dataset: which it prepared.
  """
  if not samples_users(config):
    return training_view(dataset.histories)
  return training_part(store.load_store(config.data.path).histories, targets_of(config))


def write(dataset: Dataset, folder: epath.Path) -> None:
  """Writes the stage's files, and prints what was read."""
  save_dataset(folder / "dataset.npz", dataset)
  items = dataset.items
  write_whole_text(folder / "items.tsv", item_list(items))
  print(
    f"prepare: {dataset.name}: {dataset.histories.num_users:,} users, {items.num_items:,} items, "
    f"{len(dataset.histories.item_T):,} interactions"
  )
  for note in dataset.notes:
    print(f"  {note}")


def _settings(config: RunConfig) -> dict[str, Any]:
  cold, code = config.cold_start, registry.code_of(config.data.source)
  data = without_paths("data", to_dict(config.data))
  del data["plugins"]  # those of others decide nothing
  columns = data["table"]["columns"] = dict(data["table"]["columns"])
  if not columns.get("action"):
    columns.pop("action", None)
  if not config.data.table.users_path:
    del data["table"]["user_columns"]
  targets = targets_of(config)
  if own := registry.own_settings(config.data):
    data["plugins"] = {config.data.source: own}
  return {
    "data": data,
    **({"code of the source": code} if code else {}),
    **({"cold_start": [cold.fraction, cold.seed]} if cold.held_out else {}),
    **({"targets": list(targets)} if targets.any else {}),
  }


def _files(config: RunConfig) -> dict[str, Any]:
  data = config.data
  settings = registry.settings_of(data)
  return registry.signature(data.source, data.path, **settings)


PREPARE = Stage(
  "prepare",
  after=lambda config: (),
  settings=_settings,
  files=_files,
  outputs=lambda config: ("dataset.npz", "items.tsv"),
  build=prepare,
)
