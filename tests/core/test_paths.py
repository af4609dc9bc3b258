import importlib.util
import os
import pathlib

import buckets
import pytest
from etils import epath

from sidrec.core.paths import absolute, as_path, is_local, open_bytes


def test_local_paths_stay_as_they_are(tmp_path):
  assert as_path(tmp_path / "run") == epath.Path(tmp_path / "run")
  assert os.fspath(as_path("runs/demo")) == "runs/demo"
  assert os.fspath(as_path("file:///data/log.csv")) == "/data/log.csv"
  assert os.fspath(as_path("odd:name/log.csv")) == "odd:name/log.csv"


def test_tilde_is_the_home_folder(monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert pathlib.Path(as_path("~/run")) == tmp_path / "run"
  with pytest.raises(ValueError, match="no such user"):
    as_path("~nobody-of-this-name/run")


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("foo://bucket/run", "unknown scheme; paths are local, or begin with gs:// or s3://"),
    ("GS://bucket/run", "unknown scheme"),
    ("https://host/log.csv", "unknown scheme"),
    ("file://host/log.csv", "unknown scheme"),
    ("gs:/bucket/run", "as in gs://bucket/run"),
    ("s3:bucket/run", "as in s3://bucket/run"),
    ("gs://", "names no bucket"),
    (r"C:\runs\demo", "Windows"),
    ("", "no path"),
    ("a\0b", "no path"),
  ],
)
def test_slips_are_refused_in_one_sentence(path, message):
  with pytest.raises(ValueError, match=message) as caught:
    as_path(path)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcs"), ("s3", "s3")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, scheme, extra):
  monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
  with pytest.raises(ModuleNotFoundError, match=rf"pip install sidrec\[{extra}\]"):
    as_path(f"{scheme}://bucket/run")


def test_absolute_follows_links_and_dots(tmp_path, monkeypatch):
  (tmp_path / "data").mkdir()
  (tmp_path / "link").symlink_to(tmp_path / "data")
  monkeypatch.chdir(tmp_path)
  expected = epath.Path(os.path.realpath(tmp_path / "data" / "log.csv"))
  assert absolute("./link/../link/log.csv") == expected == absolute("data/log.csv")


@pytest.mark.parametrize("bucket", [buckets.google, buckets.amazon])
def test_paths_in_buckets(bucket):
  with bucket() as root:
    path = as_path(f"{root}/run/log.csv")
    assert not is_local(path)
    assert absolute(path) == path
    assert not path.exists()
    path.write_bytes(b"1,2\n")
    assert path.exists()
    assert [os.fspath(p) for p in as_path(f"{root}/run").iterdir()] == [f"{root}/run/log.csv"]
    with open_bytes(path) as file:
      file.seek(2)
      assert file.read() == b"2\n"
    with pytest.raises(FileNotFoundError):
      open_bytes(f"{root}/run/other.csv")
