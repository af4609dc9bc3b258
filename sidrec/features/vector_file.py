"""Item vectors that another program made, of text, images, audio or anything else."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl
from etils import epath

from sidrec.core.atomic import load_array
from sidrec.core.copies import kept, local
from sidrec.core.paths import as_path
from sidrec.data.arrays import load_npz
from sidrec.data.dataset import TEXT, Items
from sidrec.data.sources.file_lines import named_faults
from sidrec.data.sources.quoted_lines import TextForm
from sidrec.data.sources.scan import open_scans
from sidrec.data.sources.shown import brief, listed, shown
from sidrec.features.settings import VectorFileConfig

MISSING = ("mean", "zero", "error")

# Ids that a message names.
_NAMED_IDS = 5


class VectorTable(NamedTuple):
  """What a file holds: vectors, and whose they are."""

  ids_R: np.ndarray | None  # None where row r belongs to row r of the catalogue
  vectors_RxF: np.ndarray  # as stored; any number type


@kept()
def file_vectors(items: Items, config: VectorFileConfig) -> tuple[np.ndarray, str]:
  """Vectors from the file `config.path`, in the order of the catalogue.

  By the file's ending:
    * .npz: the arrays `config.id` [R] and `config.vector` [R, F];
    * .npy: a structured array with these two fields, or a plain array [N, F] whose rows are those
      of the catalogue;
    * .parquet: the column `config.id`, and either the list column `config.vector` or, where there
      is no column of that name, all other columns, which must be numbers.

  Ids are the catalogue's original ones. Where one side has integers and the other text, text
  of digits is read as a number: '12' and '0012' are 12.

  Args:
    items: the catalogue.
    config: the file, its names, and what an item gets that the file lacks: the mean of the vectors
      found ('mean'), zeros ('zero'), or an error that names the first such items ('error').

  Returns:
    vectors_NxF float32, and one sentence that says how many items were found.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: for another ending or content, ids that repeat, a vector that is not finite, a
      file without any item of the catalogue, or a missing item with 'error'.
  """
  path = as_path(config.path)
  if config.missing not in MISSING:
    raise ValueError(
      f"the rule for missing items must be one of {list(MISSING)}, not {config.missing!r}"
    )
  read = _READERS.get(path.suffix.lower())
  if read is None:
    raise ValueError(f"{path}: item vectors are read from {', '.join(_READERS)} files")
  if not path.is_file():
    raise FileNotFoundError(f"there is no file of item vectors at {path}")
  table = read(path, config.id, config.vector)
  _check_table(path, table, items)
  row_N = np.arange(items.num_items)
  if table.ids_R is not None:
    row_N = _rows(path, table.ids_R, items.ids_N)
  found_N = row_N >= 0
  note = _note(config, items, found_N, table)
  with np.errstate(over="ignore"):
    found_RxF = table.vectors_RxF[row_N[found_N]].astype(np.float32)
  finite_R = np.isfinite(found_RxF).all(axis=1)
  if not finite_R.all():
    item = items.ids_N[found_N].item(int(finite_R.argmin()))
    raise ValueError(
      f"{path}: the vector of item {shown(item, 80)} holds NaN or infinity; mend it or "
      "leave its row out"
    )
  fill = found_RxF.mean(axis=0, dtype=np.float64) if config.missing == "mean" else 0.0
  vectors_NxF = np.full((items.num_items, found_RxF.shape[1]), fill, np.float32)
  vectors_NxF[found_N] = found_RxF
  return vectors_NxF, note


def _note(config: VectorFileConfig, items: Items, found_N: np.ndarray, table: VectorTable) -> str:
  """How many items were found; raises ValueError where `config` allows none to be missing."""
  name = as_path(config.path).name
  note = f"{name}: {found_N.sum():,} of {items.num_items:,} items have a vector "
  note += f"of width {table.vectors_RxF.shape[1]}"
  if not found_N.all():
    lacking = f"{(~found_N).sum():,} have none, the first ones being {_some(items.ids_N[~found_N])}"
    if config.missing == "error":
      raise ValueError(f"{note}, but {lacking}; add them, or choose 'mean' or 'zero' for missing")
    note += f"; {lacking}, and get {'the mean' if config.missing == 'mean' else 'zeros'}"
  ignored = len(table.vectors_RxF) - found_N.sum()
  return note + (f"; rows of other items, ignored: {ignored:,}" if ignored else "")


def _read_npz(path: epath.Path, id_name: str, vector_name: str) -> VectorTable:
  names, arrays = load_npz(path, (id_name, vector_name))
  _require(path, "array", names, id_name, vector_name)
  return VectorTable(arrays[id_name], arrays[vector_name])


def _read_npy(path: epath.Path, id_name: str, vector_name: str) -> VectorTable:
  try:
    array = load_array(path)
  except Exception as error:  # NumPy raises many types for damaged headers
    raise ValueError(f"{path} is no readable .npy file of plain numbers: {brief(error)}") from error
  if array.dtype.names is None:
    return VectorTable(None, array)
  _require(path, "field", list(array.dtype.names), id_name, vector_name)
  return VectorTable(array[id_name], array[vector_name])


def _read_parquet(path: epath.Path, id_name: str, vector_name: str) -> VectorTable:
  (scan,) = open_scans(str(path), TextForm())
  names = list(scan.names)
  _require(path, "column", names, id_name)
  wanted = [vector_name] if vector_name in names else [x for x in names if x != id_name]
  with named_faults(path):
    # Another column may hold what is of no use here, and take much memory.
    vectors = pl.scan_parquet(local(path), glob=False).select(wanted).collect()
    frame = scan.frame([id_name]).select(id_name).collect().hstack(vectors)
  ids = frame[id_name]
  if ids.null_count():
    raise ValueError(f"{path}: {ids.null_count():,} rows have no {id_name}; leave those rows out")
  text = TEXT if ids.dtype == pl.String else None
  ids_R = ids.to_numpy() if ids.dtype.is_numeric() else np.array(ids.to_list(), text)
  if wanted == [vector_name]:
    return VectorTable(ids_R, _from_lists(path, frame[vector_name], ids))
  odd = [f"{x} is {frame.schema[x]}" for x in wanted if not frame.schema[x].is_numeric()]
  if odd or not wanted:
    raise ValueError(
      f"{path} has neither a column {vector_name!r} nor only number columns besides {id_name!r}: "
      f"{', '.join(odd) or 'it has no other'}"
    )
  # An empty cell becomes NaN, which is refused later by the name of its item.
  return VectorTable(ids_R, frame.select(wanted).to_numpy())


def _from_lists(path: epath.Path, column: pl.Series, ids: pl.Series) -> np.ndarray:
  """The rows of a list column, which must be equally long: [R, F]."""
  kind = column.dtype
  if not isinstance(kind, pl.List | pl.Array) or not kind.inner.is_numeric():  # pyrefly: ignore
    raise ValueError(f"{path}: the vector column is {kind}; it must hold lists of numbers")
  lists = column.arr.to_list() if isinstance(kind, pl.Array) else column
  length_R = lists.list.len().fill_null(0).to_numpy()
  usual = int(np.bincount(length_R, minlength=1).argmax())
  odd_R = length_R != usual
  if odd_R.any():
    row = int(odd_R.argmax())
    raise ValueError(
      f"{path}: the vector of item {shown(ids[row], 80)} has {length_R[row]} numbers, but most "
      f"have {usual}"
    )
  return lists.explode().to_numpy()[: len(lists) * usual].reshape(len(lists), usual)


def _require(path: epath.Path, kind: str, names: list[str], *wanted: str) -> None:
  for name in wanted:
    if name not in names:
      raise ValueError(f"{path} has no {kind} {name!r}; it has {listed(names)}")


_READERS: dict[str, Callable[[epath.Path, str, str], VectorTable]] = {
  ".npz": _read_npz,
  ".npy": _read_npy,
  ".parquet": _read_parquet,
}


def _check_table(path: epath.Path, table: VectorTable, items: Items) -> None:
  ids_R, vectors_RxF = table
  if vectors_RxF.ndim != 2 or vectors_RxF.shape[1] == 0:
    raise ValueError(f"{path}: the vectors have shape {vectors_RxF.shape}; give [items, width]")
  if vectors_RxF.dtype.kind not in "fiub":
    raise ValueError(f"{path}: the vectors are {vectors_RxF.dtype}; give real numbers")
  if ids_R is None:
    if len(vectors_RxF) != items.num_items:
      raise ValueError(
        f"{path} has no ids and {len(vectors_RxF):,} rows, but the catalogue has "
        f"{items.num_items:,} items; give one row per item in its order, or a file with ids"
      )
    return
  if ids_R.shape != (len(vectors_RxF),):
    raise ValueError(
      f"{path}: the ids have shape {ids_R.shape} and the vectors {vectors_RxF.shape}; give one id "
      "per vector"
    )
  whole = ids_R.dtype.kind == "f" and bool((ids_R == np.floor(ids_R)).all())
  if ids_R.dtype.kind not in "iuUST" and not whole:
    raise ValueError(f"{path}: the ids are {ids_R.dtype}; give integers or text")


def _rows(path: epath.Path, ids_R: np.ndarray, ids_N: np.ndarray) -> np.ndarray:
  """The file's row of each item of the catalogue, -1 where it has none: int64 [N]."""
  as_numbers = (ids_R.dtype.kind in "UST") != (ids_N.dtype.kind in "UST")
  row_of: dict[str, int] = {}
  for row, key in enumerate(_keys(ids_R, as_numbers)):
    if row_of.setdefault(key, row) != row:
      raise ValueError(
        f"{path} has two vectors of item {shown(ids_R.item(row), 80)}, in rows {row_of[key]} and "
        f"{row}; keep one"
      )
  keys = _keys(ids_N, as_numbers)
  if len(set(keys)) < len(keys):
    raise ValueError(
      f"{path} has integer ids, but some ids of the catalogue differ in leading zeros alone; "
      "give its ids as text"
    )
  row_N = np.array([row_of.get(key, -1) for key in keys], np.int64)
  if (row_N < 0).all():
    raise ValueError(
      f"{path} has no vector of any item: its ids are {_some(ids_R) or 'none'}, those of the "
      f"catalogue {_some(ids_N)}"
    )
  return row_N


def _keys(ids: np.ndarray, as_numbers: bool) -> list[str]:
  """Ids as text; with `as_numbers`, text of digits without its leading zeros."""
  if ids.dtype.kind == "S":
    ids = np.strings.decode(ids, "utf-8")
  if ids.dtype.kind == "f":
    ids = ids.astype(np.int64)
  keys = [str(x) for x in ids.tolist()]
  if as_numbers:
    keys = [(x.lstrip("0") or "0") if x.isdecimal() else x for x in keys]
  return keys


def _some(ids: np.ndarray) -> str:
  return ", ".join(shown(x, 80) for x in ids[:_NAMED_IDS].tolist()) + (
    ", …" if len(ids) > _NAMED_IDS else ""
  )
