"""A TFDS copy of MovieLens-1M says the same as the .dat files."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer, naming, splits
from tensorflow_datasets.structured import movielens as tfds_movielens

from sidrec.data import dataset
from sidrec.data.sources import movielens

_FOLDER = "movielens/1m-ratings/0.1.1"
_MOVIES = {
  str(movie): (f"Film {movie}é (19{80 + movie})", genres)
  for movie, genres in enumerate([["Drama"], ["Children's", "War"], ["Comedy"], ["Sci-Fi"]], 1)
}


def _rows() -> list[dict]:
  """Six ratings by each of 20 users, at few distinct times, as ratings.dat has them."""
  rng = np.random.default_rng(0)
  return [
    {
      "user_id": str(user),
      "movie_id": str(rng.integers(1, 5)),
      "user_rating": float(rng.integers(1, 6)),
      "timestamp": int(rng.integers(10, 12)),
    }
    for user in range(1, 21)
    for _ in range(6)
  ]


def _described(row: dict) -> dict:
  title, genres = _MOVIES[row["movie_id"]]
  renamed = ["Children" if genre == "Children's" else genre for genre in genres]  # as TFDS does
  return row | {"movie_title": title, "movie_genres": renamed}


def _write_dat(folder: Path) -> dataset.Dataset:
  folder.mkdir()
  lines = [
    f"{row['user_id']}::{row['movie_id']}::{row['user_rating']:.0f}::{row['timestamp']}\n"
    for row in _rows()
  ]
  movies = [f"{movie}::{title}::{'|'.join(g)}\n" for movie, (title, g) in _MOVIES.items()]
  (folder / "ratings.dat").write_text("".join(lines))
  (folder / "movies.dat").write_text("".join(movies), encoding="latin-1")
  return movielens.read_movielens("movielens-1m", str(folder))


def _write_rows(folder: Path, rows: list[dict]) -> None:
  """Writes rows in the order given, as a copy whose rows were not hashed."""
  folder.mkdir(parents=True)
  features = tfds.features.FeaturesDict(
    {
      "user_id": np.str_,
      "movie_id": np.str_,
      "movie_title": np.str_,
      "user_rating": np.float32,
      "timestamp": np.int64,
      "movie_genres": tfds.features.Sequence(
        tfds.features.ClassLabel(names=["Sci-Fi", "Children", "War", "Comedy", "Drama"])
      ),
    }
  )
  serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
  name = "movielens-train.array_record-00000-of-00001"
  writer = array_record_module.ArrayRecordWriter(str(folder / name), "group_size:1")
  examples = [serializer.serialize_example(features.encode_example(_described(r))) for r in rows]
  for example in examples:
    writer.write(example)
  writer.close()
  template = naming.ShardedFileTemplate(
    dataset_name="movielens", data_dir=folder, split="train", filetype_suffix="array_record"
  )
  split = splits.SplitInfo(
    name="train",
    shard_lengths=[len(rows)],
    num_bytes=sum(map(len, examples)),
    filename_template=template,
  )
  tfds.folder_dataset.write_metadata(
    data_dir=folder, features=features, split_infos=[split], check_data=False
  )


def _same(expected: dataset.Dataset, found: dataset.Dataset) -> None:
  for part in ("histories", "items"):
    for field, value in getattr(expected, part)._asdict().items():
      other = getattr(found, part)._asdict()[field]
      np.testing.assert_equal(other, value, err_msg=field)
      if field != "numeric" and value is not None:
        assert other.dtype == value.dtype, field


@pytest.fixture(autouse=True)
def _data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
  monkeypatch.delenv("SIDREC_DATA_DIR", raising=False)
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


def test_a_copy_that_tfds_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  users = {
    "user_gender": True,
    "bucketized_user_age": 25.0,
    "user_occupation_label": "student",
    "user_occupation_text": "K-12 student",
    "user_zip_code": "94110",
  }
  builder = tfds_movielens.Movielens(
    config="1m-ratings", data_dir=tmp_path / "tfds", file_format="array_record"
  )
  rows = [(number, _described(row) | users) for number, row in enumerate(_rows())]
  monkeypatch.setattr(builder, "_split_generators", lambda *_, **__: {"train": iter(rows)})
  builder.download_and_prepare()

  # TFDS did shuffle the rows, so that their order had to be restored.
  stored = [row["user_id"] for row in builder.as_data_source("train")]
  assert stored != sorted(stored, key=int)
  expected, found = _write_dat(tmp_path / "dat"), movielens.read_movielens("movielens-1m")
  _same(expected, found)
  assert found.notes == expected.notes


def test_a_copy_in_file_order(tmp_path: Path) -> None:
  _write_rows(tmp_path / "tfds" / _FOLDER, _rows())
  expected, found = _write_dat(tmp_path / "dat"), movielens.read_movielens("movielens-1m")
  _same(expected, found)
  assert found.notes == expected.notes
  signature = movielens.signature_movielens("movielens-1m")
  assert signature["kind"] == "tfds"
  names = [Path(path).name for path, *_ in signature["files"]]
  assert "movielens-train.array_record-00000-of-00001" in names


def test_a_copy_that_lost_the_order_says_so(tmp_path: Path) -> None:
  rows = _rows()
  _write_rows(tmp_path / "tfds" / _FOLDER, rows[60:] + rows[:60])
  expected, found = _write_dat(tmp_path / "dat"), movielens.read_movielens("movielens-1m")
  _same(expected, found)  # users moved as wholes, so their own rows stayed in order
  assert "has lost the order of ratings.dat" in found.notes[0]
  assert found.notes[1:] == expected.notes


@pytest.mark.parametrize("damage", ["records", "metadata"])
def test_a_damaged_copy_is_named(tmp_path: Path, damage: str) -> None:
  folder = tmp_path / "tfds" / _FOLDER
  _write_rows(folder, _rows())
  name = "dataset_info.json" if damage == "metadata" else "*.array_record*"
  next(folder.glob(name)).write_bytes(b"{" * 100)
  with pytest.raises(ValueError, match=r"1m-ratings/0\.1\.1 is not a readable TFDS copy"):
    movielens.read_movielens("movielens-1m")
