"""MovieLens-1M from a TFDS copy on disk, read without TensorFlow.

TFDS stores one rating per row, with its movie's title and genres, and sorts the rows by
a hash of their number in ratings.dat. That shuffles a user's ratings of the same second;
the hash is known, so the order of ratings.dat is restored here.
"""

import hashlib
from typing import Any

import numpy as np
import polars as pl
from etils import epath

from sidrec.data.sources.movielens_movies import title_year

_BATCH_ROWS = 1 << 16
_SPELLING = {"Children": "Children's"}  # TFDS renames this genre


def read_tfds(folder: epath.Path) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
  """Reads a prepared `movielens/1m-ratings` in array_record format.

  Args:
    folder: holds dataset_info.json, features.json and the array_record files.

  Returns:
    Ratings as in ratings.dat, the movies that they name, and a note if the order of ratings.dat
    is lost.

  Raises:
    ValueError: if the folder cannot be read as such a data set.
  """
  # Imported here because it takes a while, and most runs do not need it.
  import tensorflow_datasets as tfds
  from google.protobuf.json_format import ParseError
  from google.protobuf.message import DecodeError
  from tensorflow_datasets.core import decode
  from tensorflow_datasets.proto import tf_example_pb2

  parse = tf_example_pb2.Example.FromString  # pyrefly: ignore[missing-attribute]
  rows: list[tuple[int, int, int, float]] = []
  movies: dict[int, tuple[int, str, list[int]]] = {}
  try:
    builder = tfds.builder_from_directory(folder)
    source: Any = builder.as_data_source(
      split="train", deserialize_method=decode.DeserializeMethod.RAW_BYTES
    )
    for start in range(0, len(source), _BATCH_ROWS):
      for raw in source.__getitems__(range(start, min(start + _BATCH_ROWS, len(source)))):
        # The bare message: a tenth of the time that TFDS's own decoding takes.
        row = parse(raw).features.feature
        movie = int(row["movie_id"].bytes_list.value[0])
        user, time = int(row["user_id"].bytes_list.value[0]), row["timestamp"].int64_list.value[0]
        rows.append((user, movie, time, row["user_rating"].float_list.value[0]))
        if movie not in movies:
          title = row["movie_title"].bytes_list.value[0].decode()
          movies[movie] = (movie, title, list(row["movie_genres"].int64_list.value))
    names = builder.info.features["movie_genres"].feature.names
    genres = [_SPELLING.get(name, name) for name in names]
    described = [
      (movie, title, [genres[k] for k in which]) for movie, title, which in movies.values()
    ]
  except (OSError, RuntimeError, ValueError, LookupError, DecodeError, ParseError) as error:
    raise ValueError(
      f"{folder} is not a readable TFDS copy of movielens/1m-ratings in array_record format: "
      f"{error or type(error).__name__}"
    ) from error
  numbers = dict.fromkeys(("user", "item", "time"), pl.Int64)
  stored = pl.DataFrame(rows, {**numbers, "rating": pl.Float32}, orient="row")
  item_schema = {"item": pl.Int64, "title": pl.String, "categories": pl.List(pl.String)}
  items = pl.DataFrame(described, item_schema, orient="row").with_columns(title_year())
  ratings = stored[_file_order(len(stored))]
  if not ratings["user"].is_sorted():  # as in ratings.dat: these rows were not hashed
    ratings = stored
  if ratings["user"].is_sorted():
    return ratings, items, []
  lost = "the TFDS copy has lost the order of ratings.dat: file order is the copy's own"
  return ratings, items, [lost]


def _file_order(num_rows: int) -> np.ndarray:
  """Where TFDS stored each row: it sorts rows by the md5 of the split's name and row number."""
  salted = hashlib.md5(b"train", usedforsecurity=False)
  digests = []
  for row in range(num_rows):
    digest = salted.copy()
    digest.update(b"%d" % row)
    digests.append(digest.digest())
  high, low = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).T
  return np.argsort(np.lexsort((low, high)))
