"""Some items of a table, and two tables in one."""

import numpy as np
import pytest
from tiny import make_items

from sidrec.data.parts import join_items, take_items
from sidrec.data.sources.build import item_table


def described(items):
  return [
    (
      items.ids_N[row].item(),
      str(items.titles_N[row]),
      items.categories_of(row),
      float(items.numeric["year"][row]),
      str(items.text_N[row]),
    )
    for row in range(items.num_items)
  ]


def test_taken_items_are_described_as_before():
  items = make_items(list(range(12)))
  rows = np.array([7, 2, 5, 11])
  taken = take_items(items, rows)
  assert described(taken) == [described(items)[row] for row in rows]
  assert taken.categories_C.tolist() == ["b", "c"]  # item 7 is a 'b', the others 'c'
  assert take_items(items, np.zeros(0, int)).num_items == 0


def test_joined_items_are_described_as_before():
  first = make_items([0, 1, 2])
  second = item_table([9, 8], ["nine", "eight"], [["z", "a"], []], {"price": [3.0, 4.0]}, ["t", ""])
  joined = join_items([first, second])
  assert described(joined)[:3] == described(first)
  assert joined.ids_N.tolist() == [0, 1, 2, 9, 8]
  assert joined.categories_of(3) == ["z", "a"]
  assert joined.categories_of(4) == []
  assert joined.text_N.tolist() == ["", "", "", "t", ""]
  assert np.isnan(joined.numeric["price"][:3]).all()
  assert np.isnan(joined.numeric["year"][3:]).all()
  assert joined.numeric["price"][3:].tolist() == [3.0, 4.0]


def test_an_item_that_is_there_already_is_refused():
  with pytest.raises(ValueError, match="item 2 is in the catalogue already"):
    join_items([make_items([0, 1, 2]), make_items([2, 3])])
  with pytest.raises(ValueError, match="numbers in one table and text in the other"):
    join_items([make_items([0]), item_table(["x"], [""], [[]], {})])
