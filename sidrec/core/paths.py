"""Paths as users give them: local ones, `~` for the home folder, and buckets (gs://, s3://)."""

import contextlib
import importlib.util
import os
import pathlib
import re
from typing import IO, Any, cast

import fsspec
from etils import epath
from etils.epath import backend

# Buckets go through fsspec even where TensorFlow is installed, which etils would prefer.
os.environ.setdefault("EPATH_USE_TF", "false")

_PACKAGES = {"gs": ("gcs", "gcsfs"), "s3": ("s3", "s3fs")}  # scheme → our extra, its package


def as_path(path: str | os.PathLike[str]) -> epath.Path:
  """What a user gave as a path, with `~` replaced by the home folder.

  Args:
    path: a local path, or one in a bucket: gs://bucket/run, s3://bucket/run.

  Returns:
    An `epath.Path`, which works for both. A relative path stays relative; see `absolute`.

  Raises:
    ValueError: for another scheme, for gs:/bucket with one slash, for an unknown ~user.
    ModuleNotFoundError: if the package for such a bucket is not installed.
  """
  text = os.fspath(path)
  if not text or "\0" in text:
    raise ValueError(f"{text!r} is no path; name a file or folder")
  scheme, separator, rest = text.partition("://")
  if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
    return _with_scheme(text, scheme, rest)
  scheme, separator, rest = text.partition(":")
  if separator and (scheme in _PACKAGES or scheme == "file"):
    right = f"{scheme}://{rest.lstrip('/') or 'bucket/folder'}"
    raise ValueError(f"{text}: two slashes follow the colon, as in {right}")
  if re.match(r"[A-Za-z]:\\", text):
    raise ValueError(f"{text} is a path of Windows; here paths look like /folder/file")
  expanded = os.path.expanduser(text)
  if expanded.startswith("~") and not os.path.lexists(expanded.partition("/")[0]):
    raise ValueError(f"{text}: there is no such user; ~/ is your own home folder")
  return epath.Path(expanded)


def _with_scheme(text: str, scheme: str, rest: str) -> epath.Path:
  if scheme == "file" and rest.startswith("/"):
    return epath.Path(rest)
  if scheme not in _PACKAGES:
    raise ValueError(f"{text}: unknown scheme; paths are local, or begin with gs:// or s3://")
  if not rest.strip("/"):
    raise ValueError(f"{text} names no bucket; write {scheme}://bucket/folder")
  extra, package = _PACKAGES[scheme]
  if importlib.util.find_spec(package) is None:
    raise ModuleNotFoundError(
      f"{text} needs the package {package}: pip install sidrec[{extra}]", name=package
    )
  _forget_listings()
  return epath.Path(f"{scheme}://{rest.lstrip('/')}")


def _forget_listings() -> None:
  """Makes fsspec ask the bucket each time, because other processes write there too."""
  for scheme in ("gs", "gcs", "s3"):
    fsspec.config.conf.setdefault(scheme, {}).setdefault("use_listings_cache", False)


def is_local(path: str | os.PathLike[str]) -> bool:
  """Whether the path is on this machine's file system rather than in a bucket."""
  return "://" not in os.fspath(path)


def absolute(path: str | os.PathLike[str]) -> epath.Path:
  """The path from the root, without `..` and links. (`epath.Path.resolve` breaks gs://.)"""
  path = as_path(path)
  return epath.Path(os.path.realpath(path)) if is_local(path) else path


def open_bytes(path: str | os.PathLike[str]) -> IO[bytes]:
  """Opens a file for reading, local or in a bucket; seekable. Raises as `open` does."""
  return cast(IO[bytes], as_path(path).open("rb"))


def files_under(path: str | os.PathLike[str]) -> list[epath.Path]:
  """All files in a folder and below, sorted; of a file, itself; of nothing, none."""
  path = as_path(path)
  if is_local(path):
    if path.is_file():
      return [path]
    return sorted(epath.Path(top, name) for top, _, names in os.walk(path) for name in names)
  # `epath.Path.walk` loses the scheme.
  scheme = os.fspath(path).partition("://")[0]
  return [epath.Path(f"{scheme}://{name}") for name in sorted(file_system(path).find(str(path)))]


def is_file(path: epath.Path) -> bool:
  """Whether it is a file; a pipe is none."""
  return os.path.isfile(path) if is_local(path) else path.is_file()


def files_in(folder: str | os.PathLike[str]) -> list[epath.Path]:
  """The files in a folder, but not below, sorted."""
  folder = as_path(folder)
  if is_local(folder):
    return sorted(file for file in folder.iterdir() if is_file(file))
  found = file_system(folder).ls(os.fspath(folder), detail=True)
  return sorted(folder / os.path.basename(e["name"]) for e in found if _is_object(e))


def matching(pattern: str) -> list[epath.Path]:
  """The files whose paths match a pattern with `*`, `?` and `[…]`, sorted.

  Raises:
    ValueError: if it is no pattern.
  """
  place = as_path(pattern)
  if is_local(place):
    anchor = pathlib.Path(place.anchor)
    try:
      found = anchor.glob(str(pathlib.Path(place).relative_to(anchor)))
      return sorted(epath.Path(file) for file in found if file.is_file())
    except NotImplementedError as error:
      raise ValueError(str(error)) from error
  scheme = os.fspath(place).partition("://")[0]
  entries = file_system(place).glob(os.fspath(place), detail=True).values()
  return sorted(epath.Path(f"{scheme}://{e['name']}") for e in entries if _is_object(e))


def _is_object(entry: dict[str, Any]) -> bool:
  """Whether an entry of a listing is a file, and not a folder or what stands for an empty one."""
  return entry["type"] == "file" and not entry["name"].endswith("/")


def stamp_of(path: str | os.PathLike[str]) -> tuple[int, int | str]:
  """The size of a file in bytes, and what changes with it: for a local one the time in ns.

  For one in a bucket that is the entity tag, because S3's times are whole seconds.

  Raises:
    FileNotFoundError: if there is no such file.
  """
  path = as_path(path)
  with contextlib.suppress(FileNotFoundError, NotADirectoryError):
    if is_local(path):
      stat = os.stat(path)
      if not path.is_dir():
        return stat.st_size, stat.st_mtime_ns
    else:
      entry: dict[str, Any] = file_system(path).info(os.fspath(path))
      if _is_object(entry):
        return entry["size"], entry.get("etag") or entry["ETag"]
  raise FileNotFoundError(f"there is no file {path}")


def file_system(path: str | os.PathLike[str]) -> fsspec.AbstractFileSystem:
  """The fsspec file system of a path in a bucket: the same object that `epath.Path` uses."""
  return backend.fsspec_backend.fs(os.fspath(path))
