"""Readers that plugins register: what `data.source` may be besides sidrec's own."""

from collections.abc import Mapping
from typing import Any

from sidrec.core.content import stamps
from sidrec.core.paths import files_under
from sidrec.core.plugged import Chosen, Register
from sidrec.data.dataset import Dataset, validate

OWN = Register("reader", "data.plugins", None, ("path", "min_interactions"), lambda name: False)


def chosen_reader(name: str, own: Mapping[str, Any]) -> Chosen:
  """A registered reader with its settings; ValueError for a setting that it does not have."""
  return OWN.choose(name, own)


def read_own(name: str, path: str, min_interactions: int, own: Mapping[str, Any]) -> Dataset:
  """What a registered reader returns.

  Raises:
    ValueError: if it fails, or returns what is no `Dataset` or breaks its contract.
  """
  chosen = chosen_reader(name, own)
  found = chosen(path, min_interactions)
  if not isinstance(found, Dataset):
    raise ValueError(
      f"{chosen.plugged} returns {type(found).__name__}; give a Dataset, as "
      "sidrec.data.sources.build.build makes it of two frames"
    )
  try:
    return validate(found)
  except ValueError as error:
    raise ValueError(f"{chosen.plugged} returns a Dataset that is none: {error}") from error


def signature_own(name: str, path: str, own: Mapping[str, Any]) -> dict[str, Any]:
  """The stamps of all files at and below the path, and of those that the reader names."""
  chosen = chosen_reader(name, own)
  at_path = files_under(path) if path else []
  if path and not at_path:
    raise FileNotFoundError(f"there is no file at data.path={path}")
  return {"files": stamps([*at_path, *chosen.files()])}
