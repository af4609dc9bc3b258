"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
  """Writes beside `path`, then renames: readers never see half a file. Makes parent folders."""
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
  """The same for a text, in UTF-8."""
  write_whole(path, lambda file: file.write(text.encode()))
