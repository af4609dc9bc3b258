"""Paths as users give them: local ones, `~` for the home folder, and buckets (gs://, s3://)."""

import importlib.util
import os
import re
from typing import IO, cast

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


def file_system(path: str | os.PathLike[str]) -> fsspec.AbstractFileSystem:
  """The fsspec file system of a path in a bucket: the same object that `epath.Path` uses."""
  return backend.fsspec_backend.fs(os.fspath(path))
