"""Items by the names of their categories."""

import numpy as np
import pytest

from sidrec.catalogue.categories import Categories
from sidrec.data.dataset import Items
from sidrec.data.sources.build import item_table

NAMES = [["Comedy", "Drama"], [], ["Drama", ""], ["Film, noir", "comedy "], ["Drama", "Drama"]]


def items_with(names) -> Items:
  return item_table(list(range(len(names))), [""] * len(names), names, {})


def test_items_with_any_of_the_names():
  rng = np.random.default_rng(0)
  names = [[f"c{c}" for c in rng.integers(0, 9, rng.integers(0, 4))] for _ in range(50)]
  items = items_with(names)
  categories = Categories(items)
  for wanted in (["c1"], ["c1", "c5", "c1"], [" c2"], sorted(categories.index_of)):
    looked_for = {name.strip() for name in wanted}
    expected = [row for row in range(50) if looked_for & set(items.categories_of(row))]
    assert categories.rows_of("categories", wanted).tolist() == expected


def test_a_name_that_no_item_has_is_refused_with_near_ones():
  categories = Categories(items_with(NAMES))
  with pytest.raises(ValueError, match=r"x: no item has the category 'Comdy'; near: 'Comedy'"):
    categories.rows_of("x", ["Drama", "Comdy"])
  with pytest.raises(ValueError, match="'zzzzzzzzz'; there are such as: 'Comedy'"):
    categories.rows_of("x", ["zzzzzzzzz"])
  with pytest.raises(ValueError, match="near: 'Comedy'"):  # case counts
    categories.rows_of("x", ["COMEDY"])
  for empty in ("", " "):  # a level that is missing is no category
    with pytest.raises(ValueError, match="no item has the category"):
      categories.rows_of("x", [empty])
  with pytest.raises(ValueError, match="nothing is known of the categories"):
    Categories(items_with([[], []])).rows_of("x", ["Drama"])
  with pytest.raises(ValueError, match="x is an empty list"):
    categories.rows_of("x", [])
  with pytest.raises(TypeError, match="x hold 7; give names"):
    categories.rows_of("x", [7])  # pyrefly: ignore


def test_of_many_names_those_that_begin_alike_are_compared():
  many = [[f"{letter}{number:04d}"] for letter in "abc" for number in range(1000)]
  with pytest.raises(ValueError, match="near: 'b0500'"):
    Categories(items_with(many)).rows_of("x", ["b0500 "[:5] + "z"])
