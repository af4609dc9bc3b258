"""A store in a bucket is the store on disk; one is written to the disk only."""

import tempfile
import time

import buckets
import numpy as np
import pytest
from tiny import assert_same, make_dataset

from sidrec.core.paths import as_path, file_system
from sidrec.data import batches, store
from sidrec.data.prepare import command
from sidrec.data.settings import DataConfig
from sidrec.data.sources import registry

CSV = "user_id,item_id,timestamp\n" + "".join(
  f"{user},{item},{user + item}\n" for user in range(9) for item in range(user, user + 5)
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
  """The same store on disk and in a bucket."""
  local = tmp_path_factory.mktemp("stores") / "local"
  store.write_store(local, make_dataset(), 3)
  with buckets.amazon() as root:
    file_system(root).put(str(local), f"{root}/store", recursive=True)
    yield local, f"{root}/store"


def test_it_is_read_as_from_the_disk(stores, tmp_path, monkeypatch):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  local, remote = stores
  for users in (0, 20):
    assert_same(
      registry.read("store", str(local), users=users), registry.read("store", remote, users=users)
    )
  assert not any(tmp_path.iterdir())
  assert_same(store.load_store(local), store.load_store(remote))
  stamps = [registry.signature("store", path)["files"] for path in (str(local), remote)]
  assert [size for _, size, _ in stamps[0]] == [size for _, size, _ in stamps[1]]


def test_batches_are_those_of_the_disk(stores, tmp_path, monkeypatch):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  made = [
    store.from_shards(batches.packed_batches, path)(make_dataset().histories, 4, 8, 0)
    for path in stores
  ]
  for step in (0, 5):
    one, other = (batch_at(step) for batch_at in made)
    for name, array in one.items():
      np.testing.assert_array_equal(array, other[name])
  # The readers hold the shards without their names; threads may still read for the next steps.
  until = time.monotonic() + 30
  while (left := list(tmp_path.rglob("*"))) and time.monotonic() < until:
    time.sleep(0.05)
  assert not left


def test_damage_is_named_as_it_lies_in_the_bucket(stores):
  _, remote = stores
  copy = remote.replace("/store", "/copy")
  file_system(remote).copy(remote, copy, recursive=True)
  shard = sorted(as_path(copy).glob("*array_record*"))[1]
  whole = shard.read_bytes()
  shard.write_bytes(b"\0" * len(whole))
  with pytest.raises(ValueError, match=f"^{shard} is damaged, copy or prepare it again"):
    store.load_store(copy)
  shard.write_bytes(whole[:-1])
  with pytest.raises(ValueError, match=f"^{shard} has {len(whole) - 1:,} bytes instead of"):
    store.open_store(copy)
  shard.unlink()
  with pytest.raises(FileNotFoundError, match=f"^{copy} lacks the shard {shard.name}"):
    store.open_store(copy)
  (as_path(copy) / "store.json").unlink()
  with pytest.raises(ValueError, match=f"^{copy} is no store of histories"):
    store.open_store(copy)


def test_prepare_reads_a_bucket_and_writes_to_the_disk(stores, tmp_path, monkeypatch):
  root = stores[1].removesuffix("/store")
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  as_path(f"{root}/raw/log.csv").write_bytes(CSV.encode())
  data = DataConfig(source="table", path=f"{root}/raw/*.csv")
  command.prepare(data, "~/store")
  assert [path.name for path in tmp_path.iterdir()] == ["home"]
  read = registry.read("table", data.path, **registry.settings_of(data))
  assert_same(store.load_store(tmp_path / "home" / "store"), read)
  with pytest.raises(ValueError, match=f"^{root}/new: this is written to a local folder only"):
    command.prepare(data, f"{root}/new")
