"""Checksums of a checkpoint's files, which tell a damaged checkpoint from a sound one.

They lie in the checkpoint's folder, as `checksums.json`:

  {"crc32": {"state/manifest.ocdbt": 2890852870, …}, "note": {"progress": …}}

where the note repeats what was saved beside the arrays: Orbax keeps it in a file that it
rewrites while it gives the checkpoint its final name, so that file itself has no checksum.
CRC-32 finds every flipped bit, and costs a third of SHA-256; nobody forges checkpoints here.
"""

import json
import zlib
from collections.abc import Iterator
from typing import Any

from etils import epath

CHECKSUMS = "checksums.json"
METADATA = "_CHECKPOINT_METADATA"  # Orbax's file with the note; without it there is no checkpoint


def write_checksums(folder: epath.PathLike, note: Any) -> None:
  """Writes the checksums of what is in a checkpoint's folder; call it before the final rename.

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
  deleted in part) passes if they can be read.

  Raises:
    OSError: if a file is there, but cannot be read.
  """
  folder = epath.Path(folder)
  try:
    recorded = json.loads((folder / CHECKSUMS).read_text())
    sums, note = dict(recorded["crc32"]), recorded["note"]
  except FileNotFoundError:
    for path in _files(folder):
      _crc32(path)
    return None
  except (ValueError, KeyError, TypeError):
    return f"its {CHECKSUMS} is garbled"
  for name, checksum in sums.items():
    try:
      if _crc32(folder / name) != checksum:
        return f"its {name} is not what was saved"
    except FileNotFoundError:
      return f"its {name} is missing"
  try:
    same = _canonical(_read_note(folder)) == _canonical(note)
  except FileNotFoundError:
    return f"its {METADATA} is missing"
  except (ValueError, KeyError, TypeError):
    return f"its {METADATA} is garbled"
  return None if same else f"its {METADATA} is not what was saved"


def _files(folder: epath.Path) -> Iterator[epath.Path]:
  """All files under a folder, in the order of their names."""
  for path in sorted(folder.iterdir()):
    if path.is_dir():
      yield from _files(path)
    else:
      yield path


def _crc32(path: epath.Path) -> int:
  checksum = 0
  with path.open("rb") as file:
    while block := file.read(1 << 17):
      checksum = zlib.crc32(block, checksum)
  return checksum


def _read_note(folder: epath.Path) -> Any:
  return json.loads((folder / METADATA).read_text())["custom_metadata"]


def _canonical(value: Any) -> str:
  return json.dumps(value, sort_keys=True)  # NaN does not equal itself, its text does
