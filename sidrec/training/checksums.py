"""Checksums of a checkpoint's or of parameters' files, to find damage.

They lie in the folder, as `checksums.json`:

  {"files": {"state/manifest.ocdbt": [118, "6ec4…"], …}, "note": {"progress": …}}

The note is Orbax's custom metadata again, because Orbax rewrites its own file when it gives a
checkpoint its final name, so that file has no checksum.
"""

import json
from typing import Any

from etils import epath

from sidrec.core import checksums

CHECKSUMS = "checksums.json"
METADATA = "_CHECKPOINT_METADATA"  # Orbax's file with the note; without it there is no checkpoint


def write_checksums(folder: epath.PathLike, note: Any) -> None:
  """Writes the checksums of a checkpoint's folder; to be called before the final rename.

  Args:
    folder: of the checkpoint.
    note: Orbax's custom metadata, which may not be in the folder yet.
  """
  folder = epath.Path(folder)
  files = {name: sums for name, sums in checksums.of(folder).items() if name != METADATA}
  (folder / CHECKSUMS).write_text(json.dumps({"files": files, "note": note}, indent=0))


def find_damage(folder: epath.PathLike) -> str | None:
  """What is wrong with a checkpoint, naming the file, or None if it is as it was saved.

  Reads all of its files. One without checksums (deleted in part) passes if its files can be read.

  Raises:
    OSError: if a file is there, but cannot be read.
  """
  folder = epath.Path(folder)
  name = CHECKSUMS
  try:
    if not (folder / CHECKSUMS).exists():
      checksums.of(folder)
      return None
    recorded = json.loads((folder / CHECKSUMS).read_text())
    note = _canonical(recorded["note"])
    if damage := checksums.find_damage(folder, recorded["files"]):
      return damage
    name = METADATA
    stored = json.loads((folder / METADATA).read_text())["custom_metadata"]
    return None if _canonical(stored) == note else f"its {name} is not what was saved"
  except FileNotFoundError:
    return f"its {name} is missing"
  except (ValueError, KeyError, TypeError):
    return f"its {name} is garbled"


def seal_params(folder: epath.PathLike) -> None:
  """Writes the checksums of saved parameters: of all files, as nothing changes them any more."""
  folder = epath.Path(folder)
  text = json.dumps({"files": checksums.of(folder)}, indent=0)
  (folder / CHECKSUMS).write_text(text)


def find_damage_of_params(folder: epath.PathLike) -> str | None:
  """What is wrong with saved parameters, naming the file, or None; reads all of their files.

  Raises:
    FileNotFoundError: if there are no checksums: nothing was saved to the end there.
    OSError: if a file is there, but cannot be read.
  """
  sums = epath.Path(folder) / CHECKSUMS
  try:
    return checksums.find_damage(folder, json.loads(sums.read_text())["files"])
  except (ValueError, KeyError, TypeError):
    return f"{sums} is garbled"


def _canonical(value: Any) -> str:
  return json.dumps(value, sort_keys=True)  # NaN does not equal itself, but its text does
