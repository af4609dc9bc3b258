"""A world's files, made part by part: memory holds a shard of histories or a block of vectors.

  FOLDER/histories     a store, which the source 'store' reads; item ids are rows of the catalogue
  FOLDER/vectors.npy   float32 [N, F], in the order of ids
  FOLDER/world.json    the settings, from which all else follows

All N items are in the catalogue, also those that nobody has met.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sidrec.bench.world.catalogue import Catalogue, ids_of, leaves_of, make_catalogue, rows_of
from sidrec.bench.world.settings import WorldConfig, as_json, from_json
from sidrec.bench.world.users import lengths, simulate
from sidrec.bench.world.vectors import item_vectors
from sidrec.core.atomic import PathLike, whole_folder, write_whole_text
from sidrec.core.paths import as_path
from sidrec.data import shards, store
from sidrec.data.dataset import TEXT, Histories, Items

HISTORIES, VECTORS, SETTINGS = "histories", "vectors.npy", "world.json"
USERS_AT_ONCE = 1 << 13
ITEMS_AT_ONCE = 1 << 15


def write_world(
  path: PathLike,
  config: WorldConfig,
  users_at_once: int = USERS_AT_ONCE,
  say: Callable[[str], None] = print,
) -> None:
  """Writes a world to a new folder, which afterwards is complete or absent.

  Args:
    path: of the folder.
    config: the world.
    users_at_once: that are simulated together; changes no byte of what is written.
    say: takes a line for each part.

  Raises:
    FileExistsError: if there is something at `path`.
  """
  catalogue = make_catalogue(config)
  with whole_folder(path) as draft:
    _write_histories(draft / HISTORIES, catalogue, users_at_once)
    say(f"world: {config.users:,} users with {_events(config):,} events")
    _write_vectors(draft / VECTORS, catalogue)
    say(f"world: {config.items:,} vectors of width {config.width}")
    write_whole_text(draft / SETTINGS, json.dumps(as_json(config), indent=2) + "\n")


def read_world(path: PathLike) -> Catalogue:
  """The world of a folder.

  Raises:
    FileNotFoundError: if there is no world.json.
    ValueError: if it says nothing that makes a world.
  """
  file = as_path(path) / SETTINGS
  if not file.is_file():
    raise FileNotFoundError(f"there is no {file}; write a world with python -m sidrec.bench.world")
  try:
    return make_catalogue(from_json(json.loads(file.read_bytes())))
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(f"{file} is damaged ({error}); write the world again") from error


def histories_by_id(
  catalogue: Catalogue, first: int, stop: int, users_at_once: int = USERS_AT_ONCE
) -> Histories:
  """All events of users first … stop - 1, items by their ids."""
  found = []
  for at in range(first, stop, users_at_once):
    histories, _ = simulate(catalogue, np.arange(at, min(at + users_at_once, stop)))
    ids_T = ids_of(catalogue, histories.item_T.astype(np.int64)).astype(np.int32)
    found.append(histories._replace(item_T=ids_T))
  length_B = np.concatenate([part.lengths_U for part in found])
  return Histories(
    np.concatenate([[0], np.cumsum(length_B)]).astype(np.int64),
    np.concatenate([part.item_T for part in found]),
    np.concatenate([part.time_T for part in found]),
    np.concatenate([part.rating_T for part in found]),
    np.arange(first, stop),
  )


def items_of(catalogue: Catalogue) -> Items:
  """The catalogue with three levels of categories, in the order of ids."""
  config, size = catalogue.config, catalogue.config.fan_out
  names = [".".join(map(str, node)) for level in (1, 2, 3) for node in np.ndindex((size,) * level)]
  category_NxX = np.empty((config.items, 3), np.int32)  # X counts the levels
  for first, stop in _blocks(config.items):
    leaf_R = _leaves_by_id(catalogue, first, stop)
    nodes = leaf_R // size**2, size + leaf_R // size, size + size**2 + leaf_R
    category_NxX[first:stop] = np.stack(nodes, axis=1)
  return Items(
    ids_N=np.arange(config.items),
    titles_N=np.zeros(config.items, TEXT),
    categories_C=np.array(names, TEXT),
    category_offsets_Np1=3 * np.arange(config.items + 1),
    category_E=category_NxX.reshape(-1),
    numeric={},
    text_N=np.zeros(config.items, TEXT),
  )


def _write_histories(folder: Path, catalogue: Catalogue, users_at_once: int) -> None:
  config = catalogue.config
  folder.mkdir()
  count = min(store.default_shards(_events(config)), config.users)
  bounds = np.linspace(0, config.users, count + 1).astype(int)
  written, length_U = [], lengths(config, np.arange(config.users))
  for shard in range(count):
    histories = histories_by_id(catalogue, bounds[shard], bounds[shard + 1], users_at_once)
    written.append(shards.write_shard(folder / shards.shard_name(shard, count), histories))
  name = f"world of {config.items:,} items"
  items, id_type = items_of(catalogue), np.dtype(np.int64)
  store.write_metadata(folder, name, (), items, length_U, id_type, written)


def _write_vectors(file: Path, catalogue: Catalogue) -> None:
  shape = (catalogue.config.items, catalogue.config.width)
  vectors_NxF = np.lib.format.open_memmap(file, "w+", np.float32, shape)
  for first, stop in _blocks(len(vectors_NxF)):
    vectors_NxF[first:stop] = item_vectors(catalogue, rows_of(catalogue, np.arange(first, stop)))
  vectors_NxF.flush()


def _leaves_by_id(catalogue: Catalogue, first: int, stop: int) -> np.ndarray:
  return leaves_of(catalogue, rows_of(catalogue, np.arange(first, stop)))


def _blocks(count: int) -> list[tuple[int, int]]:
  return [(at, min(at + ITEMS_AT_ONCE, count)) for at in range(0, count, ITEMS_AT_ONCE)]


def _events(config: WorldConfig) -> int:
  """Of all users, block by block."""
  at_once = 1 << 20
  starts = range(0, config.users, at_once)
  parts = [np.arange(at, min(at + at_once, config.users)) for at in starts]
  return sum(int(lengths(config, part).sum()) for part in parts)
