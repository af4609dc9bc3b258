"""Histories in ArrayRecord files, one example per user, as TFDS writes and reads them.

An example is a `tf.train.Example` of

  user_id  int64, or text
  item     int32 [length], rows of the catalogue, oldest first
  time     int64 [length], seconds
  rating   float32 [length], NaN where there is none
  action   int16 [length], where the log has actions: rows of their names, -1 where unknown

with these columns as little-endian bytes (TFDS's encoding 'bytes'): a history of any length
is then one slice of memory, where a list of numbers would be parsed number by number. Written
with group_size:1, so that any user can be read without the neighbours, and compressed by Snappy:
the default, Zstandard, makes files a quarter smaller and takes half as long again to read.
"""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from sidrec.core import copies
from sidrec.data.dataset import TEXT, Histories

DATASET, SPLIT = "histories", "users"  # as TFDS calls them; the split has whole histories
COLUMNS = {"item": np.dtype("<i4"), "time": np.dtype("<i8"), "rating": np.dtype("<f4")}
ACTION = {"action": np.dtype("<i2")}  # more, where the log has actions
_VERSION = "1.0.0"


class Shard(NamedTuple):
  """What the metadata says of a file."""

  num_users: int
  num_bytes: int  # of its examples, before they are compressed
  file_bytes: int


def shard_name(index: int, count: int) -> str:
  """The file of shard `index` of `count`, named as TFDS names it."""
  return f"{DATASET}-{SPLIT}.array_record-{index:05d}-of-{count:05d}"


def columns_with(*, actions: bool) -> dict[str, np.dtype]:
  """The columns of an example."""
  return COLUMNS | ACTION if actions else COLUMNS


def write_shard(path: Path, histories: Histories) -> Shard:
  """Writes all of these users, in their order."""
  from array_record.python import array_record_module  # pyrefly: ignore[missing-import]

  writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,snappy")
  num_bytes = 0
  for record in examples(histories):
    num_bytes += len(record)
    writer.write(record)
  writer.close()
  with path.open("rb") as file:  # the writer itself leaves it to the system when to store
    os.fsync(file.fileno())
  return Shard(histories.num_users, num_bytes, path.stat().st_size)


def examples(histories: Histories) -> Iterable[bytes]:
  """The example of each user, serialised."""
  arrays = {
    "item": histories.item_T,
    "time": histories.time_T,
    "rating": histories.rating_T,
    "action": histories.action_T,
  }
  # All of a column at once; each user takes a slice of the bytes.
  columns = [
    (name, np.asarray(arrays[name], dtype).tobytes(), dtype.itemsize)
    for name, dtype in columns_with(actions=histories.action_T is not None).items()
  ]
  offsets = histories.offsets_Up1.tolist()
  text = histories.user_ids_U.dtype == TEXT
  for user, user_id in enumerate(histories.user_ids_U.tolist()):
    example = _example_class()()
    feature = example.features.feature
    if text:
      feature["user_id"].bytes_list.value.append(user_id.encode())
    else:
      feature["user_id"].int64_list.value.append(user_id)
    start, stop = offsets[user], offsets[user + 1]
    for name, blob, width in columns:
      feature[name].bytes_list.value.append(blob[width * start : width * stop])
    yield example.SerializeToString()


def reader_of(
  files: Sequence[epath.Path], ends_K: np.ndarray
) -> Callable[[np.ndarray], list[bytes]]:
  """A function that reads examples by user rows [R]; shard k ends before row ends_K[k].

  It raises ValueError for a damaged file. Of files in buckets it holds copies on the disk, for as
  long as it lives.
  """
  starts_K = np.concatenate([[0], ends_K])

  @functools.cache
  def opened(shard: int) -> Any:
    # Imported here because it takes a while, and most runs do not need it.
    from array_record.python import array_record_module  # pyrefly: ignore[missing-import]

    # An example has a few hundred bytes: reading more at once, or ahead, is wasted.
    with copies.kept():  # the reader holds the file open, also where its name is gone
      return array_record_module.ArrayRecordReader(
        str(copies.local(files[shard])),
        options="readahead_buffer_size:0,max_parallelism:0",
        file_reader_buffer_size=2048,
      )

  def read(row_R: np.ndarray) -> list[bytes]:
    # By runs of neighbours in one file: a reader that is asked for a list of records, as Grain's
    # source asks it, walks through the index of its whole file every time.
    shard_R = np.searchsorted(ends_K, row_R, side="right")
    begins = np.flatnonzero((np.diff(row_R, prepend=-2) != 1) | (np.diff(shard_R, prepend=-1) != 0))
    at_P = row_R[begins] - starts_K[shard_R[begins]]
    size_P = np.diff(begins, append=len(row_R))
    records: list[bytes] = []
    for shard, at, size in zip(*(x.tolist() for x in (shard_R[begins], at_P, size_P)), strict=True):
      try:
        records += opened(shard).read(at, at + size)
      except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(
          f"{files[shard]} is damaged, copy or prepare it again: {str(error)[:300]}"
        ) from error
    return records

  return read


def features_of(records: Iterable[bytes]) -> list[Any]:
  """The columns of each example, by name; raises ValueError for what is no example."""
  from google.protobuf.message import DecodeError

  parse = _example_class().FromString
  try:
    return [parse(record).features.feature for record in records]
  except DecodeError as error:
    raise ValueError("a record is no example") from error


def column_of(features_R: Iterable[Any], name: str) -> list[bytes]:
  """One column of each of these examples, as bytes; raises ValueError where one lacks it."""
  try:
    return [features[name].bytes_list.value[0] for features in features_R]
  except IndexError as error:
    raise ValueError(f"an example has no {name!r}") from error


def user_ids_of(features_R: Iterable[Any], dtype: np.dtype) -> np.ndarray:
  """The original ids of the examples' users: int64 or TEXT [R]."""
  ids = [features["user_id"] for features in features_R]
  if dtype == TEXT:
    return np.array([value.bytes_list.value[0].decode() for value in ids], dtype)
  return np.array([value.int64_list.value[0] for value in ids], dtype)


def histories_of(
  features_R: Sequence[Any], id_dtype: np.dtype, actions: tuple[str, ...] = ()
) -> Histories:
  """The histories of some examples, of a log with these actions."""
  dtypes = columns_with(actions=bool(actions))
  columns = {name: column_of(features_R, name) for name in dtypes}
  length_R = np.array([len(blob) for blob in columns["item"]], np.int64) // 4
  item_T, time_T, rating_T, *action_T = (
    np.frombuffer(b"".join(columns[name]), dtype).astype(dtype.newbyteorder("="))
    for name, dtype in dtypes.items()
  )
  offsets_Rp1 = np.concatenate([[0], np.cumsum(length_R)]).astype(np.int64)
  found = Histories(offsets_Rp1, item_T, time_T, rating_T, user_ids_of(features_R, id_dtype))
  return found._replace(action_T=action_T[0] if actions else None, actions=actions or None)


def write_tfds_metadata(
  folder: Path, shards: Sequence[Shard], text_ids: bool, *, actions: bool = False
) -> None:
  """Writes what `tfds.builder_from_directory(folder)` wants: dataset_info.json, features.json."""
  # Imported here because it takes a while, and only writers need it.
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import naming, splits

  tensor = tfds.features.Tensor
  features = tfds.features.FeaturesDict(
    {
      "user_id": tfds.features.Text() if text_ids else tensor(shape=(), dtype=np.int64),
      **{
        name: tensor(shape=(None,), dtype=dtype.newbyteorder("="), encoding="bytes")
        for name, dtype in columns_with(actions=actions).items()
      },
    }
  )
  template = naming.ShardedFileTemplate(
    dataset_name=DATASET,
    data_dir=epath.Path(folder),
    split=SPLIT,
    filetype_suffix="array_record",
  )
  info = splits.SplitInfo(
    name=SPLIT,
    shard_lengths=[shard.num_users for shard in shards],
    num_bytes=sum(shard.num_bytes for shard in shards),
    filename_template=template,
  )
  tfds.folder_dataset.write_metadata(
    data_dir=folder,
    features=features,
    version=_VERSION,
    split_infos=[info],
    check_data=False,
    description="Interactions of users with items, one example per user, ordered by time.",
  )


@functools.cache
def _example_class() -> Any:
  from tensorflow_datasets.proto import tf_example_pb2

  return tf_example_pb2.Example  # pyrefly: ignore[missing-attribute]
