"""MovieLens-1M from a TFDS copy on disk, read without TensorFlow.

TFDS stores one rating per row, with its movie's title and genres, and sorts the rows by
a hash of their number in ratings.dat. That shuffles a user's ratings of the same second;
the hash is known, so the order of ratings.dat is restored here.

Letters: T ratings.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sidrec.data import dataset
from sidrec.data.sources.build import item_table

_BATCH_ROWS = 1 << 16
_SPELLING = {"Children": "Children's"}  # TFDS renames this genre


class Ratings(NamedTuple):
  """The columns of ratings.dat, and a table of the movies that it names."""

  user_T: np.ndarray  # int64 [T]
  movie_T: np.ndarray  # int64 [T]
  rating_T: np.ndarray  # float32 [T]
  time_T: np.ndarray  # int64 [T]
  movies: dataset.Items  # without years
  in_file_order: bool  # whether the rows stand as in ratings.dat


def read_tfds(folder: Path) -> Ratings:
  """Reads a prepared `movielens/1m-ratings` in array_record format.

  Args:
    folder: holds dataset_info.json, features.json and the array_record files.

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
  users, movies, ratings, times = [], [], [], []
  movie_rows = {}  # movie → the first row that names it
  try:
    builder = tfds.builder_from_directory(folder)
    rows: Any = builder.as_data_source(
      split="train", deserialize_method=decode.DeserializeMethod.RAW_BYTES
    )
    for start in range(0, len(rows), _BATCH_ROWS):
      for raw in rows.__getitems__(range(start, min(start + _BATCH_ROWS, len(rows)))):
        # The bare message: a tenth of the time that TFDS's own decoding takes.
        row = parse(raw).features.feature
        movie = int(row["movie_id"].bytes_list.value[0])
        movies.append(movie)
        users.append(int(row["user_id"].bytes_list.value[0]))
        ratings.append(row["user_rating"].float_list.value[0])
        times.append(row["timestamp"].int64_list.value[0])
        if movie not in movie_rows:
          movie_rows[movie] = row
    names = builder.info.features["movie_genres"].feature.names
    genres = [_SPELLING.get(name, name) for name in names]
    table = item_table(
      ids=np.array(list(movie_rows), np.int64),
      titles=[row["movie_title"].bytes_list.value[0].decode() for row in movie_rows.values()],
      categories=[
        [genres[genre] for genre in row["movie_genres"].int64_list.value]
        for row in movie_rows.values()
      ],
      numeric={},
    )
  except (OSError, RuntimeError, ValueError, LookupError, DecodeError, ParseError) as error:
    raise ValueError(
      f"{folder} is not a readable TFDS copy of movielens/1m-ratings in array_record format: "
      f"{error or type(error).__name__}"
    ) from error

  user_T = np.array(users, np.int64)
  order_T = _file_order(len(user_T))
  if not _is_ascending(user_T[order_T]):  # as ratings.dat is: these rows were not hashed
    order_T = np.arange(len(user_T))
  return Ratings(
    user_T=user_T[order_T],
    movie_T=np.array(movies, np.int64)[order_T],
    rating_T=np.array(ratings, np.float32)[order_T],
    time_T=np.array(times, np.int64)[order_T],
    movies=table,
    in_file_order=_is_ascending(user_T[order_T]),
  )


def _file_order(num_rows: int) -> np.ndarray:
  """Where TFDS stored each row: it sorts rows by the md5 of the split's name and row number."""
  salted = hashlib.md5(b"train", usedforsecurity=False)
  digests = []
  for row in range(num_rows):
    digest = salted.copy()
    digest.update(b"%d" % row)
    digests.append(digest.digest())
  high_T, low_T = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).T
  return np.argsort(np.lexsort((low_T, high_T)))


def _is_ascending(ids_T: np.ndarray) -> bool:
  return bool((np.diff(ids_T) >= 0).all())
