"""Files and folders that appear whole or not at all.

On a local disk that is a draft and a rename. In a bucket a file appears when its upload ends, so
it is written to a local draft first; there are no folders to rename, so `whole_folder` is local.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any

import numpy as np

from sidrec.core.paths import as_path, file_system, is_local, open_bytes

PathLike = str | os.PathLike[str]


def write_whole(path: PathLike, write: Callable[[IO[bytes]], Any]) -> None:
  """Lets `write` fill a draft, which then becomes `path`: no reader sees half a file.

  Makes parent folders.
  """
  path = as_path(path)
  if not is_local(path):
    _upload_whole(path, write)
    return
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
  try:
    with draft.open("xb") as file:
      write(file)
      file.flush()
      os.fsync(file.fileno())
    os.replace(draft, path)
  finally:
    draft.unlink(missing_ok=True)


def _upload_whole(path: PathLike, write: Callable[[IO[bytes]], Any]) -> None:
  with tempfile.NamedTemporaryFile(prefix="sidrec-") as draft:
    write(draft)
    draft.flush()
    file_system(path).put_file(draft.name, os.fspath(path))


def write_whole_text(path: PathLike, text: str) -> None:
  """As `write_whole`, for a text in UTF-8."""
  write_whole(path, lambda file: file.write(text.encode()))


def save_array(path: PathLike, array: Any) -> None:
  """`np.save` by `write_whole`, without pickle."""
  write_whole(path, lambda file: np.save(file, np.asarray(array), allow_pickle=False))


def load_array(path: PathLike, *, in_memory: bool = False) -> np.ndarray:
  """`np.load` of a .npy file, without pickle.

  A local file is mapped read-only, unless it shall be `in_memory`; one in a bucket always is.
  """
  path = as_path(path)
  if is_local(path):
    return np.load(path, mmap_mode=None if in_memory else "r", allow_pickle=False)
  with open_bytes(path) as file:
    return np.load(file, allow_pickle=False)


@contextlib.contextmanager
def open_arrays(path: PathLike) -> Generator[np.lib.npyio.NpzFile]:
  """`np.load` of an .npz file, without pickle; arrays are read when asked for."""
  with open_bytes(path) as file, np.load(file, allow_pickle=False) as arrays:
    yield arrays


@contextlib.contextmanager
def whole_folder(
  path: PathLike, replaces: Callable[[Path], bool] = lambda folder: False
) -> Generator[Path]:
  """A folder to write in; at the end of the block it becomes `path`, or is deleted on an error.

  Args:
    path: the folder; links to it are followed.
    replaces: whether a folder that is there already may go. It stays until the end of the block.

  Raises:
    FileExistsError: if `path` exists, is not an empty folder, and may not go.
    ValueError: if it is in a bucket, where nothing can be renamed.
  """
  path = as_path(path)
  if not is_local(path):
    raise ValueError(f"{path}: this is written to a local folder only; copy it to the bucket then")
  path = Path(os.path.realpath(path))

  def is_in_the_way() -> bool:
    is_empty = path.is_dir() and not any(path.iterdir())
    return path.exists() and not is_empty and not (path.is_dir() and replaces(path))

  if is_in_the_way():
    raise FileExistsError(f"{path} is there already; delete it or name another folder")
  path.parent.mkdir(parents=True, exist_ok=True)
  draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
  old = draft.with_suffix(".old")
  draft.mkdir()
  try:
    yield draft
    if is_in_the_way():  # since the block began
      raise FileExistsError(f"{path} is there now; delete it or name another folder")
    if path.exists():
      os.rename(path, old)
    try:
      os.rename(draft, path)
    except OSError:
      if old.exists():
        os.rename(old, path)
      raise
  finally:
    shutil.rmtree(draft, ignore_errors=True)
    if path.exists():
      shutil.rmtree(old, ignore_errors=True)
