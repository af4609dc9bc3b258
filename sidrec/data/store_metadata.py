"""The file store.json of a folder of shards: what `store` writes and must find again."""

import json
from typing import Any

import numpy as np
from etils import epath

from sidrec.data import shards
from sidrec.data.dataset import TEXT
from sidrec.data.sources.shown import brief, shown

FORMAT = 2  # 1 had text of fixed width
ID_TYPES = {"text": TEXT, "int64": np.dtype(np.int64)}


def read_metadata(folder: epath.Path) -> dict[str, Any]:
  """What store.json says.

  Raises:
    FileNotFoundError: if there is no such folder.
    ValueError: if it is no store, of another format, or damaged.
  """
  if not folder.is_dir():
    raise FileNotFoundError(f"there is no folder {folder}, which was to hold a store of histories")
  try:
    meta = json.loads((folder / "store.json").read_bytes())
    version = meta["format"]
    if version == FORMAT:
      _check_metadata(meta)
  except FileNotFoundError as error:
    raise ValueError(
      f"{folder} is no store of histories, for it has no store.json; python -m "
      "sidrec.data.prepare writes one"
    ) from error
  except (ValueError, LookupError, TypeError, RecursionError) as error:
    raise ValueError(
      f"{folder / 'store.json'} is damaged ({brief(repr(error))}); copy it again"
    ) from error
  if version != FORMAT:
    raise ValueError(
      f"{folder} has store format {shown(version, 20)}, but this version reads {FORMAT}; prepare "
      "it again"
    )
  return meta


def _check_metadata(meta: dict[str, Any]) -> None:
  """Raises ValueError, LookupError or TypeError for what `write_metadata` does not write."""
  texts = [meta["name"], *meta["notes"]]
  counts = [meta[name] for name in ("users", "items", "interactions")]
  counts += [shard[name] for shard in meta["shards"] for name in shards.Shard._fields]
  if not all(isinstance(text, str) for text in texts) or not isinstance(meta["notes"], list):
    raise TypeError("the name or a note is no text")
  if not all(type(count) is int and count >= 0 for count in counts) or not meta["shards"]:
    raise TypeError("a count is no whole number")
  if not all(isinstance(name, str) for name in meta.get("actions", [])):
    raise TypeError("an action is no text")
  if meta["user_id"] not in ID_TYPES:
    raise ValueError(f"user_id {meta['user_id']!r} is unknown")
