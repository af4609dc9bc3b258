"""Arrays in files of others: checked before memory is asked for."""

import zipfile
from collections.abc import Collection

import numpy as np
from etils import epath

from sidrec.core.paths import open_bytes
from sidrec.core.readers import read_member
from sidrec.data.sources.shown import brief

# No array is compressed better than this, and a smaller one may unpack to so many bytes.
_MAX_RATIO = 200
_SMALL = 16 << 20


def load_npz(path: epath.Path, names: Collection[str]) -> tuple[list[str], dict[str, np.ndarray]]:
  """The names of all arrays of an .npz file, and those that are asked for and there.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is damaged, holds Python objects, or its arrays are larger than it says or
      far larger than the file.
  """
  try:
    with open_bytes(path) as file, zipfile.ZipFile(file) as members:
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
  return read_member(members, member)
