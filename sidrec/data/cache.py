"""A parsed `Dataset` in one .npz file, without pickle, so that later stages need not parse.

A text column is stored as its strings' UTF-8 bytes and lengths: an array of fixed width
would make every string as wide as the longest.
"""

import itertools
import json
import os
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sidrec.data import dataset

_FORMAT = 1


def save_dataset(path: str | os.PathLike, data: dataset.Dataset) -> None:
  """Writes a data set to `path`, which afterwards holds all of it or, on failure, what it held."""
  path = Path(path)
  columns = data.histories._asdict() | data.items._asdict()
  numeric = columns.pop("numeric")
  # By number: names may hold anything.
  columns |= {f"numeric_{k}": column for k, column in enumerate(numeric.values())}
  widths = {name: c.dtype.itemsize // 4 for name, c in columns.items() if c.dtype.kind == "U"}
  header = {
    "format": _FORMAT,
    "name": data.name,
    "notes": data.notes,
    "numeric": list(numeric),
    "widths": widths,
  }
  arrays = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
  for name, column in columns.items():
    arrays |= _pack(name, column) if name in widths else {name: column}
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.npz")
  try:
    np.savez(partial, allow_pickle=False, **arrays)
    os.replace(partial, path)
  finally:
    partial.unlink(missing_ok=True)


def load_dataset(path: str | os.PathLike) -> dataset.Dataset:
  """Reads what `save_dataset` wrote.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is damaged, of another format, or no data set cache at all.
  """
  try:
    with np.load(path, allow_pickle=False) as arrays:
      header = json.loads(arrays["header"].tobytes())
      version = header["format"]
      if version == _FORMAT:
        return dataset.validate(_dataset(header, arrays))
  except FileNotFoundError:
    raise
  except (OSError, EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile) as error:
    raise ValueError(f"{path} is no data set cache, or damaged ({error}); delete it") from error
  raise ValueError(
    f"{path} has cache format {version}, but this version reads {_FORMAT}; delete it"
  )


def _dataset(header: dict, arrays: Mapping[str, np.ndarray]) -> dataset.Dataset:
  def column(name: str) -> np.ndarray:
    width = header["widths"].get(name)
    return arrays[name] if width is None else _unpack(name, arrays, width)

  item_fields = [field for field in dataset.Items._fields if field != "numeric"]
  return dataset.Dataset(
    name=header["name"],
    histories=dataset.Histories(*map(column, dataset.Histories._fields)),
    items=dataset.Items(
      **{field: column(field) for field in item_fields},
      numeric={name: column(f"numeric_{k}") for k, name in enumerate(header["numeric"])},
    ),
    notes=tuple(header["notes"]),
  )


def _pack(name: str, strings: np.ndarray) -> dict[str, np.ndarray]:
  encoded = [string.encode() for string in strings.tolist()]
  return {
    f"{name}_bytes": np.frombuffer(b"".join(encoded), np.uint8),
    f"{name}_lengths": np.array([len(string) for string in encoded], np.int64),
  }


def _unpack(name: str, arrays: Mapping[str, np.ndarray], width: int) -> np.ndarray:
  blob = arrays[f"{name}_bytes"].tobytes()
  ends = np.cumsum(arrays[f"{name}_lengths"]).tolist()
  return np.array([blob[i:j].decode() for i, j in itertools.pairwise([0, *ends])], f"<U{width}")
