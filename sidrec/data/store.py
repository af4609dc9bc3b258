"""Data sets in a folder of ArrayRecord shards, for logs larger than memory.

  DIR/histories-users.array_record-00000-of-00004 …   one example per user, see `shards`
  DIR/dataset_info.json, features.json   for `tfds.builder_from_directory(DIR)`, which needs no
                                         TensorFlow
  DIR/items.npz                          the catalogue
  DIR/lengths.npz                        int32 [U]: interactions of each user
  DIR/users.npz                          what is known about users, where something is
  DIR/store.json                         the rest, written last

What stays in memory are the lengths and what follows from them: which windows there are and in
which batch. So batches from shards are those that the same histories in memory give, bit by
bit, for any number of processes; only the items of a batch are read, when it is made.
"""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from sidrec.core.atomic import PathLike, whole_folder, write_whole_text
from sidrec.core.content import stamps
from sidrec.core.paths import as_path, files_in, stamp_of
from sidrec.data import shards
from sidrec.data.arrays import load_npz
from sidrec.data.batches import BatchAt, Source
from sidrec.data.cache import load_items, load_users, save_items, save_users
from sidrec.data.columns import actions_of
from sidrec.data.dataset import TEXT, Dataset, Histories, Items, validate
from sidrec.data.inputs import InputsConfig
from sidrec.data.prefetch import prefetched
from sidrec.data.sources.shown import brief
from sidrec.data.store_metadata import FORMAT, ID_TYPES, read_metadata
from sidrec.data.targets import ALL, Targets, of_training, training_part

_USERS_AT_ONCE = 1 << 12
_SHARD_BYTES = 1 << 27  # of histories before they are compressed: what TFDS aims at
_HELD_OUT = 2  # of each user's interactions; see `dataset.training_view`


class Store(NamedTuple):
  """An open store; its histories stay on disk."""

  folder: epath.Path
  name: str
  notes: tuple[str, ...]
  lengths_U: np.ndarray  # int32 [U]
  id_dtype: np.dtype  # of user ids
  read: Callable[[np.ndarray], list[bytes]]  # user rows [R] → their examples
  actions: tuple[str, ...] = ()  # names, where the log has actions


# Writing.


def write_store(path: PathLike, dataset: Dataset, num_shards: int = 0) -> None:
  """Writes a data set to a new folder; afterwards the folder is complete or absent.

  Args:
    path: of the folder.
    dataset: what to write.
    num_shards: files that histories are spread over; 0 for files of about 128 MiB.

  Raises:
    FileExistsError: if there is something at `path`.
  """
  histories = dataset.histories
  num_shards = min(num_shards or default_shards(len(histories.item_T)), histories.num_users)
  bounds = np.linspace(0, histories.num_users, num_shards + 1).astype(int)
  with whole_folder(path) as draft:
    if dataset.users:
      save_users(draft / "users.npz", dataset.users)
    written = [
      shards.write_shard(
        draft / shards.shard_name(shard, num_shards),
        slice_users(histories, bounds[shard], bounds[shard + 1]),
      )
      for shard in range(num_shards)
    ]
    write_metadata(
      draft,
      dataset.name,
      dataset.notes,
      dataset.items,
      histories.lengths_U,
      histories.user_ids_U.dtype,
      written,
      histories.actions or (),
    )


def default_shards(num_interactions: int) -> int:
  """How many shards of the usual size these interactions fill."""
  return 1 + num_interactions * sum(d.itemsize for d in shards.COLUMNS.values()) // _SHARD_BYTES


def slice_users(histories: Histories, start: int, stop: int) -> Histories:
  """The histories of user rows start … stop - 1."""
  first, last = histories.offsets_Up1[[start, stop]]
  row_R = np.arange(start, stop)
  own = histories._replace(user_ids_U=histories.user_ids_U[row_R], users=histories.users_at(row_R))
  return own.taken(histories.offsets_Up1[start : stop + 1] - first, slice(first, last))


def write_metadata(
  folder: Path,
  name: str,
  notes: Sequence[str],
  items: Items,
  lengths_U: np.ndarray,
  id_dtype: np.dtype,
  written: Sequence[shards.Shard],
  actions: Sequence[str] = (),
) -> None:
  """Makes a store of a folder with shards.

  Args:
    folder: holds the files `shard_name(0, len(written))` and so on.
    name: of the data set.
    notes: of the data set.
    items: the catalogue.
    lengths_U: int [U], the interactions of each user, in the order of the shards.
    id_dtype: of user ids: int64 or TEXT.
    written: what `write_shard` returned for each file.
    actions: names, where the histories have actions.
  """
  save_items(folder / "items.npz", items)
  np.savez(folder / "lengths.npz", length_U=np.asarray(lengths_U, np.int32))
  shards.write_tfds_metadata(folder, written, id_dtype == TEXT, actions=bool(actions))
  meta = {
    "format": FORMAT,
    "name": name,
    "notes": list(notes),
    "user_id": "text" if id_dtype == TEXT else "int64",
    "users": len(lengths_U),
    "items": items.num_items,
    "interactions": int(np.sum(lengths_U, dtype=np.int64)),
    "shards": [shard._asdict() for shard in written],
    **({"actions": list(actions)} if actions else {}),
  }
  write_whole_text(folder / "store.json", json.dumps(meta, indent=2, ensure_ascii=False) + "\n")


# Reading.


def open_store(path: PathLike) -> Store:
  """Opens a store, reading no history.

  Of a store in a bucket, shards are copied when they are first read; see `shards.reader_of`.

  Raises:
    FileNotFoundError: if there is no such folder, or a file is missing.
    ValueError: if it is no store, of another format, or damaged.
  """
  folder = as_path(path)
  meta = read_metadata(folder)
  files = [folder / shards.shard_name(k, len(meta["shards"])) for k in range(len(meta["shards"]))]
  for file, shard in zip(files, meta["shards"], strict=True):
    try:
      size, _ = stamp_of(file)
    except FileNotFoundError:
      raise FileNotFoundError(
        f"{folder} lacks the shard {file.name}; copy or prepare it again"
      ) from None
    if size != shard["file_bytes"]:
      raise ValueError(
        f"{file} has {size:,} bytes instead of {shard['file_bytes']:,}; copy or prepare it again"
      )
  try:
    lengths_U = load_npz(folder / "lengths.npz", ["length_U"])[1]["length_U"]
    if lengths_U.dtype != np.int32 or lengths_U.ndim != 1 or (lengths_U < 0).any():
      raise ValueError("the lengths are no counts")
    found = [len(lengths_U), int(lengths_U.sum(dtype=np.int64))]
    if found != [meta["users"], meta["interactions"]]:
      raise ValueError("the lengths are not those of store.json")
  except (LookupError, ValueError) as error:
    raise ValueError(
      f"{folder / 'lengths.npz'} is damaged ({brief(error)}); copy it again"
    ) from error
  read = shards.reader_of(files, np.cumsum([shard["num_users"] for shard in meta["shards"]]))
  names = tuple(meta["notes"]), tuple(meta.get("actions", ()))
  return Store(folder, meta["name"], names[0], lengths_U, ID_TYPES[meta["user_id"]], read, names[1])


def load_store(path: PathLike, users_R: np.ndarray | None = None) -> Dataset:
  """Reads a store into memory: the data set that was written, row by row.

  Args:
    path: of the folder.
    users_R: int [R], user rows in ascending order: only these, with the whole catalogue; all
      if None.

  Raises:
    FileNotFoundError, ValueError: as `open_store` does, and for damaged shards.
  """
  store = open_store(path)
  if users_R is None:
    users_R = np.arange(len(store.lengths_U))
  parts = [_histories(store, block) for block in _blocks(users_R)]
  offsets_Rp1 = np.concatenate([[0], np.cumsum(store.lengths_U[users_R], dtype=np.int64)])
  columns = zip(*(part[1:5] for part in parts), strict=True)
  item_T, time_T, rating_T, user_ids_R = map(np.concatenate, columns)
  histories = Histories(offsets_Rp1, item_T, time_T, rating_T, user_ids_R)
  if store.actions:
    action_T = np.concatenate([actions_of(part) for part in parts])
    histories = histories._replace(action_T=action_T, actions=store.actions)
  items = load_items(store.folder / "items.npz")
  users = {name: column[users_R] for name, column in users_of(store.folder).items()}
  return validate(Dataset(store.name, histories, items, store.notes, users))


def users_of(folder: epath.Path) -> dict[str, np.ndarray]:
  """What a store knows of all its users; raises ValueError for a damaged file."""
  file = folder / "users.npz"
  return load_users(file) if file.is_file() else {}


def drawn_users(num_users: int, count: int) -> np.ndarray:
  """`count` user rows drawn evenly, always the same ones, ascending; all if there are no more."""
  if count >= num_users:
    return np.arange(num_users)
  return np.sort(np.random.default_rng(0).choice(num_users, count, replace=False))


def read_store(path: str, min_interactions: int = 3, *, users: int = 0) -> Dataset:
  """The reader of source 'store'.

  Args:
    path: of the folder.
    min_interactions: users with fewer are an error, for the catalogue counts on them.
    users: how many to read, drawn evenly; 0 for all.

  Raises:
    FileNotFoundError, ValueError: as `load_store` does, or if a user has too short a history.
  """
  store = open_store(path)
  shortest = int(store.lengths_U.min(initial=min_interactions))
  if shortest < max(min_interactions, 3):
    raise ValueError(
      f"{path} has users with {shortest} interactions; prepare it with "
      f"--min_interactions={max(min_interactions, 3)}"
    )
  num_users = len(store.lengths_U)
  dataset = load_store(path, drawn_users(num_users, users or num_users))
  if not 0 < users < num_users:
    return dataset
  note = f"{users:,} of {num_users:,} users, drawn evenly; the shards hold the others"
  return dataset._replace(notes=(*dataset.notes, note))


def signature_store(path: str, *, users: int = 0) -> dict[str, Any]:
  """What identifies the files of a store, without reading its histories.

  Raises:
    FileNotFoundError, ValueError: if there is no store.
  """
  del users  # of the settings, not of the files
  folder = as_path(path)
  read_metadata(folder)
  return {"files": stamps(files_in(folder))}


# Training.


def training_source(store: Store, targets: Targets = ALL) -> Source:
  """Where batches find the training view: each user's interactions before both held-out targets.

  Where some interactions are no targets, all histories are read once: a byte of each stays.
  """
  lengths_U, target_T = np.maximum(store.lengths_U.astype(np.int64) - _HELD_OUT, 0), None
  if targets.any:
    every_user = _blocks(np.arange(len(store.lengths_U)))
    lengths_U, target_T = of_training((_histories(store, part) for part in every_user), targets)
  offsets_Up1 = np.concatenate([[0], np.cumsum(lengths_U)])
  dtypes = shards.columns_with(actions=bool(store.actions))

  def columns_of(start_W: np.ndarray, stop_W: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
    user_W = np.searchsorted(offsets_Up1, start_W, side="right") - 1
    user_R, at_W = np.unique(user_W, return_inverse=True)  # whom several windows share: once
    features_R, columns = shards.features_of(store.read(user_R)), []
    at = (start_W - offsets_Up1[user_W], stop_W - offsets_Up1[user_W])
    for name in names:
      blobs, width = shards.column_of(features_R, name), dtypes[name].itemsize
      _check(store, user_R, blobs, width)
      spans = zip(at_W.tolist(), *((width * place_W).tolist() for place_W in at), strict=True)
      joined = b"".join([blobs[user][i:j] for user, i, j in spans])
      columns.append(np.frombuffer(joined, dtypes[name]))
    return columns

  def ids_of(user_R: np.ndarray) -> np.ndarray:
    return shards.user_ids_of(shards.features_of(store.read(user_R)), store.id_dtype)

  users = functools.partial(users_of, store.folder)
  return Source(offsets_Up1, columns_of, ids_of, target_T, store.actions, users)


def training_parts(store: Store, targets: Targets = ALL) -> Iterator[Histories]:
  """The training view of all users, of some at a time; see `dataset.training_view`."""
  for users_R in _blocks(np.arange(len(store.lengths_U))):
    yield training_part(_histories(store, users_R), targets)


def from_shards(
  make_batches: Callable[..., BatchAt],
  path: PathLike,
  num_threads: int = 2,
  targets: Targets = ALL,
) -> Callable[..., BatchAt]:
  """`packed_batches` or other batches of all users of a store, whatever is in memory.

  Args:
    make_batches: `packed_batches`, `prefix_batches` or `sliding_batches`.
    path: of the store.
    num_threads: that make batches.
    targets: which interactions are to be predicted.

  Returns:
    The same function; its histories, its first argument, are those of the store's shards, and
    threads make the batches of the steps ahead.
  """

  def make(in_memory: Histories | None, *settings: int, **inputs: InputsConfig) -> BatchAt:
    del in_memory  # perhaps a sample of the users
    source = training_source(open_store(path), targets)
    return prefetched(make_batches(source, *settings, **inputs), num_threads)

  return make


def _blocks(users_R: np.ndarray) -> list[np.ndarray]:
  return [users_R[at : at + _USERS_AT_ONCE] for at in range(0, len(users_R), _USERS_AT_ONCE)]


def _histories(store: Store, users_R: np.ndarray) -> Histories:
  features_R = shards.features_of(store.read(users_R))
  for name, dtype in shards.columns_with(actions=bool(store.actions)).items():
    _check(store, users_R, shards.column_of(features_R, name), dtype.itemsize)
  return shards.histories_of(features_R, store.id_dtype, store.actions)


def _check(store: Store, users_R: np.ndarray, blobs: list[bytes], width: int) -> None:
  """Raises ValueError unless the columns are as long as the lengths say."""
  length_R = np.fromiter(map(len, blobs), np.int64, len(blobs))
  wrong_R = np.flatnonzero(length_R != width * store.lengths_U[users_R].astype(np.int64))
  if len(wrong_R):
    raise ValueError(
      f"{store.folder}: the history of user row {users_R[wrong_R[0]]} is not as long as "
      "lengths.npz says; its files belong to different stores, copy or prepare them again"
    )
