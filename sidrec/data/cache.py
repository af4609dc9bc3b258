"""A parsed `Dataset`, or its `Items`, in one .npz file, without pickle.

A text column is stored as its strings' UTF-8 bytes and lengths.
"""

import itertools
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sidrec.core.atomic import open_arrays, write_whole
from sidrec.data import dataset
from sidrec.data.sources.shown import brief

_FORMAT = 2  # 1 had text of fixed width
_HISTORIES = ("offsets_Up1", "item_T", "time_T", "rating_T", "user_ids_U")
_OPTIONAL = ("action_T", "target_T")  # of histories: where there are any

Column = Callable[[str], np.ndarray]  # name → the column of that name


def save_dataset(path: str | os.PathLike, data: dataset.Dataset) -> None:
  """Writes a data set to `path`, which afterwards holds all of it or, on failure, what it held."""
  header = {"name": data.name, "notes": data.notes, "numeric": list(data.items.numeric)}
  header |= {"users": list(data.users)}
  histories = data.histories
  optional = [name for name in _OPTIONAL if getattr(histories, name) is not None]
  header |= {"optional": optional} if optional else {}
  header |= {"actions": histories.actions} if histories.actions is not None else {}
  columns = {name: getattr(histories, name) for name in (*_HISTORIES, *optional)}
  columns |= _item_columns(data.items) | _user_columns(data.users)
  _save(path, header, columns)


def load_dataset(path: str | os.PathLike) -> dataset.Dataset:
  """Reads what `save_dataset` wrote.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is damaged, of another format, or no data set cache at all.
  """

  def read(header: dict, column: Column) -> dataset.Dataset:
    # Most data sets, and all of earlier versions, have none of these.
    optional: dict[str, Any] = {name: column(name) for name in header.get("optional", [])}
    return dataset.validate(
      dataset.Dataset(
        name=header["name"],
        histories=dataset.Histories(
          *map(column, _HISTORIES),
          **optional,
          actions=tuple(header["actions"]) if "actions" in header else None,
        ),
        items=_items(header, column),
        notes=tuple(header["notes"]),
        users=_users(header, column),
      )
    )

  return _load(path, read)


def save_items(path: str | os.PathLike, items: dataset.Items) -> None:
  """Writes a catalogue to `path`, all of it or nothing."""
  _save(path, {"numeric": list(items.numeric)}, _item_columns(items))


def load_items(path: str | os.PathLike) -> dataset.Items:
  """Reads what `save_items` wrote; raises as `load_dataset` does."""
  return _load(path, _items)


def save_users(path: str | os.PathLike, users: Mapping[str, np.ndarray]) -> None:
  """Writes what is known about users to `path`, all of it or nothing."""
  _save(path, {"users": list(users)}, _user_columns(users))


def load_users(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads what `save_users` wrote; raises as `load_dataset` does."""
  return _load(path, _users)


def _user_columns(users: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  return {f"user_{k}": column for k, column in enumerate(users.values())}


def _users(header: dict, column: Column) -> dict[str, np.ndarray]:
  # Caches of earlier versions say nothing of users.
  return {name: column(f"user_{k}") for k, name in enumerate(header.get("users", []))}


def _item_columns(items: dataset.Items) -> dict[str, np.ndarray]:
  columns = items._asdict()
  numeric = columns.pop("numeric")
  # By number: names may hold anything.
  return columns | {f"numeric_{k}": column for k, column in enumerate(numeric.values())}


def _items(header: dict, column: Column) -> dataset.Items:
  fields = [field for field in dataset.Items._fields if field != "numeric"]
  return dataset.Items(
    **{field: column(field) for field in fields},
    numeric={name: column(f"numeric_{k}") for k, name in enumerate(header["numeric"])},
  )


def _save(path: str | os.PathLike, header: dict, columns: Mapping[str, np.ndarray]) -> None:
  text = [name for name, column in columns.items() if column.dtype == dataset.TEXT]
  header = {"format": _FORMAT, **header, "text": text}
  arrays = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
  for name, column in columns.items():
    arrays |= _pack(name, column) if name in text else {name: column}
  write_whole(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def _load(path: str | os.PathLike, read: Callable[[dict, Column], Any]) -> Any:
  try:
    with open_arrays(path) as arrays:
      header = json.loads(arrays["header"].tobytes())
      version = header["format"]
      if version == _FORMAT:
        text = header["text"]
        return read(header, lambda name: _unpack(name, arrays) if name in text else arrays[name])
  except FileNotFoundError:
    raise
  except Exception as error:  # NumPy and zipfile raise many types for damaged files
    raise ValueError(
      f"{path} is no data set cache, or damaged ({brief(error)}); delete it"
    ) from error
  raise ValueError(
    f"{path} has cache format {version}, but this version reads {_FORMAT}; delete it"
  )


def _pack(name: str, strings: np.ndarray) -> dict[str, np.ndarray]:
  encoded = [string.encode() for string in strings.tolist()]
  return {
    f"{name}_bytes": np.frombuffer(b"".join(encoded), np.uint8),
    f"{name}_lengths": np.array([len(string) for string in encoded], np.int64),
  }


def _unpack(name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
  blob = arrays[f"{name}_bytes"].tobytes()
  ends = np.cumsum(arrays[f"{name}_lengths"]).tolist()
  return np.array([blob[i:j].decode() for i, j in itertools.pairwise([0, *ends])], dataset.TEXT)
