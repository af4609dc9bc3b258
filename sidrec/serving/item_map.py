"""A map of the items: their vectors in two dimensions, neighbours near each other.

`report.layout` places the most popular items, and the others at the mean of the nearest of those.
"""

import threading
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from sidrec.core.atomic import open_arrays, write_whole

PLACED = 5000  # by t-SNE, whose time grows faster than the number of items
SIDE = 1000  # coordinates go from 0 to this

State = Literal["making", "ready", "failed"]


def place(vectors_NxF: np.ndarray, popularity_N: np.ndarray, seed: int = 0) -> np.ndarray:
  """The place of each item: int16 [N, 2], 0 to SIDE.

  Args:
    vectors_NxF: floats.
    popularity_N: decides which items t-SNE places where there are more than PLACED.
    seed: of t-SNE.
  """
  # Importing scikit-learn takes a second, which a server without a map need not wait for.
  from sidrec.report.layout import places_of

  num_items = len(vectors_NxF)
  if num_items < 4:
    return np.array([[at * SIDE // 4, SIDE // 2] for at in range(num_items)], np.int16)
  order_N = np.argsort(-popularity_N, kind="stable")
  place_Nx2 = np.empty((num_items, 2))
  place_Nx2[order_N] = places_of(vectors_NxF[order_N], min(PLACED, num_items), seed)
  least, most = place_Nx2.min(axis=0), place_Nx2.max(axis=0)
  return np.rint((place_Nx2 - least) / np.maximum(most - least, 1e-9) * SIDE).astype(np.int16)


class ItemMap:
  """The map of a run's items, made in a thread when it is first asked for, and kept in a file."""

  def __init__(self, vectors_NxF: np.ndarray, popularity_N: np.ndarray, file: Path | None):
    """Takes the vectors, and where the map is kept; None for in memory alone."""
    self._vectors_NxF, self._popularity_N, self._file = vectors_NxF, popularity_N, file
    self._lock = threading.Lock()
    self._thread: threading.Thread | None = None
    self._state: State = "making"
    self._place_Nx2: np.ndarray | None = None

  def get(self) -> tuple[State, np.ndarray | None]:
    """How far it is, and the places [N, 2] when it is ready."""
    with self._lock:
      if self._thread is None:
        self._thread = threading.Thread(target=self._make, name="sidrec map", daemon=True)
        self._thread.start()
    return self._state, self._place_Nx2

  def wait(self) -> None:
    """Returns when the map is made, or cannot be."""
    self.get()
    if self._thread is not None:
      self._thread.join()

  def _make(self) -> None:
    try:
      key = zlib.crc32(np.ascontiguousarray(self._vectors_NxF).data)
      place_Nx2 = self._kept(key)
      if place_Nx2 is None:
        place_Nx2 = place(self._vectors_NxF, self._popularity_N)
        self._keep(key, place_Nx2)
    except BaseException:
      self._state = "failed"
      raise
    self._place_Nx2 = place_Nx2
    self._state = "ready"

  def _kept(self, key: int) -> np.ndarray | None:
    """The map in the file, if it is of these vectors."""
    if self._file is None or not self._file.exists():
      return None
    try:
      with open_arrays(self._file) as arrays:
        same = int(arrays["key"]) == key
        place_Nx2 = arrays["place_Nx2"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
      return None  # it is made again
    shape = (len(self._vectors_NxF), 2)
    return place_Nx2 if same and place_Nx2.shape == shape else None

  def _keep(self, key: int, place_Nx2: np.ndarray) -> None:
    if self._file is None:
      return
    try:
      write_whole(self._file, lambda f: np.savez(f, key=np.uint32(key), place_Nx2=place_Nx2))
    except OSError as error:
      print(f"explorer: the map of the items is not kept: {error}", flush=True)
