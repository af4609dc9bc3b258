import contextlib
import json

import buckets
import pytest

from sidrec.core import checksums
from sidrec.core.paths import as_path


@pytest.fixture(params=["local", "google", "amazon"])
def folder(request, tmp_path):
  places = {"google": buckets.google, "amazon": buckets.amazon}
  place = places.get(request.param, lambda: contextlib.nullcontext(str(tmp_path)))
  with place() as root:
    made = as_path(f"{root}/params")
    (made / "d").mkdir(parents=True)
    (made / "manifest").write_bytes(b"abc")
    (made / "d/data").write_bytes(b"")
    yield made


def test_sizes_and_digests_of_a_folder_and_a_file(folder):
  empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
  assert checksums.of(folder) == {"d/data": [0, empty], "manifest": [3, abc]}
  assert checksums.of(folder / "manifest") == {".": [3, abc]}
  with pytest.raises(FileNotFoundError, match="other is not there"):
    checksums.of(folder / "other")


def test_every_change_names_its_file_and_what_to_do(folder):
  recorded = json.loads(json.dumps(checksums.of(folder)))
  (folder / "later").write_bytes(b"of no interest")
  checksums.verify(folder, recorded, "run it again")
  for content, words in [(b"abb", "damaged"), (b"ab", "has 2 bytes and not 3"), (None, "missing")]:
    if content is None:
      (folder / "manifest").unlink()
    else:
      (folder / "manifest").write_bytes(content)
    with pytest.raises(ValueError, match=rf"params/manifest .*{words}.*; run it again$") as caught:
      checksums.verify(folder, recorded, "run it again")
    assert "\n" not in str(caught.value)


def test_a_single_file_is_named(folder):
  recorded = checksums.of(folder / "manifest")
  (folder / "manifest").write_bytes(b"abd")
  with pytest.raises(ValueError, match=r"/manifest is damaged"):
    checksums.verify(folder / "manifest", recorded, "run it again")


@pytest.mark.parametrize("garbled", [[], {"manifest": 3}, {"manifest": ["x", 1]}, None])
def test_garbled_records_do_not_pass(tmp_path, garbled):
  with pytest.raises(ValueError, match="are garbled"):
    checksums.find_damage(tmp_path, garbled)
