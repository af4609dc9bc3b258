"""A data set comes back from its file bit by bit."""

import json
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import build_from

from sidrec.data import cache, dataset
from sidrec.data.sources.build import item_table
from sidrec.data.sources.demo import read_demo


def _small(titles: list[str] = ["Zoë 映画", "", "c"], users: str = "uv") -> dataset.Dataset:  # noqa: B006
  metadata = item_table(
    ids=[3, 1, 2, 9],
    titles=[*titles, "nobody's, and longer than the others"],
    categories=[["y", "x"], [], ["ÿ"], []],
    numeric={"year": [1990, float("nan"), 2000, 0], "price/€": [0.1, 0.2, 0.3, 0]},
    text=["", "long " * 100, "x", ""],
  )
  user_T = np.repeat(list(users), 3)
  item_T = np.tile([1, 2, 3], len(users))
  rating_T = np.where(item_T == 2, np.nan, item_T)
  return build_from("small", user_T, item_T, item_T * 10**12, rating_T, metadata, notes=["ä note"])


def _content(data: dataset.Dataset) -> list:
  """All that a data set holds, as values that are equal only if every bit is."""
  columns = [*data.histories, *data.items._replace(numeric={}), *data.items.numeric.values()]
  assert columns.pop(dataset.Histories._fields.index("request_time_U")) is None
  arrays = [x for x in columns if isinstance(x, np.ndarray)]
  told = [(x.dtype, x.shape, x.tobytes()) for x in arrays]
  return [data.name, data.notes, list(data.items.numeric), *told]


def test_round_trip_of_the_demo(tmp_path: Path) -> None:
  data = read_demo()
  cache.save_dataset(tmp_path / "demo.npz", data)
  assert _content(cache.load_dataset(tmp_path / "demo.npz")) == _content(data)


def test_round_trip_keeps_missing_values_and_integer_and_text_ids(tmp_path: Path) -> None:
  data = _small()
  assert data.items.ids_N.dtype.kind == "i"
  assert data.histories.user_ids_U.dtype.kind == "T"
  path = tmp_path / "new folder" / "cache"  # the name is kept as it is
  cache.save_dataset(path, data)
  assert _content(cache.load_dataset(path)) == _content(data)
  assert [file.name for file in path.parent.iterdir()] == ["cache"]


def test_round_trip_of_users_and_caches_without_them(tmp_path: Path) -> None:
  data = _small(users="uvw")
  users = {
    "age/€": np.array([1, np.nan, 3], np.float32),
    "job": np.array(["ö", "", "c"], dataset.TEXT),
  }
  path = tmp_path / "d.npz"
  cache.save_dataset(path, data._replace(users=users))
  found = cache.load_dataset(path)
  assert _content(found) == _content(data)
  assert list(found.users) == list(users)
  for name, column in users.items():
    assert found.users[name].dtype == column.dtype
    np.testing.assert_array_equal(found.users[name], column)
  with np.load(path) as file:  # as earlier versions wrote it
    arrays = {name: file[name] for name in file if not name.startswith("user_0")}
  header = json.loads(arrays["header"].tobytes())
  del header["users"]
  arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
  np.savez(path, **arrays)
  assert dict(cache.load_dataset(path).users) == {}


def test_round_trip_of_items_about_which_nothing_is_known(tmp_path: Path) -> None:
  data = build_from("bare", [1, 1, 1], [5, 6, 7], [1, 2, 3], [1, 2, 3], item_table([], [], [], {}))
  assert len(data.items.categories_C) == 0
  cache.save_dataset(tmp_path / "bare.npz", data)
  assert _content(cache.load_dataset(tmp_path / "bare.npz")) == _content(data)


@settings(max_examples=30)
@given(titles=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=3, max_size=3))
def test_round_trip_of_any_titles(tmp_path_factory: pytest.TempPathFactory, titles: list) -> None:
  path = tmp_path_factory.getbasetemp() / "titles.npz"
  data = _small(titles)
  cache.save_dataset(path, data)
  assert _content(cache.load_dataset(path)) == _content(data)


def test_an_interrupted_save_leaves_the_old_file(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  path = tmp_path / "c.npz"
  cache.save_dataset(path, _small())

  def interrupted(file: IO[bytes], **arrays: object) -> None:
    file.write(b"half")
    raise OSError("no space left")

  monkeypatch.setattr(np, "savez", interrupted)
  with pytest.raises(OSError, match="no space left"):
    cache.save_dataset(path, _small(users="xyz"))
  assert _content(cache.load_dataset(path)) == _content(_small())
  assert [file.name for file in tmp_path.iterdir()] == ["c.npz"]


def test_damage_is_an_error(tmp_path: Path) -> None:
  path = tmp_path / "c.npz"
  cache.save_dataset(path, _small())
  whole = path.read_bytes()
  for damaged in (
    whole[: len(whole) // 2],
    whole.replace("映画".encode(), "映図".encode()),  # still text, but not what was written
    b"",
    b"no archive",
  ):
    assert damaged != whole
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"c\.npz is no data set cache, or damaged"):
      cache.load_dataset(path)


def test_other_files_are_an_error(tmp_path: Path) -> None:
  np.savez(tmp_path / "other.npz", x=np.zeros(3))
  np.save(tmp_path / "array.npy", np.zeros(3))
  np.savez(tmp_path / "pickled.npz", header=np.array([{}]))
  for name in ("other.npz", "array.npy", "pickled.npz"):
    with pytest.raises(ValueError, match=f"{name} is no data set cache"):
      cache.load_dataset(tmp_path / name)
  with pytest.raises(FileNotFoundError):
    cache.load_dataset(tmp_path / "absent.npz")


def test_another_format_is_an_error(tmp_path: Path) -> None:
  header = np.frombuffer(json.dumps({"format": 0}).encode(), np.uint8)
  np.savez(tmp_path / "old.npz", header=header)
  with pytest.raises(ValueError, match=r"old\.npz has cache format 0, but this version reads 2"):
    cache.load_dataset(tmp_path / "old.npz")


def test_what_breaks_the_contract_is_not_loaded(tmp_path: Path) -> None:
  data = _small()
  broken = data._replace(histories=data.histories._replace(item_T=data.histories.item_T + 1))
  cache.save_dataset(tmp_path / "c.npz", broken)
  with pytest.raises(ValueError, match="names an item outside the catalogue"):
    cache.load_dataset(tmp_path / "c.npz")
