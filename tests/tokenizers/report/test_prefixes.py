"""Prefixes of IDs: their items, what follows them, and the same meanings as in the report."""

import numpy as np
from tiny import make_items

from sidrec.data.sources.build import item_table
from sidrec.tokenizers.report.interpretation import interpret
from sidrec.tokenizers.report.prefixes import PrefixIndex

CODES = np.array([[7, 1], [7, 1], [7, 2], [4, 2], [4, 2], [4, 0], [-1, -1]])
POPULARITY = np.array([1, 5, 2, 0, 0, 9])
ITEMS = item_table(
  ids=[10, 11, 12, 13, 14, 15],
  titles=["Alien", "Aliens", "Emma", "", "Heat", "Big"],
  categories=[("Space",), ("Space",), ("Drama", "Love"), ("Love",), ("Drama",), ()],
  numeric={"year": [1979, 1986, 1996, 1995, 1995, np.nan]},
)


def test_items_come_by_prefix_the_most_popular_first():
  index = PrefixIndex(CODES, ITEMS, POPULARITY)
  expected = {(): [5, 1, 2, 0, 3, 4], (7,): [1, 2, 0], (7, 1): [1, 0], (4, 0): [5], (9,): []}
  expected |= {(7, 3): [], (4, 1): []}
  for prefix, rows in expected.items():
    assert index.rows(prefix).tolist() == rows
  assert index.children(()) == [(4, 3), (7, 3)]
  assert index.children((4,)) == [(2, 2), (0, 1)]
  assert index.children((4, 2)) == []


def test_meanings_are_those_of_the_report():
  index = PrefixIndex(CODES, ITEMS, POPULARITY)
  told = interpret(CODES[:6], ITEMS, POPULARITY)
  prefixes = [tuple(entry["codes"]) for entry in (*told["first"], *told["first_two"])]
  found = index.meanings(prefixes)
  for meaning, entry in zip(found, (*told["first"], *told["first_two"]), strict=True):
    assert meaning.items == entry["items"]
    assert [mark._asdict() for mark in meaning.categories] == entry["categories"]
    assert [mark._asdict() for mark in meaning.decades] == entry["decades"]
    titles = [ITEMS.titles_N[row] or f"item {ITEMS.ids_N[row]}" for row in meaning.examples]
    assert titles == entry["examples"]
  assert index.meanings([]) == []
  assert index.meanings([(9,)])[0].items == 0


def test_a_larger_catalogue_agrees_too():
  rng = np.random.default_rng(0)
  codes, items, popularity = (
    rng.integers(0, 3, (30, 3)),
    make_items(range(30)),
    rng.integers(0, 9, 30),
  )
  index, told = PrefixIndex(codes, items, popularity), interpret(codes, items, popularity)
  meanings = index.meanings([tuple(entry["codes"]) for entry in told["first"]])
  for meaning, entry in zip(meanings, told["first"], strict=True):
    assert [mark._asdict() for mark in meaning.categories] == entry["categories"]
