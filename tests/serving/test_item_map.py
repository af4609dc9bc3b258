"""The map of the items: neighbours near each other, made once."""

import numpy as np
import pytest

from sidrec.serving import item_map
from sidrec.serving.item_map import SIDE, ItemMap

RNG = np.random.default_rng(0)
CENTRES = np.repeat(np.array([[9.0] * 6, [-9.0] * 6, [9.0, -9.0] * 3]), 12, axis=0)
VECTORS = (CENTRES + RNG.normal(size=(36, 6))).astype(np.float32)
POPULARITY = RNG.permutation(36)


@pytest.fixture(scope="module")
def places():
  return item_map.place(VECTORS, POPULARITY).astype(float)


def test_similar_items_lie_together(places):
  assert places.min() == 0
  assert places.max() == SIDE
  distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
  same = np.arange(36)[:, None] // 12 == np.arange(36)[None] // 12
  assert distance[same].max() < distance[~same].min()


def test_items_that_are_not_placed_lie_between_their_nearest(monkeypatch):
  monkeypatch.setattr(item_map, "PLACED", 30)
  found = item_map.place(VECTORS, POPULARITY).astype(float)
  others = np.argsort(-POPULARITY, kind="stable")[30:]
  for other in others:
    placed = [at for at in range(36) if at not in others]
    nearest = sorted(placed, key=lambda at: np.linalg.norm(VECTORS[at] - VECTORS[other]))[:5]
    np.testing.assert_allclose(found[other], found[nearest].mean(axis=0), atol=1.5)


def test_few_items_have_places_too():
  for count in (1, 3, 4, 6):
    found = item_map.place(VECTORS[:count], POPULARITY[:count])
    assert found.shape == (count, 2)
    assert len({*map(tuple, found.tolist())}) == count


def test_a_map_is_kept_and_made_again_for_other_vectors_or_a_damaged_file(tmp_path, monkeypatch):
  made = []
  place = lambda vectors, popularity: made.append(len(vectors)) or np.full((len(vectors), 2), 7)
  monkeypatch.setattr(item_map, "place", place)
  path = tmp_path / "serving" / "map.npz"

  def get(vectors):
    one = ItemMap(vectors, POPULARITY[: len(vectors)], path)
    one.wait()
    return one.get()

  assert get(VECTORS)[0] == "ready"
  assert get(VECTORS)[1].tolist() == [[7, 7]] * 36
  assert made == [36]
  get(VECTORS + 1)
  assert made == [36, 36]
  path.write_bytes(path.read_bytes()[:100])
  get(VECTORS + 1)
  assert made == [36, 36, 36]
  with path.open("wb") as file:
    np.savez(file, key=np.uint32(1))
  get(VECTORS + 1)
  assert made == [36] * 4


def test_a_map_is_served_where_nothing_can_be_kept_and_failure_is_said(
  tmp_path, monkeypatch, capsys
):
  (tmp_path / "serving").write_text("a file where the folder should be")
  one = ItemMap(VECTORS[:3], POPULARITY[:3], tmp_path / "serving" / "map.npz")
  one.wait()
  assert one.get()[0] == "ready"
  assert "the map of the items is not kept" in capsys.readouterr().out

  def fail(*_):
    raise RuntimeError("no")

  monkeypatch.setattr(item_map, "place", fail)
  monkeypatch.setattr("threading.excepthook", lambda args: None)
  broken = ItemMap(VECTORS, POPULARITY, None)
  broken.wait()
  assert broken.get() == ("failed", None)
