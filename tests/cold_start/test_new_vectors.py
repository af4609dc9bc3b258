"""Vectors of new items are made once for each description."""

import numpy as np
import pytest

from sidrec.cold_start import new_vectors
from sidrec.cold_start.known_and_new import searchable
from sidrec.cold_start.new_vectors import NewVectors
from sidrec.data.sources.build import item_table
from sidrec.search.near_head import nearest_known

KNOWN = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


class Source:
  """Describes items by a path in front and numbers of their titles; notes which it is asked for."""

  def __init__(self):
    self.asked = []

  def inputs(self, items):
    titles = items.titles_N.tolist()
    self.asked += titles
    return np.array([[7, len(title), ord(title[0]), 1] for title in titles], np.float32)


def items(*titles, years=None):
  return item_table(
    list(range(len(titles))),
    list(titles),
    [[] for _ in titles],
    {"year": years or [np.nan] * len(titles)},
  )


def expected(title):
  return searchable(np.array([[len(title), ord(title[0]), 1]]))[0]


def of(vectors, items):
  return vectors.searched(items, head=False)[0]


def test_each_description_is_made_once():
  source = Source()
  vectors = NewVectors(source, KNOWN)
  np.testing.assert_allclose(np.linalg.norm(vectors.unit_NxF.astype(float), axis=1), 1, atol=1e-3)
  assert vectors.inputs(items("a", "bb")).shape == (2, 4)
  found = of(vectors, items("a", "bb", "ccc"))
  assert source.asked == ["a", "bb", "ccc"]
  assert found.dtype == np.float16
  np.testing.assert_array_equal(found, [expected("a"), expected("bb"), expected("ccc")])
  np.testing.assert_array_equal(of(vectors, items("a")), [expected("a")])
  assert source.asked == ["a", "bb", "ccc"]
  of(vectors, items("a", "bb"))  # went meanwhile, and was forgotten
  assert source.asked[3:] == ["bb"]


def test_an_item_that_is_described_otherwise_is_another_one():
  source = Source()
  vectors = NewVectors(source, KNOWN)
  of(vectors, items("a", "b"))
  of(vectors, items("a", "c"))
  of(vectors, items("a", "c", years=[1990.0, np.nan]))
  assert source.asked == ["a", "b", "c", "a"]


def test_the_nearest_known_items_are_found_once_for_each_description(monkeypatch):
  asked = []

  def nearest(unit_NxF, unit_MxF):
    asked.append(len(unit_MxF))
    return nearest_known(unit_NxF, unit_MxF)

  monkeypatch.setattr(new_vectors, "nearest_known", nearest)
  vectors = NewVectors(Source(), KNOWN)
  for titles in ([], ["a", "bb"], ["a", "bb", "ccc"], ["a"]):
    made, found = vectors.searched(items(*titles), head=True)
    unit_MxF = np.array([expected(title) for title in titles]).reshape(-1, 3)
    np.testing.assert_array_equal(made, unit_MxF)
    for got, wanted in zip(found, nearest_known(vectors.unit_NxF, unit_MxF), strict=True):
      np.testing.assert_allclose(got, wanted, rtol=1e-5)
  assert asked == [0, 2, 1, 0]
  assert vectors.searched(items("a"), head=False)[1] is None


def test_what_cannot_be_made_is_said():
  class Broken(Source):
    def inputs(self, items):
      raise OSError("no such file")

  class Undescribed(Source):
    def inputs(self, items):
      return None

  with pytest.raises(ValueError, match="cannot be made: no such file"):
    of(NewVectors(Broken(), KNOWN), items("a"))
  with pytest.raises(ValueError, match="nothing describes them"):
    of(NewVectors(Undescribed(), KNOWN), items("a"))
