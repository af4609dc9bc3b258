import contextlib
import pathlib

import buckets
import numpy as np
import pytest

from sidrec.core import atomic
from sidrec.core.paths import as_path


@pytest.fixture(params=["local", "google", "amazon"])
def folder(request, tmp_path):
  places = {"google": buckets.google, "amazon": buckets.amazon}
  place = places.get(request.param, lambda: contextlib.nullcontext(str(tmp_path)))
  with place() as root:
    yield as_path(f"{root}/run")


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_an_error_leaves_the_old_file_and_no_draft(folder):
  atomic.write_whole_text(folder / "a.txt", "old")

  def fail(file):
    file.write(b"half")
    raise RuntimeError("stop")

  with pytest.raises(RuntimeError, match="stop"):
    atomic.write_whole(folder / "a.txt", fail)
  assert (folder / "a.txt").read_text() == "old"
  assert names(folder) == ["a.txt"]
  atomic.write_whole_text(folder / "a.txt", "néw")
  assert (folder / "a.txt").read_bytes() == "néw".encode()


def test_arrays_come_back(folder):
  array = np.arange(12, dtype=np.float32).reshape(3, 4)
  atomic.save_array(folder / "a.npy", array)
  for in_memory in (False, True):
    loaded = atomic.load_array(folder / "a.npy", in_memory=in_memory)
    np.testing.assert_array_equal(loaded, array)
    mapped = not in_memory and "://" not in str(folder)
    assert isinstance(loaded, np.memmap) == mapped

  atomic.write_whole(folder / "a.npz", lambda file: np.savez_compressed(file, first=array))
  with atomic.open_arrays(folder / "a.npz") as arrays:
    np.testing.assert_array_equal(arrays["first"], array)


def test_pickles_are_refused(folder):
  with pytest.raises(ValueError, match="Object arrays"):
    atomic.save_array(folder / "a.npy", np.array([{}], object))
  atomic.write_whole(folder / "b.npy", lambda file: np.save(file, np.array([{}], object)))
  with pytest.raises(ValueError, match="Object arrays"):
    atomic.load_array(folder / "b.npy", in_memory=True)


def test_a_whole_folder_is_for_local_disks(folder):
  if "://" in str(folder):
    with pytest.raises(ValueError, match="local folder only"), atomic.whole_folder(folder):
      pass
    return
  with contextlib.suppress(KeyError), atomic.whole_folder(folder) as draft:
    (draft / "a.txt").write_text("half")
    raise KeyError
  assert list(pathlib.Path(folder).parent.iterdir()) == []
  with atomic.whole_folder(folder) as draft:
    (draft / "a.txt").write_text("whole")
  assert names(folder) == ["a.txt"]
  with pytest.raises(FileExistsError, match="is there already"), atomic.whole_folder(folder):
    pass


def write_folder(path, may_go, *, and_then=lambda: None):
  with atomic.whole_folder(path, lambda folder: may_go) as draft:
    (draft / "new").write_text("2")
    and_then()


def stop():
  raise RuntimeError


def test_a_whole_folder_replaces_what_it_may_and_keeps_the_old_one_on_an_error(tmp_path):
  old, link = tmp_path / "old", tmp_path / "link"
  old.mkdir()
  (old / "mine").write_text("1")
  link.symlink_to(old)
  with pytest.raises(FileExistsError, match="is there already"):
    write_folder(old, False)
  with pytest.raises(RuntimeError):
    write_folder(old, True, and_then=stop)
  assert names(old) == ["mine"]
  write_folder(link, True)
  assert names(old) == ["new"]
  assert names(tmp_path) == ["link", "old"]


def test_what_appears_while_a_whole_folder_is_written_stays(tmp_path):
  place = tmp_path / "a"

  def appear():
    place.mkdir()
    (place / "other").write_text("1")

  with pytest.raises(FileExistsError, match="is there now"):
    write_folder(place, False, and_then=appear)
  assert names(place) == ["other"]
  assert names(tmp_path) == ["a"]
