"""The demo: MovieTweetings 100K cut to its 5-core, shipped in this package, read offline.

68,055 ratings of 2,414 films by 4,333 users; source, citation and licence (MIT) are in
`movietweetings/README.md`.
"""

import hashlib
from importlib import resources
from typing import Any

import polars as pl

from sidrec.data import dataset
from sidrec.data.sources.build import build
from sidrec.data.sources.movielens_movies import title_year

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
  ratings, films = map(_table, _FILES)
  genres = pl.col("genres").str.split("|").list.eval(pl.element().filter(pl.element() != ""))
  return build(
    "demo",
    ratings.select(
      pl.col("user_id").cast(pl.Int64).alias("user"),
      pl.col("item_id").alias("item"),
      pl.col("timestamp").cast(pl.Int64).alias("time"),
      pl.col("rating").cast(pl.Float32),
    ),
    films.select(
      pl.col("item_id").alias("item"), "title", genres.alias("categories"), title_year()
    ),
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


def _table(name: str) -> pl.DataFrame:
  """A tab-separated file, all columns as text."""
  return pl.read_csv(_packed(name), separator="\t", quote_char=None, infer_schema=False)
