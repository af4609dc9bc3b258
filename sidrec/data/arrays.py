"""Arrays in files of others: checked before memory is asked for."""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from sidrec.data.sources.shown import brief

# No array is compressed better than this, and a smaller one may unpack to so many bytes.
_MAX_RATIO = 200
_SMALL = 16 << 20


def load_npz(path: Path, names: Collection[str]) -> tuple[list[str], dict[str, np.ndarray]]:
  """The names of all arrays of an .npz file, and those that are asked for and there.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is damaged, holds Python objects, or its arrays are larger than it says or
      far larger than the file.
  """
  try:
    with zipfile.ZipFile(path) as members:
      found = {member.filename.removesuffix(".npy"): member for member in members.infolist()}
      arrays = {name: _read(members, member) for name, member in found.items() if name in names}
  except FileNotFoundError:
    raise
  except Exception as error:  # zipfile and NumPy raise many types for damaged files
    raise ValueError(f"{path} is no readable .npz file of plain arrays: {brief(error)}") from error
  return sorted(found), arrays


def _read(members: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
  if member.file_size > max(_SMALL, _MAX_RATIO * member.compress_size):
    raise ValueError(f"{member.filename} unpacks to more than {_MAX_RATIO} times its size")
  with members.open(member) as stream:
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_2_0
    if version == (1, 0):
      read_header = np.lib.format.read_array_header_1_0
    shape, _, dtype = read_header(stream)
    size = math.prod(shape) * dtype.itemsize
    whole = dtype.hasobject or size + stream.tell() == member.file_size
    if min(shape, default=0) < 0 or not whole:
      raise ValueError(f"{member.filename} does not hold the {shape} values that it announces")
  with members.open(member) as stream:
    return np.lib.format.read_array(stream, allow_pickle=False)
