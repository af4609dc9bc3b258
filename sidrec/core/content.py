"""Files by their content: touched, moved or copied they are still the same."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sidrec.core.atomic import PathLike
from sidrec.core.checksums import digest
from sidrec.core.paths import absolute, is_local, stamp_of

# [absolute path, bytes, time of the last change in ns, or in a bucket the entity tag]
Stamp = list[str | int]
Contents = dict[str, list[Any]]  # name → [bytes, the same time or tag, SHA-256]


def stamps(files: Iterable[PathLike]) -> list[Stamp]:
  """Where files are, their sizes and times: JSON-able, and made without reading them.

  Raises:
    FileNotFoundError: if one is not there.
  """
  return [_stamp(file) for file in files]


def _stamp(file: PathLike) -> Stamp:
  path = absolute(file)
  try:
    return [str(path), *stamp_of(path)]
  except FileNotFoundError:
    raise FileNotFoundError(f"there is no file {file}, which the config names") from None


def contents(files: Iterable[Stamp], known: Mapping[str, list[Any]]) -> Contents:
  """What files hold.

  Args:
    files: as `stamps` gives them.
    known: earlier contents of files of these names; a file of the same size and time (or tag) is
      not read.

  Returns:
    By name, which is the path below the folder that they share.
  """
  files = list(files)
  rooted = [_rooted(str(path)) for path, *_ in files]
  root = os.path.commonpath(list(map(os.path.dirname, rooted))) if files else ""
  found: Contents = {}
  for (path, *size_and_time), place in zip(files, rooted, strict=True):
    name = Path(os.path.relpath(place, root)).as_posix()
    seen = known.get(name)
    same = seen is not None and seen[:2] == size_and_time
    found[name] = seen if seen is not None and same else [*size_and_time, digest(str(path))]
  return found


def _rooted(path: str) -> str:
  """gs://bucket/log as /gs/bucket/log, so that local files and others share a root."""
  return path if is_local(path) else f"/{path.replace('://', '/', 1)}"


def same_contents(one: Mapping[str, list[Any]], other: Mapping[str, list[Any]]) -> bool:
  """Whether the same names hold the same bytes, whatever their times."""
  return {name: kept[2] for name, kept in one.items()} == {
    name: kept[2] for name, kept in other.items()
  }
