"""Checksums of files and folders, to find damage: every flipped bit, every missing file."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sidrec.core.paths import as_path, files_under, open_bytes

PathLike = str | os.PathLike[str]
Checksums = dict[str, list[Any]]  # what JSON can hold


def of(path: PathLike) -> Checksums:
  """Size and digest of a file, or of every file in a folder and below.

  Returns:
    {file relative to `path`: [size in bytes, SHA-256 in hexadecimal digits]}, sorted by name;
    if `path` is a file, its name is '.'.

  Raises:
    FileNotFoundError: if there is no such path.
    OSError: if a file cannot be read.
  """
  path = as_path(path)
  names = {file.relative_to(path).as_posix(): file for file in files_under(path)}
  if not names and not path.is_dir():
    raise FileNotFoundError(f"{path} is not there")
  return {name: [file.stat().length, digest(file)] for name, file in sorted(names.items())}


def digest(path: PathLike) -> str:
  """The SHA-256 of a file's bytes in hexadecimal digits. Raises as `open` does."""
  with open_bytes(path) as file:
    return hashlib.file_digest(file, "sha256").hexdigest()  # pyrefly: ignore[bad-argument-type]


def find_damage(path: PathLike, recorded: Mapping[str, Sequence[Any]]) -> str | None:
  """Which recorded file is not as it was, such as 'PATH/params.bin is missing', or None.

  It reads all of the recorded files. Files that were not recorded do not matter.

  Raises:
    OSError: if a file is there, but cannot be read.
    ValueError: if `recorded` is not what `of` returns.
  """
  for name, size, sha256 in _entries(path, recorded):
    file = as_path(path) / name
    try:
      length = file.stat().length
      if length != size:
        return f"{file} has {length:,} bytes and not {size:,}, as it had when it was saved"
      if digest(file) != sha256:
        return f"{file} is damaged: it does not hold what was saved"
    except (FileNotFoundError, NotADirectoryError):
      return f"{file} is missing"
    except IsADirectoryError:
      return f"{file} is a folder"
  return None


def verify(path: PathLike, recorded: Mapping[str, Sequence[Any]], remedy: str) -> None:
  """Raises ValueError if a recorded file is not as it was; see `find_damage`.

  Args:
    path: a file or folder.
    recorded: what `of(path)` returned when it was written.
    remedy: what the user can do, for the end of the sentence: 'run --mode=train again'.
  """
  damage = find_damage(path, recorded)
  if damage is not None:
    raise ValueError(f"{damage}; {remedy}")


def _entries(path: PathLike, recorded: Any) -> list[tuple[str, int, str]]:
  try:
    return [(name, int(size), str(sha256)) for name, (size, sha256) in recorded.items()]
  except (AttributeError, TypeError, ValueError):
    raise ValueError(f"the checksums of {path} are garbled") from None
