"""Copies of files in buckets: made once, never stale, gone in the end, refused without room."""

import collections
import shutil
import tempfile

import buckets
import pytest

from sidrec.core import copies
from sidrec.core.paths import as_path, file_system


@pytest.fixture(scope="module")
def bucket():
  with buckets.amazon() as root:
    yield root


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Where copies are made."""
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  return tmp_path


@pytest.fixture
def fetched(bucket, monkeypatch):
  """The files that were downloaded."""
  names = []
  system = file_system(bucket)
  get = system.get_file
  monkeypatch.setattr(system, "get_file", lambda *args: (names.append(args[0]), get(*args)))
  return names


def test_a_local_file_is_itself(tmp_path):
  assert copies.local(tmp_path / "log.csv") == tmp_path / "log.csv"


def test_a_block_fetches_a_file_once_and_deletes_its_copy(bucket, folder, fetched):
  path = as_path(f"{bucket}/log.csv")
  path.write_bytes(b"one")
  with copies.kept():
    with copies.kept():
      copy = copies.local(path)
    assert copies.local(path) == copy
    assert copy.read_bytes() == b"one"
    assert copy.name.endswith("log.csv")
    path.write_bytes(b"two")
    assert copies.local(path).read_bytes() == b"two"
    assert copy.read_bytes() == b"one"
  assert fetched == [str(path), str(path)]
  assert not any(folder.iterdir())


def test_an_error_deletes_copies_too(bucket, folder):
  as_path(f"{bucket}/log.csv").write_bytes(b"one")
  with pytest.raises(ZeroDivisionError), copies.kept():
    len(copies.local(f"{bucket}/log.csv").read_bytes()) / 0
  assert not any(folder.iterdir())


def test_what_is_not_there_is_named_as_it_was_given(bucket):
  with pytest.raises(FileNotFoundError, match=f"^there is no file {bucket}/none.csv$"):
    copies.local(f"{bucket}/none.csv")


def test_a_disk_without_room_is_said_before_anything_is_fetched(
  bucket, folder, fetched, monkeypatch
):
  as_path(f"{bucket}/log.csv").write_bytes(b"seven b")
  usage = collections.namedtuple("usage", "free")(6)
  monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
  with copies.kept(), pytest.raises(OSError, match=r"has 7 bytes, but .* has 6 left; set TMPDIR"):
    copies.local(f"{bucket}/log.csv")
  assert not fetched
