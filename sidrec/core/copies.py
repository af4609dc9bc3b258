"""Local copies of files in buckets, for readers that need a real file."""

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path

from sidrec.core.paths import as_path, file_system, is_local, stamp_of


class _Copies:
  """The copies of this process, in a folder that goes with it."""

  def __init__(self) -> None:
    self._lock = threading.RLock()
    self._blocks = 0  # that are open
    self._files: dict[tuple, Path] = {}  # stamp → copy
    self._folder: tempfile.TemporaryDirectory | None = None

  def of(self, path: str) -> Path:
    with self._lock:
      stamp = path, *stamp_of(path)
      if stamp not in self._files:
        self._files[stamp] = self._download(path, stamp[1])
      return self._files[stamp]

  @contextlib.contextmanager
  def block(self) -> Generator[None]:
    with self._lock:
      self._blocks += 1
    try:
      yield
    finally:
      with self._lock:
        self._blocks -= 1
        if not self._blocks and self._folder is not None:
          self._files.clear()
          self._folder.cleanup()
          self._folder = None

  def _download(self, path: str, size: int) -> Path:
    self._folder = self._folder or tempfile.TemporaryDirectory(prefix="sidrec-")
    folder = Path(self._folder.name)
    if size > (free := shutil.disk_usage(folder).free):
      raise OSError(
        f"{path} has {size:,} bytes, but {folder.parent}, where it is copied to be read, has "
        f"{free:,} left; set TMPDIR to a folder with more room"
      )
    copy = folder / f"{len(self._files)}-{os.path.basename(path)}"
    file_system(path).get_file(path, os.fspath(copy))
    if (found := copy.stat().st_size) != size:
      copy.unlink()
      raise OSError(f"{path} had {size:,} bytes and then {found:,}; start again when it is whole")
    return copy


_COPIES = _Copies()


def local(path: str | os.PathLike[str]) -> Path:
  """The file itself if it is local; for one in a bucket, a copy of what it holds now.

  The copy stays until the outermost block of `kept` ends, or else the process. Messages should
  name `path`, which the user knows.

  Raises:
    FileNotFoundError: if there is no such object.
    OSError: if the disk has no room for it.
  """
  if is_local(path):
    return Path(path)
  return _COPIES.of(os.fspath(as_path(path)))


@contextlib.contextmanager
def kept() -> Generator[None]:
  """A block, or a decorator of a function, in which copies are made once, and deleted at its end.

  Frames that read them must be collected before.
  """
  with _COPIES.block():
    yield
