"""Every source from a bucket gives what it gives from the disk, and names what the user wrote."""

import bz2
import gzip
import io
import json
import os
import pathlib
import tempfile

import buckets
import numpy as np
import polars as pl
import pytest

from sidrec.core.paths import as_path, file_system
from sidrec.data.settings import TableConfig
from sidrec.data.sources import registry

ROWS = [(user, item, 1000 + 7 * user + item) for user in range(6) for item in range(user, user + 4)]
CSV = "user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in ROWS)
HALF = len(ROWS) // 2
PARTS = [
  "user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in part)
  for part in (ROWS[:HALF], ROWS[HALF:])
]
COLUMNS = {"user": "user", "item": "item", "time": "time"}
LOG = TableConfig(columns=COLUMNS)


def parquet() -> bytes:
  file = io.BytesIO()
  pl.DataFrame(ROWS, ["user", "item", "time"], orient="row").write_parquet(file)
  return file.getvalue()


REVIEWS = "".join(
  f'{{"user_id": "U{u}", "parent_asin": "A{i}", "timestamp": {t}000, "rating": 5.0}}\n'
  for u, i, t in ROWS
)
ASINS = "".join(json.dumps({"parent_asin": f"A{i}", "title": f"Film {i}"}) + "\n" for i in range(9))
JSONL = "".join(json.dumps({"user": u, "item": i, "time": t}) + "\n" for u, i, t in ROWS)
INTER = "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(
  f"{u}\t{i}\t{t}\n" for u, i, t in ROWS
)
ATOMIC_ITEMS = "item_id:token\tname:token\n0\tFilm\n"
QUOTED = CSV.replace("0,0,1000", '"0",0,"1000\n"')  # over two lines, which Python's reader joins
MOVIES = "".join(f"{i}|Film {i} (1999)|||" + "|0" * 18 + "|1\n" for i in range(1, 10))
SEQUENCES = "".join(
  f"{u} " + " ".join(str(i + 1) for i in range(u, u + 4)) + "\n" for u in range(6)
)

# Source → what is at which place, the place that is given, and further settings.
KINDS = {
  "a table": ("table", {"log.csv": CSV}, "log.csv", {"settings": LOG}),
  "values over several lines": ("table", {"log.csv": QUOTED}, "log.csv", {"settings": LOG}),
  "JSON lines": ("table", {"log.jsonl": JSONL}, "log.jsonl", {"settings": LOG}),
  "gzip": ("table", {"log.csv.gz": gzip.compress(CSV.encode())}, "log.csv.gz", {"settings": LOG}),
  "bzip2": ("table", {"log.csv.bz2": bz2.compress(CSV.encode())}, "log.csv.bz2", {"settings": LOG}),
  "Parquet": ("table", {"log.parquet": parquet()}, "log.parquet", {"settings": LOG}),
  "a pattern": ("table", {"p1.csv": PARTS[0], "p2.csv": PARTS[1]}, "p*.csv", {"settings": LOG}),
  "a folder": ("table", {"d/1.csv": PARTS[0], "d/2.csv": PARTS[1]}, "d", {"settings": LOG}),
  "atomic": (
    "atomic",
    {"x.inter": INTER, "x.item": ATOMIC_ITEMS},
    "",
    {},
  ),
  "sequences": (
    "sequences",
    {"Toys.txt": SEQUENCES, "items.tsv": "item_id\ttitle\n1\tFilm\n"},
    "",
    {},
  ),
  "reviews": (
    "amazon-reviews",
    {"r.jsonl": REVIEWS, "meta.jsonl.gz": gzip.compress(ASINS.encode())},
    "r.jsonl",
    {"metadata_path": "meta.jsonl.gz"},
  ),
  "MovieLens": (
    "movielens-100k",
    {
      "u.data.gz": gzip.compress(
        "".join(f"{u + 1}\t{i + 1}\t3\t{t}\n" for u, i, t in ROWS).encode()
      ),
      "u.item": MOVIES,
    },
    "",
    {},
  ),
}


@pytest.fixture(scope="module")
def bucket():
  with buckets.google() as root:
    yield root


def put(root, files):
  for name, content in files.items():
    path = as_path(f"{root}/{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(source, root, place, settings):
  if "metadata_path" in settings:
    settings = {"metadata_path": f"{root}/{settings['metadata_path']}"}
  path = f"{root}/{place}".rstrip("/")
  return registry.read(source, path, **settings), registry.signature(source, path, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_in_a_bucket_is_the_source_on_disk(kind, bucket, tmp_path, monkeypatch):
  source, files, place, settings = KINDS[kind]
  copies = tmp_path / "copies"
  copies.mkdir()
  monkeypatch.setattr(tempfile, "tempdir", str(copies))
  root, disk = f"{bucket}/{kind.replace(' ', '-')}/log", tmp_path / "log"
  put(root, files)
  put(disk, files)
  found, signature = read(source, root, place, settings)
  expected, of_disk = read(source, disk, place, settings)
  assert found.name == expected.name
  assert found.notes == expected.notes
  for one, other in zip(found.histories, expected.histories, strict=True):
    np.testing.assert_array_equal(one, other)
  assert found.items.titles_N.tolist() == expected.items.titles_N.tolist()
  assert {name for name, *_ in signature["files"]} == {f"{root}/{name}" for name in files}
  assert [size for _, size, _ in signature["files"]] == [size for _, size, _ in of_disk["files"]]
  assert not any(copies.iterdir())


def test_the_table_of_items_may_lie_elsewhere(bucket, tmp_path):
  put(f"{bucket}/split", {"log.csv": CSV})
  put(tmp_path, {"items.csv": "id,name\n0,Film\n"})
  items = {"id": "id", "title": "name"}
  settings = TableConfig(
    columns=COLUMNS, items_path=str(tmp_path / "items.csv"), item_columns=items
  )
  data = registry.read("table", f"{bucket}/split/log.csv", settings=settings)
  assert data.items.titles_N.tolist()[:2] == ["Film", ""]


def test_the_folder_of_all_data_may_be_a_bucket(bucket, monkeypatch):
  files = KINDS["MovieLens"][1]
  put(f"{bucket}/all/ml-100k", files)
  monkeypatch.setenv("SIDREC_DATA_DIR", f"{bucket}/all")
  assert registry.read("movielens-100k").histories.num_users == 6
  put(f"{bucket}/all/amazon-beauty", {"Beauty.txt": SEQUENCES})
  assert registry.read("amazon-beauty").histories.num_users == 6


@pytest.mark.parametrize(
  ("source", "path", "files", "sentence"),
  [
    ("table", "no.csv", {}, "there is no file {}/no.csv"),
    ("table", "no*.csv", {}, "there is no file {}/no*.csv"),
    (
      "table",
      "empty",
      {"empty/d/x.csv": CSV},
      "the folder {0}/empty holds no file of a table; to "
      "read those of its folders, give the pattern {0}/empty/*/*",
    ),
    ("table", "bad.csv", {"bad.csv": CSV + "1,2\n"}, "{}/bad.csv:26: 2 values for the 3 columns"),
    ("table", "b.csv", {"b.csv": b"user,item\n1,\xff\n"}, "{}/b.csv is not UTF-8 text"),
    ("table", "b.parquet", {"b.parquet": b"PAR1"}, "{}/b.parquet is no readable Parquet file"),
    ("table", "b.csv.gz", {"b.csv.gz": b"no"}, "{}/b.csv.gz is not a readable gzip file"),
    ("atomic", "none", {}, "there is no file or folder {}/none"),
    ("sequences", "none", {}, "{}/none (the path given) is not a file or folder"),
    ("amazon-reviews", "none.jsonl", {}, "there is no file {}/none.jsonl"),
    ("movielens-1m", "none", {}, "{}/none (the path given) is not a folder"),
    ("store", "none", {}, "there is no folder {}/none, which was to hold a store"),
  ],
)
def test_messages_name_the_path_in_the_bucket(source, path, files, sentence, bucket):
  root = f"{bucket}/faults"
  put(root, files)
  settings = {"settings": LOG} if source == "table" else {}
  with pytest.raises((FileNotFoundError, ValueError)) as caught:
    registry.read(source, f"{root}/{path}", **settings)
  assert sentence.format(root) in str(caught.value)
  assert tempfile.gettempdir() not in str(caught.value)


def test_a_placeholder_of_an_empty_folder_is_no_table(bucket):
  root = f"{bucket}/console"
  file_system(root).pipe_file(f"{root}/", b"")
  put(root, {"log.csv": CSV})
  assert registry.read("table", root, settings=LOG).histories.num_users == 6


def test_archives_are_unpacked_locally(bucket, monkeypatch):
  for name in ("SIDREC_CACHE_DIR", "TFDS_DATA_DIR"):
    monkeypatch.setenv(name, f"{bucket}/cache")
  monkeypatch.delenv("SIDREC_DATA_DIR", raising=False)
  with pytest.raises(FileNotFoundError, match="archives are unpacked in a local folder") as caught:
    registry.read("movielens-1m")
  assert f"TFDS: {bucket}/cache/movielens" in str(caught.value)


def test_a_pipe_is_no_table(tmp_path):
  os.mkfifo(tmp_path / "log.csv")
  with pytest.raises(FileNotFoundError, match="there is no file"):
    registry.read("table", str(tmp_path / "log.csv"), settings=LOG)


@pytest.mark.parametrize(
  "source", ["table", "atomic", "sequences", "amazon-reviews", "movielens-1m", "store"]
)
def test_paths_of_every_source_go_through_one_function(source, monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  with pytest.raises(ValueError, match="unknown scheme; paths are local, or begin with gs://"):
    registry.read(source, "ftp://host/log")
  with pytest.raises(FileNotFoundError, match=f"{tmp_path}/none"):
    registry.read(source, "~/none")


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  put(tmp_path, {"log.csv": CSV})
  assert registry.read("table", "~/log.csv", settings=LOG).histories.num_users == 6
  assert registry.read("table", "~/*.csv", settings=LOG).name == tmp_path.name
  (signature,) = registry.signature("table", "~/log.csv")["files"]
  assert signature[0] == os.path.realpath(pathlib.Path(tmp_path, "log.csv"))
