"""A `Dataset` as `data.cache.save_dataset` wrote it."""

from typing import Any

from sidrec.core.content import stamps
from sidrec.data import dataset
from sidrec.data.cache import load_dataset


def read_dataset(path: str, min_interactions: int = 3) -> dataset.Dataset:
  """Reads a data set as it is.

  Raises:
    ValueError: for a damaged file, or a user with fewer interactions than `min_interactions`.
    FileNotFoundError: if there is no such file.
  """
  data = load_dataset(path)
  fewest = int(data.histories.lengths_U.min())
  if fewest < min_interactions:
    user = data.histories.user_ids_U.item(int(data.histories.lengths_U.argmin()))
    raise ValueError(
      f"{path}: user {user!r} has {fewest} interactions; leave out users with fewer than "
      f"{min_interactions}"
    )
  return data


def signature_dataset(path: str) -> dict[str, Any]:
  """What identifies the file."""
  return {"files": stamps([path])}
