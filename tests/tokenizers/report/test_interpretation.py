"""What codes mean, for a catalogue small enough to read."""

import json

import numpy as np
import pytest

from sidrec.data.sources.build import item_table
from sidrec.tokenizers.report.interpretation import (
  interpret,
  interpretation_table,
  interpretation_text,
)

ITEMS = item_table(
  ids=[10, 11, 12, 13, 14, 15],
  titles=["Alien", "Aliens", "Emma", "", "Heat", "Big"],
  categories=[
    ("Drama", "Space"),
    ("Drama", "Space", "Space"),  # listed twice, counts once
    ("Drama", "Love"),
    ("Love", "Drama"),
    ("Drama",),
    (),
  ],
  numeric={"year": [1979, 1986, 1996, 1995, 1995, np.nan]},
)
CODES = np.array([[7, 1], [7, 1], [7, 2], [4, 2], [4, 2], [4, 0]])


def test_groups_by_hand():
  found = interpret(CODES, ITEMS)
  assert found["items"] == 6
  assert [(e["codes"], e["items"]) for e in found["first"]] == [([4], 3), ([7], 3)]
  assert [(e["codes"], e["items"]) for e in found["second"]] == [
    ([None, 2], 3),
    ([None, 1], 2),
    ([None, 0], 1),
  ]
  assert [(e["codes"], e["items"]) for e in found["first_two"]] == [([4, 2], 2), ([7, 1], 2)]


def test_what_is_everywhere_does_not_come_first():
  # Of 5 items with a category, all are drama and 2 are in space.
  _, seven = interpret(CODES, ITEMS)["first"]
  assert seven["categories"] == [
    {"name": "Space", "share": pytest.approx(2 / 3), "lift": pytest.approx((2 / 3) / (2 / 5))}
  ]


def test_shares_are_of_the_items_where_it_is_known():
  four, _ = interpret(CODES, ITEMS)["first"]
  # 13 and 14 have categories and years, 15 neither. Nothing in two of them is raised but 1990s:
  # so drama, which is not raised, and love, in one item only, are all there is to name.
  assert four["categories"] == [
    {"name": "Love", "share": 0.5, "lift": pytest.approx(0.5 / 0.4)},
    {"name": "Drama", "share": 1.0, "lift": 1.0},
  ]
  assert four["decades"] == [{"name": "1990s", "share": 1.0, "lift": pytest.approx(5 / 3)}]
  unknown = interpret(CODES, ITEMS)["second"][2]
  assert (unknown["categories"], unknown["decades"], unknown["examples"]) == ([], [], ["Big"])


def test_examples_are_the_first_or_the_most_popular():
  plain = interpret(CODES, ITEMS)
  assert plain["first"][0]["examples"] == ["item 13", "Heat", "Big"]
  assert plain["examples_are"] == "first"
  ranked = interpret(CODES, ITEMS, np.array([9, 9, 9, 1, 2, 3]))
  assert ranked["first"][0]["examples"] == ["Big", "Heat", "item 13"]
  assert ranked["examples_are"] == "most popular"


def test_one_level_and_a_bare_catalogue():
  bare = item_table(["a", "b"], ["", ""], [(), ()], {})
  found = interpret(np.array([[1], [1]]), bare)
  assert found["first"] == [
    {"codes": [1], "items": 2, "categories": [], "decades": [], "examples": ["item a", "item b"]}
  ]
  assert (found["second"], found["first_two"]) == ([], [])
  assert "e.g. item a; item b" in interpretation_table(found)
  assert "e.g. item a; item b" in interpretation_text(found)


def test_json_and_texts():
  titles = ["A title " * 30, *ITEMS.titles_N[1:]]
  found = interpret(CODES, ITEMS._replace(titles_N=np.array(titles)))
  assert json.loads(json.dumps(found)) == found
  lines = interpretation_table(found, rows=2).splitlines()
  assert max(map(len, lines)) == 100  # the long title is cut
  assert lines[0] == "first codes (2)"
  assert "second codes, whatever the first (3, 2 largest)" in lines
  assert "        7      3  Space 67% (x1.7), 1970s 33% (x1.7), e.g. A title" in lines[3]
  text = interpretation_text(found)
  for entry in found["first"] + found["second"] + found["first_two"]:
    assert "; ".join(entry["examples"]) in text
  assert "\n* 2: 3 items\n" in text
  assert "\n* 0: 1 item\n" in text
  assert "\n    Space 67% (x1.7)\n" in text
  assert "the first items of the code" in text
