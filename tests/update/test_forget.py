"""Users who asked to be forgotten are in no file of the run's folder."""

import contextlib
import io
import zipfile

import pytest
from shop import GROWN, ITEMS, ROWS_OF_LOG, by_id

from sidrec.serving.store import Event
from sidrec.serving.store_sqlite import SQLiteStore
from sidrec.update.forget import read_users
from sidrec.update.update import UpdateRefusedError

pa = pytest.importorskip("pyarrow")
ZSTD = b"\x28\xb5\x2f\xfd"  # how its frames begin
ID = "user-07"  # of somebody with 8 events
RARE = "item-of-user-07-alone"


def files_with(folder, text):
  """The files that hold a text, also within archives and compressed parts."""
  found = []
  for path in sorted(folder.rglob("*")):
    if path.is_file() and holds(path.read_bytes(), text.encode()):
      found.append(path.relative_to(folder).as_posix())
  return found


def holds(raw, text):
  if text in raw:
    return True
  if zipfile.is_zipfile(io.BytesIO(raw)):
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
      return any(holds(archive.read(name), text) for name in archive.namelist())
  start = raw.find(ZSTD)
  while start >= 0:
    if text in unpacked(raw[start:]):
      return True
    start = raw.find(ZSTD, start + 1)
  return False


def unpacked(raw):
  """What a frame of zstd holds; what follows it is none."""
  parts = []
  try:
    with pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as stream:
      while part := stream.read(1 << 12):
        parts.append(part)
  except OSError:
    pass
  return b"".join(parts)


@pytest.fixture
def users(tmp_path):
  path = tmp_path / "forget.txt"
  path.write_text(f"{ID}\n\nnobody\n{ID}\n")
  return read_users(path)


def without(rows):
  return [row for row in rows if row[0] != ID]


def test_users_disappear_from_every_file(shop, users, capsys):
  assert users == (ID, "nobody")
  path = shop.workdir / "serving" / "events.sqlite"
  store = SQLiteStore(path)
  store.append([Event(ID, ITEMS[1], 5.0), Event("other", ITEMS[1], 6.0), Event(ID, "x", 7.0)])
  (shop.workdir / "cold_start").mkdir()
  (shop.workdir / "cold_start" / "log.txt").write_text(ID)
  (shop.workdir / "given").mkdir()
  (shop.workdir / "given" / "log.csv").write_text(ID)
  assert "stages/prepare.1/dataset.npz" in files_with(shop.workdir, ID)
  shop.write(without(ROWS_OF_LOG + GROWN))
  with pytest.raises(ValueError, match=r"a server has it open.*stop the server"):
    shop.update(forget_users=users)
  store.close()
  shop.update(forget_users=users)
  assert files_with(shop.workdir, ID) == []
  out = capsys.readouterr().out
  assert "removed 3 older outputs of stages" in out
  assert "removed 2 rows of them from serving/events.sqlite" in out
  assert "cold_start" in out
  assert "events in other stores of servers (--store=…) are not touched" in out
  with contextlib.closing(SQLiteStore(path)) as kept:
    assert kept.events_of("other", 9) == [Event("other", ITEMS[1], 6.0)]
  after = shop.load()
  assert ID not in after.asker.user_of
  assert "a-user" in after.asker.user_of
  shop.update(forget_users=users)  # nothing is left to forget, and nothing is lost
  assert by_id(shop.load()) == by_id(after)


def test_users_alone_may_go_and_with_them_their_items(shop, users):
  before = by_id(shop.load())
  rare = (ID, RARE, 99)
  shop.write([*ROWS_OF_LOG, rare], (RARE,))
  shop.update()
  assert RARE in by_id(shop.load())
  shop.write(without(ROWS_OF_LOG), ())
  shop.update(forget_users=users)
  assert by_id(shop.load()) == before
  assert files_with(shop.workdir, ID) == []


def test_users_in_the_log_are_refused_before_anything_is_written(shop, users):
  shop.grow()
  with pytest.raises(ValueError, match="still holds 1 of the users to forget"):
    shop.update(forget_users=users)
  assert not (shop.workdir / "stages" / "prepare.2").exists()


def test_a_refusal_says_that_users_are_still_there_and_a_kill_is_made_good(
  shop, users, measured, monkeypatch
):
  measured["updated"] = 0.1
  shop.write(without(ROWS_OF_LOG + GROWN))
  with pytest.raises(UpdateRefusedError, match="the users to forget are still in it"):
    shop.update(forget_users=users)
  assert files_with(shop.workdir, ID)
  from sidrec.update import update as module

  def killed(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(module, "_forget", killed)
    with pytest.raises(KeyboardInterrupt):
      shop.update(forget_users=users, force=True)
  assert files_with(shop.workdir, ID)
  shop.update(forget_users=users)
  assert files_with(shop.workdir, ID) == []


def test_files_of_users(tmp_path):
  with pytest.raises(FileNotFoundError):
    read_users(tmp_path / "none")
  (tmp_path / "empty").write_text(" \n")
  with pytest.raises(ValueError, match="names nobody"):
    read_users(tmp_path / "empty")


def test_the_search_for_ids_looks_into_compressed_files(tmp_path):
  with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("x", ID * 9)
  packed = pa.compress(ID.encode() * 9, "zstd", asbytes=True)
  assert ID.encode() * 2 not in packed
  (tmp_path / "b").write_bytes(b"head" + packed + b"tail")
  assert files_with(tmp_path, ID) == ["a.npz", "b"]
