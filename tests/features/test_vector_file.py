import io
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sidrec.data.sources import registry
from sidrec.data.sources.build import item_table
from sidrec.features import vector_file
from sidrec.features.settings import VectorFileConfig

DATA = (Path(__file__).resolve().parents[2] / "../shared/data").resolve()
VECTORS = np.array([[1, 10], [2, 20], [3, 30], [4, 40]], np.float16)


def catalogue(ids):
  return item_table(ids, [""] * len(ids), [()] * len(ids), {})


def file_vectors(path, items, **names):
  return vector_file.file_vectors(items, VectorFileConfig(path=str(path), **names))


def save_npz(path, ids, vectors=VECTORS, **others):
  np.savez(path, item_id=ids, embedding=vectors, **others)
  return path


def save_parquet(path, **columns):
  pl.DataFrame(columns).write_parquet(path)
  return path


def test_rows_follow_the_catalogue(tmp_path):
  path = save_npz(tmp_path / "v.npz", np.array([7, 3, 9, 5]))
  vectors_NxF, note = file_vectors(path, catalogue([3, 5, 7]))
  assert vectors_NxF.dtype == np.float32
  np.testing.assert_array_equal(vectors_NxF, [[2, 20], [4, 40], [1, 10]])
  assert note == ("v.npz: 3 of 3 items have a vector of width 2; rows of other items, ignored: 1")


@pytest.mark.parametrize(("missing", "filled"), [("mean", [1.5, 15]), ("zero", [0, 0])])
def test_items_that_the_file_lacks_are_filled_and_reported(tmp_path, missing, filled):
  path = save_npz(tmp_path / "v.npz", np.array([3, 5, 98, 99]))
  items = catalogue([1, 3, 5, 10, 11, 12, 13, 14])
  vectors_NxF, note = file_vectors(path, items, missing=missing)
  np.testing.assert_array_equal(vectors_NxF[1:3], [[1, 10], [2, 20]])
  np.testing.assert_array_equal(vectors_NxF[[0, 3, 4, 5, 6, 7]], [filled] * 6)
  assert "2 of 8 items have" in note
  assert "6 have none, the first ones being 1, 10, 11, 12, 13, …" in note
  with pytest.raises(ValueError, match="6 have none, the first ones being 1, 10"):
    file_vectors(path, items, missing="error")


@pytest.mark.parametrize(
  ("in_file", "in_catalogue"),
  [
    (np.array(["12", "3", "45", "6"]), [3, 12]),
    (np.array([12, 3, 45, 6], np.uint16), ["3", "12"]),
    (np.array([12.0, 3.0, 45.0, 6.0]), [3, 12]),
    (np.array([b"12", b"3", b"45", b"6"]), ["3", "12"]),
    (np.array(["0012", "0003", "45", "0"]), [3, 12]),
    (np.array([12, 3, 45, 0]), ["0003", "0012"]),
  ],
)
def test_ids_match_as_numbers_or_text(tmp_path, in_file, in_catalogue):
  vectors_NxF, _ = file_vectors(save_npz(tmp_path / "v.npz", in_file), catalogue(in_catalogue))
  np.testing.assert_array_equal(vectors_NxF, [[2, 20], [1, 10]])


def test_text_ids_on_both_sides_keep_their_zeros(tmp_path):
  path = save_npz(tmp_path / "v.npz", np.array(["12", "012", "3", "4"]))
  vectors_NxF, _ = file_vectors(path, catalogue(["012", "12"]))
  np.testing.assert_array_equal(vectors_NxF, [[2, 20], [1, 10]])
  path = save_npz(tmp_path / "v.npz", np.array([12, 13, 14, 15]))
  with pytest.raises(ValueError, match="differ in leading zeros alone"):
    file_vectors(path, catalogue(["012", "12"]))


def test_arrays_of_other_names(tmp_path):
  np.savez(tmp_path / "v.npz", asin=np.array(["a", "b"]), image=VECTORS[:2])
  vectors_NxF, _ = file_vectors(
    tmp_path / "v.npz", catalogue(["b", "a"]), id="asin", vector="image"
  )
  np.testing.assert_array_equal(vectors_NxF, [[2, 20], [1, 10]])
  with pytest.raises(ValueError, match="no array 'item_id'; it has asin, image"):
    file_vectors(tmp_path / "v.npz", catalogue(["b", "a"]))


def test_npy_structured_and_plain(tmp_path):
  table = np.zeros(3, [("item_id", "U3"), ("embedding", np.float64, 2)])
  table["item_id"], table["embedding"] = ["c", "a", "b"], VECTORS[:3]
  np.save(tmp_path / "structured.npy", table)
  vectors_NxF, _ = file_vectors(tmp_path / "structured.npy", catalogue(["a", "b", "c"]))
  np.testing.assert_array_equal(vectors_NxF, VECTORS[[1, 2, 0]])
  with pytest.raises(ValueError, match="no field 'id'; it has item_id, embedding"):
    file_vectors(tmp_path / "structured.npy", catalogue(["a"]), id="id")

  np.save(tmp_path / "plain.npy", VECTORS)
  vectors_NxF, _ = file_vectors(tmp_path / "plain.npy", catalogue(["d", "c", "b", "a"]))
  np.testing.assert_array_equal(vectors_NxF, VECTORS)
  with pytest.raises(ValueError, match="no ids and 4 rows, but the catalogue has 3 items"):
    file_vectors(tmp_path / "plain.npy", catalogue([1, 2, 3]))


def test_parquet_with_lists_or_columns(tmp_path):
  ids = ["c", "a", "b"]
  lists = save_parquet(
    tmp_path / "lists.parquet", title=["x", "y", "z"], item_id=ids, embedding=VECTORS[:3].tolist()
  )
  columns = save_parquet(
    tmp_path / "columns.parquet", f0=[1.0, 2.0, 3.0], item_id=ids, f1=[10, 20, 30]
  )
  for path in (lists, columns):
    vectors_NxF, _ = file_vectors(path, catalogue(["a", "b", "c"]))
    np.testing.assert_array_equal(vectors_NxF, VECTORS[[1, 2, 0]])


def test_parquet_with_fixed_size_lists(tmp_path):
  vectors = pl.Series(VECTORS.tolist(), dtype=pl.Array(pl.Float32, 2))
  path = save_parquet(tmp_path / "v.parquet", item_id=[4, 3, 2, 1], embedding=vectors)
  vectors_NxF, _ = file_vectors(path, catalogue([1, 2, 3, 4]))
  np.testing.assert_array_equal(vectors_NxF, VECTORS[::-1])


def test_a_file_of_parquet_may_have_any_name(tmp_path):
  path = save_parquet(tmp_path / "v[1]*.parquet", item_id=[1], embedding=[[3.0]])
  np.testing.assert_array_equal(file_vectors(path, catalogue([1]))[0], [[3.0]])


@pytest.mark.parametrize(
  ("columns", "message"),
  [
    ({"id": [1], "embedding": [[1.0]]}, "no column 'item_id'; it has id, embedding"),
    ({"item_id": [1], "brand": ["x"]}, "besides 'item_id': brand is String"),
    ({"item_id": [1]}, "it has no other"),
    ({"item_id": [1, 2, 3], "embedding": [[1.0, 2.0], [1.0], [3.0, 4.0]]}, "item 2 has 1 numbers"),
    ({"item_id": [1, 2, 3], "embedding": [[1.0, 2.0], None, [3.0, 4.0]]}, "item 2 has 0 numbers"),
    ({"item_id": [1, 2], "embedding": [[1.0, 2.0], [None, 1.0]]}, "item 2 holds NaN"),
    ({"item_id": [1, 2], "f": [1.0, None]}, "item 2 holds NaN"),
    ({"item_id": [1, None], "f": [1.0, 2.0]}, "1 rows have no item_id"),
    ({"item_id": [1], "embedding": ["x"]}, "must hold lists of numbers"),
    (
      {"item_id": [1, 2], "embedding": pl.Series([[], []], dtype=pl.List(pl.Int64))},
      r"have shape \(2, 0\)",
    ),
    ({"item_id": [1.5], "embedding": [[1.0]]}, "give integers or text"),
  ],
)
def test_bad_parquet_is_named(tmp_path, columns, message):
  with pytest.raises(ValueError, match=message):
    file_vectors(save_parquet(tmp_path / "v.parquet", **columns), catalogue([1, 2]))


@pytest.mark.parametrize(
  ("ids", "vectors", "message"),
  [
    ([1, 2, 1, 3], VECTORS, "two vectors of item 1, in rows 0 and 2"),
    ([1, 2, 3, 4], [[1, 1], [1, np.nan], [1, 1], [1, 1]], "item 2 holds NaN or infinity"),
    ([1, 2, 3, 4], [[1, 1], [1, 1e39], [1, 1], [1, 1]], "item 2 holds NaN or infinity"),
    ([1, 2, 3], VECTORS, r"ids have shape \(3,\) and the vectors \(4, 2\)"),
    ([1, 2, 3, 4], [1, 2, 3, 4], r"vectors have shape \(4,\); give \[items, width\]"),
    ([1, 2, 3, 4], [["a"]] * 4, "vectors are <U1; give real numbers"),
    ([1.5, 2, 3, 4], VECTORS, "ids are float64; give integers or text"),
    ([7, 8, 9, 10], VECTORS, "no vector of any item: its ids are 7, 8, 9, 10, those of .* 1, 2"),
  ],
)
def test_bad_arrays_are_named(tmp_path, ids, vectors, message):
  path = save_npz(tmp_path / "v.npz", np.array(ids), np.array(vectors))
  with pytest.raises(ValueError, match=message):
    file_vectors(path, catalogue([1, 2]))


def test_a_bad_vector_of_an_ignored_item_does_no_harm(tmp_path):
  path = save_npz(tmp_path / "v.npz", np.array([1, 9]), np.array([[1.0], [np.nan]]))
  vectors_NxF, _ = file_vectors(path, catalogue([1]))
  np.testing.assert_array_equal(vectors_NxF, [[1]])


@pytest.mark.parametrize("suffix", ["npz", "npy", "parquet"])
def test_broken_files_are_named(tmp_path, suffix):
  path = tmp_path / f"v.{suffix}"
  path.write_bytes(b"not what its name says")
  with pytest.raises(ValueError, match=rf"v\.{suffix} is no readable"):
    file_vectors(path, catalogue([1]))


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_headers_that_ask_for_too_much_are_refused(tmp_path, suffix):
  header = {"descr": "<f4", "fortran_order": False, "shape": (2**42, 384)}
  buffer = io.BytesIO()
  np.lib.format.write_array_header_1_0(buffer, header)
  path = tmp_path / f"v.{suffix}"
  path.write_bytes(buffer.getvalue() + bytes(64))
  if suffix == "npz":
    with zipfile.ZipFile(path, "w") as file:
      file.writestr("embedding.npy", buffer.getvalue() + bytes(64))
  with pytest.raises(ValueError, match=rf"v\.{suffix} is no readable"):
    file_vectors(path, catalogue([1]))


def test_ids_of_parquet_are_read_as_those_of_logs(tmp_path):
  uuid = bytes.fromhex("f81d4fae7dec11d0a76500a0c91e6b00")
  path = save_parquet(tmp_path / "v.parquet", item_id=[uuid], embedding=[[1.0, 2.0]])
  vectors_NxF, _ = file_vectors(path, catalogue(["f81d4fae-7dec-11d0-a765-00a0c91e6b00"]))
  np.testing.assert_array_equal(vectors_NxF, [[1, 2]])
  path = save_parquet(tmp_path / "v.parquet", item_id=[{"a": 1}], embedding=[[1.0, 2.0]])
  with pytest.raises(ValueError, match=r"v\.parquet: column 'item_id' is of type Struct"):
    file_vectors(path, catalogue([1]))


def test_messages_cut_long_ids(tmp_path):
  path = save_npz(tmp_path / "v.npz", np.array(["x" * 140_000]), np.ones((1, 2)))
  with pytest.raises(ValueError, match="no vector of any item") as error:
    file_vectors(path, catalogue(["y" * 140_000]))
  assert len(str(error.value)) < 1000


def test_a_folder_of_home(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  save_npz(tmp_path / "v.npz", np.array([1, 2, 3, 4]))
  assert file_vectors("~/v.npz", catalogue([1]))[0].tolist() == [[1, 10]]


def test_objects_are_never_unpickled(tmp_path):
  np.savez(tmp_path / "v.npz", item_id=np.array([1]), embedding=np.array([[{}]], object))
  with pytest.raises(ValueError, match="no readable"):
    file_vectors(tmp_path / "v.npz", catalogue([1]))


def test_other_files_and_rules_are_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match="no file of item vectors at"):
    file_vectors(tmp_path / "v.npz", catalogue([1]))
  with pytest.raises(ValueError, match=r"\.npz, \.npy, \.parquet"):
    file_vectors(tmp_path / "v.csv", catalogue([1]))
  with pytest.raises(ValueError, match=r"one of .*'mean'"):
    file_vectors(tmp_path / "v.npz", catalogue([1]), missing="guess")


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the folder shared/data")
def test_sentence_vectors_of_real_catalogues():
  for source, folder in [("movielens-1m", "ml-1m"), ("demo", "movietweetings-100k")]:
    items = registry.read(source, str(DATA / folder) if source != "demo" else "").items
    vectors_NxF, note = file_vectors(DATA / folder / "item_text_minilm.npz", items, missing="error")
    assert vectors_NxF.shape == (items.num_items, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors_NxF, axis=1), 1, atol=1e-2)
    assert f"{items.num_items:,} of {items.num_items:,} items have" in note
