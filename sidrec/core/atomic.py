"""Files and folders that appear whole or not at all."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
  """Writes a draft and renames it to `path`: no reader sees half a file. Makes parent folders."""
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


def write_whole_text(path: Path, text: str) -> None:
  """As `write_whole`, for a text in UTF-8."""
  write_whole(path, lambda file: file.write(text.encode()))


@contextlib.contextmanager
def whole_folder(path: Path) -> Generator[Path]:
  """A folder to write in; at the end of the block it becomes `path`, or is deleted on an error.

  Raises:
    FileExistsError: if `path` exists and is not an empty folder.
  """
  if path.exists() and not (path.is_dir() and not any(path.iterdir())):
    raise FileExistsError(f"{path} is there already; delete it or name another folder")
  path.parent.mkdir(parents=True, exist_ok=True)
  draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
  draft.mkdir()
  try:
    yield draft
    os.rename(draft, path)
  finally:
    shutil.rmtree(draft, ignore_errors=True)
