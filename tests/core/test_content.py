"""Stamps and contents of files: a change is noticed, and nothing is read twice."""

import buckets
import pytest

from sidrec.core import content
from sidrec.core.paths import as_path


@pytest.fixture
def read(monkeypatch):
  """The files that were read."""
  names = []
  digest = content.digest
  monkeypatch.setattr(content, "digest", lambda path: (names.append(path), digest(path))[1])
  return names


@pytest.mark.parametrize("bucket", [buckets.google, buckets.amazon])
def test_a_changed_object_is_noticed_and_another_not_read_again(bucket, read):
  with bucket() as root:
    files = [f"{root}/a.csv", f"{root}/b.csv"]
    for file in files:
      as_path(file).write_bytes(b"old")
    before = content.contents(content.stamps(files), {})
    assert read == files
    assert set(before) == {"a.csv", "b.csv"}
    assert content.contents(content.stamps(files), before) == before
    assert read == files
    as_path(files[0]).write_bytes(b"new")  # of equal size, in the same second
    after = content.contents(content.stamps(files), before)
    assert read == [*files, files[0]]
    assert not content.same_contents(before, after)
    as_path(files[0]).write_bytes(b"old")
    assert content.same_contents(before, content.contents(content.stamps(files), after))
    with pytest.raises(FileNotFoundError, match=f"no file {root}/c.csv, which the config names"):
      content.stamps([f"{root}/c.csv"])


def test_files_on_disk_and_in_a_bucket_count_together(tmp_path):
  (tmp_path / "items.csv").write_text("id\n")
  with buckets.google() as root:
    as_path(f"{root}/log.csv").write_bytes(b"1")
    stamps = content.stamps([tmp_path / "items.csv", f"{root}/log.csv"])
    assert {name.rpartition("/")[2] for name in content.contents(stamps, {})} == {
      "items.csv",
      "log.csv",
    }


def test_a_touched_file_is_read_again_and_the_same(tmp_path, read):
  file = tmp_path / "log.csv"
  file.write_text("1")
  before = content.contents(content.stamps([file]), {})
  file.write_text("1")
  after = content.contents(content.stamps([file]), before)
  assert len(read) == 2
  assert content.same_contents(before, after)
