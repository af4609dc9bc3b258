"""Checksums of a checkpoint's files, to find damage.

They lie in the checkpoint's folder, as `checksums.json`:

  {"crc32": {"state/manifest.ocdbt": 2890852870, …}, "note": {"progress": …}}

The note is Orbax's custom metadata again, because Orbax rewrites its own file when it gives the
checkpoint its final name, so that file has no checksum. CRC-32 finds every flipped bit, and takes
a third of the time of SHA-256; nobody forges checkpoints here.
"""

import json
import zlib
from typing import Any

from etils import epath

CHECKSUMS = "checksums.json"
METADATA = "_CHECKPOINT_METADATA"  # Orbax's file with the note; without it there is no checkpoint


def write_checksums(folder: epath.PathLike, note: Any) -> None:
  """Writes the checksums of a checkpoint's folder; to be called before the final rename.

  Args:
    folder: of the checkpoint.
    note: Orbax's custom metadata, which may not be in the folder yet.
  """
  folder = epath.Path(folder)
  files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
  sums = {name: _crc32(path) for name, path in files.items() if name != METADATA}
  (folder / CHECKSUMS).write_text(json.dumps({"crc32": sums, "note": note}, indent=0))


def find_damage(folder: epath.PathLike) -> str | None:
  """What is wrong with a checkpoint, naming the file, or None if it is as it was saved.

  Reads all of its files. One without checksums (from an older version of this code, or
  deleted in part) passes if its files can be read.

  Raises:
    OSError: if a file is there, but cannot be read.
  """
  folder = epath.Path(folder)
  name = CHECKSUMS
  try:
    if not (folder / CHECKSUMS).exists():
      for path in _files(folder):
        _crc32(path)
      return None
    recorded = json.loads((folder / CHECKSUMS).read_text())
    note = _canonical(recorded["note"])
    for name, checksum in dict(recorded["crc32"]).items():
      if _crc32(folder / name) != checksum:
        return f"its {name} is not what was saved"
    name = METADATA
    stored = json.loads((folder / METADATA).read_text())["custom_metadata"]
    return None if _canonical(stored) == note else f"its {name} is not what was saved"
  except FileNotFoundError:
    return f"its {name} is missing"
  except (ValueError, KeyError, TypeError):
    return f"its {name} is garbled"


def _files(folder: epath.Path) -> list[epath.Path]:
  return sorted(parent / name for parent, _, names in folder.walk() for name in names)


def _crc32(path: epath.Path) -> int:
  checksum = 0
  with path.open("rb") as file:
    while block := file.read(1 << 17):
      checksum = zlib.crc32(block, checksum)
  return checksum


def _canonical(value: Any) -> str:
  return json.dumps(value, sort_keys=True)  # NaN does not equal itself, but its text does
