"""The demo: MovieTweetings 100K cut to its 5-core, shipped in this package, read offline.

68,055 ratings of 2,414 films by 4,333 users; source, citation and licence (MIT) are in
`movietweetings/README.md`.
"""

import gzip
import hashlib
from importlib import resources
from typing import Any

import numpy as np

from sidrec.data import dataset
from sidrec.data.sources.build import item_table
from sidrec.data.sources.build_arrays import build_arrays as build
from sidrec.data.sources.movielens import title_year

_FILES = ("demo_5core.tsv.gz", "demo_items.tsv.gz")


def read_demo(path: str = "", min_interactions: int = 3) -> dataset.Dataset:
  """Reads the shipped data; item ids are IMDb numbers, text with leading zeros.

  Args:
    path: must be empty.
    min_interactions: users with fewer are dropped; the 5-core has at least 5 each.

  Raises:
    ValueError: if a path is given.
  """
  _refuse(path)
  ratings, films = map(_columns, _FILES)
  metadata = item_table(
    ids=np.array(films["item_id"]),
    titles=films["title"],
    categories=[[genre for genre in genres.split("|") if genre] for genres in films["genres"]],
    numeric={"year": [title_year(title) for title in films["title"]]},
  )
  return build(
    "demo",
    np.array(ratings["user_id"]).astype(np.int64),
    np.array(ratings["item_id"]),
    np.array(ratings["timestamp"]).astype(np.int64),
    np.array(ratings["rating"]).astype(np.float32),
    metadata,
    min_interactions,
  )


def signature_demo(path: str = "") -> dict[str, Any]:
  """What identifies the shipped files: their contents, for installing changes their times."""
  _refuse(path)
  return {name: hashlib.md5(_packed(name), usedforsecurity=False).hexdigest() for name in _FILES}


def _refuse(path: str) -> None:
  if path:
    raise ValueError(f"the demo is shipped with sidrec and takes no path, but got {path!r}")


def _packed(name: str) -> bytes:
  return resources.files("sidrec.data").joinpath("movietweetings", name).read_bytes()


def _columns(name: str) -> dict[str, tuple[str, ...]]:
  """The columns of a tab-separated file by the names in its header."""
  lines = gzip.decompress(_packed(name)).decode("utf-8").rstrip("\n").split("\n")
  header, *rows = [line.split("\t") for line in lines]
  return dict(zip(header, zip(*rows, strict=True), strict=True))
