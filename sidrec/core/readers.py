"""Readers of JSON and `.npz` that may be damaged: whatever is wrong, one ValueError says so.

Python's own readers raise a dozen types of errors, and believe sizes that a damaged header names.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# The most that DEFLATE can compress.
MAX_RATIO = 1032


def parse_json(raw: bytes | str, pairs_hook: Callable[[list], Any] | None = None) -> Any:
  """The value of a JSON text in UTF-8.

  Args:
    raw: the text.
    pairs_hook: as `object_pairs_hook` of `json.loads`; its ValueErrors pass.

  Raises:
    ValueError: if it is not JSON, is nested too deeply, or holds a number of too many digits.
  """
  try:
    return json.loads(raw, object_pairs_hook=pairs_hook)
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f"not JSON ({error})") from None
  except RecursionError:
    raise ValueError(
      "not JSON that can be read (its lists or objects are nested too deeply)"
    ) from None


def read_npz(path: Path) -> dict[str, np.ndarray]:
  """All arrays of a file, by name; memory stays near the size of the file's content.

  Raises:
    ValueError: if the file is damaged, or holds Python objects.
    OSError: if it cannot be read.
  """
  raw = path.read_bytes()
  try:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
      entries = archive.infolist()
      arrays = {
        entry.filename.removesuffix(".npy"): _read_array(archive, entry, len(raw))
        for entry in entries
      }
  except MemoryError:
    raise
  except Exception:  # the readers of zip files and of arrays raise nearly every type
    raise ValueError("not a readable .npz file") from None
  if len(arrays) != len(entries):
    raise ValueError("not a readable .npz file: a name stands twice in it")
  return arrays


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int) -> np.ndarray:
  """One array, if its header says no more than there is."""
  if entry.file_size > MAX_RATIO * size:
    raise ValueError("the entry claims to be larger than it can be")
  content = archive.read(entry)  # checks its CRC-32
  file = io.BytesIO(content)
  read_header = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }[np.lib.format.read_magic(file)]
  shape, _, dtype = read_header(file)
  count = 1
  for length in shape:
    count *= length
  if dtype.hasobject or min(shape, default=0) < 0:
    raise ValueError("the entry is no plain array")
  if file.tell() + count * dtype.itemsize != len(content):
    raise ValueError("the header asks for another size")
  file.seek(0)
  return np.lib.format.read_array(file, allow_pickle=False)
