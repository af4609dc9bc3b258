"""Files that grow while a run goes on, such as its log."""

import os
import shutil
import tempfile
import time
from typing import IO, Any, cast

from sidrec.core.paths import as_path, file_system, is_local, open_bytes

SECONDS_BETWEEN_UPLOADS = 30.0


class GrowingFile:
  """A file to append to; makes parent folders.

  Files in a bucket cannot grow. There, `flush` uploads the whole file anew, at most twice a
  minute, and `close` does so at the end.
  """

  def __init__(self, path: str | os.PathLike[str]):
    """Opens the file, or makes it."""
    self._path = as_path(path)
    self._next_upload = 0.0
    if is_local(self._path):
      os.makedirs(self._path.parent, exist_ok=True)
      self._file = cast(IO[bytes], open(self._path, "ab"))  # noqa: SIM115 - closed by close()
      return
    self._file = cast(IO[bytes], tempfile.NamedTemporaryFile(prefix="sidrec-"))  # noqa: SIM115
    if self._path.exists():
      with open_bytes(self._path) as before:
        shutil.copyfileobj(before, self._file)

  def write(self, data: bytes) -> None:
    """Appends."""
    self._file.write(data)

  def flush(self) -> None:
    """Lets other processes see what was appended; in a bucket, after a while."""
    self._file.flush()
    if not is_local(self._path) and time.monotonic() >= self._next_upload:
      self._upload()
      self._next_upload = time.monotonic() + SECONDS_BETWEEN_UPLOADS

  def close(self) -> None:
    """Writes what is left."""
    try:
      self._file.flush()
      if not is_local(self._path):
        self._upload()
    finally:
      self._file.close()

  def _upload(self) -> None:
    draft: Any = self._file
    file_system(self._path).put_file(draft.name, os.fspath(self._path))
