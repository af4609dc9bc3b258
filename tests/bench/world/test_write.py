"""The files of a world: the same in any chunks, readable, and made in little memory."""

import tracemalloc

import numpy as np
import pytest

from sidrec.bench.world import write
from sidrec.bench.world.catalogue import ids_of, leaves_of, make_catalogue, rows_of
from sidrec.bench.world.settings import WorldConfig
from sidrec.bench.world.users import simulate
from sidrec.bench.world.vectors import item_vectors
from sidrec.data import store

CONFIG = WorldConfig(items=90, users=40, mean_length=8.0)


def quiet(line):
  pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp("worlds") / "world"
  write.write_world(path, CONFIG, say=quiet)
  return path


def test_chunks_change_no_byte(folder, tmp_path):
  write.write_world(tmp_path / "other", CONFIG, users_at_once=7, say=quiet)
  files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
  assert len(files) == 8
  for file in files:
    if file.suffix != ".npz" and "array_record" not in file.name:  # these hold times of writing
      assert (folder / file).read_bytes() == (tmp_path / "other" / file).read_bytes(), file
  one, other = (store.load_store(path / write.HISTORIES) for path in (folder, tmp_path / "other"))
  for a, b in zip(one.histories[:5], other.histories[:5], strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_pipeline_reads_what_was_simulated(folder):
  world, data = write.read_world(folder), store.read_store(str(folder / write.HISTORIES), 3)
  assert world.config == CONFIG
  histories, _ = simulate(world, np.arange(40))
  assert (data.histories.item_T == ids_of(world, histories.item_T.astype(int))).all()
  assert (data.histories.time_T == histories.time_T).all()
  assert data.items.ids_N.tolist() == list(range(90))
  vectors, rows = np.load(folder / write.VECTORS), rows_of(world, np.arange(90))
  assert (vectors == item_vectors(world, rows)).all()
  for item, leaf in zip((0, 17, 89), leaves_of(world, rows)[[0, 17, 89]], strict=True):
    top, middle, low = leaf // 4, leaf // 2 % 2, leaf % 2
    expected = [f"{top}", f"{top}.{middle}", f"{top}.{middle}.{low}"]
    assert data.items.categories_of(item) == expected


def test_nothing_is_overwritten_and_what_is_damaged_is_named(folder, tmp_path):
  with pytest.raises(FileExistsError, match="is there already"):
    write.write_world(folder, CONFIG, say=quiet)
  with pytest.raises(FileNotFoundError, match=r"world\.json"):
    write.read_world(tmp_path)
  (tmp_path / write.SETTINGS).write_text('{"items": 90}')
  with pytest.raises(ValueError, match="damaged"):
    write.read_world(tmp_path)


def test_memory_does_not_grow_with_the_users():
  """Made part by part, four times the users need no more than one part does."""

  def peak(users):
    world = make_catalogue(WorldConfig(items=90, users=users, mean_length=8.0))
    tracemalloc.start()
    for at in range(0, users, 100):
      write.histories_by_id(world, at, at + 100)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most

  assert peak(800) < 1.5 * peak(200)
