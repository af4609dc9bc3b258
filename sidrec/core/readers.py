"""Readers of JSON and `.npz` that may be damaged: whatever is wrong, one ValueError says so.

Python's own readers raise a dozen types of errors, and believe sizes that a damaged header names.
"""

import io
import json
import math
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

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


def read_npz(path: epath.Path) -> dict[str, np.ndarray]:
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
        entry.filename.removesuffix(".npy"): _read_bounded(archive, entry, len(raw))
        for entry in entries
      }
  except MemoryError:
    raise
  except Exception:  # the readers of zip files and of arrays raise nearly every type
    raise ValueError("not a readable .npz file") from None
  if len(arrays) != len(entries):
    raise ValueError("not a readable .npz file: a name stands twice in it")
  return arrays


def _read_bounded(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int) -> np.ndarray:
  if entry.file_size > MAX_RATIO * size:
    raise ValueError("the entry claims to be larger than it can be")
  return read_member(archive, entry)


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
  """One plain array of an .npz file; memory is asked for only if the header fits what there is.

  Raises:
    ValueError: if it holds Python objects, or not the values that its header announces.
    Exception: of nearly any type, as zipfile and NumPy do for damaged files.
  """
  with archive.open(member) as stream:
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_2_0
    if version == (1, 0):
      read_header = np.lib.format.read_array_header_1_0
    shape, _, dtype = read_header(stream)
    size = math.prod(shape) * dtype.itemsize
    whole = dtype.hasobject or size + stream.tell() == member.file_size
    if min(shape, default=0) < 0 or not whole:
      raise ValueError(f"{member.filename} does not hold the {shape} values that it announces")
  with archive.open(member) as stream:
    array = np.lib.format.read_array(stream, allow_pickle=False)
    stream.read()  # to the end, where zipfile checks the CRC-32
    return array
