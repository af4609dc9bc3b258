"""Category paths of items: what codes mean, new items, rare and missing values."""

import json
from pathlib import Path

import numpy as np
import pytest

from sidrec.data.sources.build import item_table, pack_items
from sidrec.data.sources.movielens_movies import parse_movies
from sidrec.features.category_paths import category_paths, overflow_notes, paths_with
from sidrec.features.content import content_vectors
from sidrec.features.settings import ContentConfig
from sidrec.features.text import item_texts
from sidrec.tokenizers.report.cluster_metrics import item_labels

NAN = float("nan")


def make_items(categories, **numeric):
  count = len(categories)
  return item_table(np.arange(count), [""] * count, categories, numeric)


@pytest.fixture
def items():
  return make_items(
    [["Drama", "War"], ["Comedy"], [], ["Drama"], ["Action", "War"], ["Comedy", "Drama"]],
    year=[1994, 1999, NAN, 2000, 1987, 1990],
    stars=[3.5, 4, 4, NAN, 3.5, 4],
  )


def names_of(labels, path_NxP):
  """Codes read back: a list of names per item."""
  return [
    [
      level["below"][" ".join(map(str, row[:depth]))]["codes"][row[depth]]
      for depth, level in enumerate(labels)
    ]
    for row in path_NxP.tolist()
  ]


def test_codes_read_back_are_the_categories_of_the_items(items):
  path, labels = category_paths(items, ["category_1", "category_2", "decade", "stars"], 8)
  assert path.dtype == np.int32
  assert names_of(labels, path) == [
    ["Drama", "War", "1990s", "3.5"],
    ["Comedy", "unknown", "1990s", "4"],
    ["unknown", "unknown", "unknown", "4"],
    ["Drama", "unknown", "2000s", "unknown"],
    ["Action", "War", "1980s", "3.5"],
    ["Comedy", "Drama", "1990s", "4"],
  ]


def test_codes_are_numbered_by_frequency_then_alphabet(items):
  path, labels = category_paths(items, ["category_1", "decade"], 8)
  assert labels[0]["below"][""]["codes"] == ["unknown", "Comedy", "Drama", "Action"]
  np.testing.assert_array_equal(path[:, 0], [2, 1, 0, 2, 3, 1])
  for name, codes in {
    "decade": ["unknown", "1990s", "1980s", "2000s"],
    "year": ["unknown", "1987", "1990", "1994", "1999", "2000"],
  }.items():
    assert category_paths(items, [name], 8)[1][0]["below"][""]["codes"] == codes


def test_children_are_numbered_within_their_parent(items):
  path, labels = category_paths(items, ["category_1", "decade"], 8)
  assert {parent: names["codes"] for parent, names in labels[1]["below"].items()} == {
    "0": ["unknown"],
    "1": ["unknown", "1990s"],
    "2": ["unknown", "1990s", "2000s"],
    "3": ["unknown", "1980s"],
  }
  np.testing.assert_array_equal(path[:, 1], [1, 1, 0, 2, 1, 1])


def test_many_brands_fit_where_each_category_has_few():
  """300 brands of 3 categories, in 128 codes."""
  items = make_items([[f"kind {n % 3}", f"brand {n}"] for n in range(300)])
  path, labels = category_paths(items, ["category_1", "category_2"], 128)
  assert len(np.unique(path, axis=0)) == 300
  assert path[:, 1].max() == 100
  assert overflow_notes(labels, path) == ()
  path, labels = category_paths(items, ["category_1", "category_2"], 64)
  # 62 brands of each category have a code of their own.
  (note,) = overflow_notes(labels, path)
  assert note.startswith("114 values of 'category_2' (114 items) share the code 'other' below 3 of")
  np.testing.assert_array_equal(paths_with(json.loads(json.dumps(labels)), items), path)


def test_the_order_of_the_items_changes_nothing(items):
  categories = [items.categories_of(row) for row in range(6)]
  order = [3, 0, 5, 2, 1, 4]
  shuffled = make_items([categories[i] for i in order], year=items.numeric["year"][order])
  path, labels = category_paths(items, ["category_1", "year"], 4)
  again, same = category_paths(shuffled, ["category_1", "year"], 4)
  assert same == labels
  np.testing.assert_array_equal(again, path[order])


def test_the_rarest_values_share_the_last_code():
  items = make_items([["a"]] * 3 + [["b"]] * 2 + [["c"]] + [["d"]] + [[]])
  path, labels = category_paths(items, ["category_1"], 4)
  np.testing.assert_array_equal(path[:, 0], [1, 1, 1, 2, 2, 3, 3, 0])
  names = {"codes": ["unknown", "a", "b", "other"], "other": ["c", "d"]}
  assert labels == [{"name": "category_1", "below": {"": names}}]
  assert overflow_notes(labels, path)[0].startswith(
    "2 values of 'category_1' (2 items) share the code 'other', because"
  )
  path, labels = category_paths(items, ["category_1"], 5)
  assert labels[0]["below"][""] == {"codes": ["unknown", "a", "b", "c", "d"], "other": []}
  assert overflow_notes(labels, path) == ()
  np.testing.assert_array_equal(path[:, 0], [1, 1, 1, 2, 2, 3, 4, 0])
  path, _ = category_paths(items, ["category_1"], 2)
  np.testing.assert_array_equal(path[:, 0], [1] * 7 + [0])


def test_new_items_get_the_same_codes(items):
  path, labels = category_paths(items, ["category_1", "category_2", "decade", "year"], 4)
  labels = json.loads(json.dumps(labels))
  np.testing.assert_array_equal(paths_with(labels, items), path)
  new = make_items([["Drama", "War"], ["Musical"], ["Comedy", "War"]], year=[1994, 2024, 1999])
  # No comedy of the catalogue is about war, and that parent has no children.
  expected = [path[0], [0, 0, 0, 0], [path[1, 0], 0, *path[1, 2:]]]
  np.testing.assert_array_equal(paths_with(labels, new), expected)
  assert paths_with(labels, make_items([], year=[])).shape == (0, 4)


def test_categories_that_are_called_unknown_or_other_are_values_of_their_own():
  items = make_items([["other"]] * 3 + [["unknown"]] * 2 + [["x"], ["y"], []])
  path, labels = category_paths(items, ["category_1"], 4)
  np.testing.assert_array_equal(path[:, 0], [1, 1, 1, 2, 2, 3, 3, 0])
  np.testing.assert_array_equal(paths_with(labels, items), path)
  assert labels[0]["below"][""]["codes"] == ["unknown", "other", "unknown", "other"]


def test_numbers_have_one_name_each(items):
  values = [0.1, np.float32(0.1), -0.0, 0.0, np.inf, 16777216]
  _, labels = category_paths(make_items([[]] * 6, price=values), ["price"], 8)
  assert labels[0]["below"][""]["codes"] == ["unknown", "0", "0.1", "16777216"]


def test_unknown_names_say_what_there_is(items):
  choices = "Choose from: category_1, category_2, decade, stars, year"
  with pytest.raises(ValueError, match=f"no 'genre' to make a path level of. {choices}"):
    category_paths(items, ["category_1", "genre"], 8)
  with pytest.raises(ValueError, match=f"no item has a 'category_3'; .* is 2. {choices}"):
    category_paths(items, ["category_3"], 8)
  with pytest.raises(ValueError, match=r"no 'decade' .* nothing; these items have no such columns"):
    category_paths(make_items([[], []]), ["decade"], 8)
  with pytest.raises(ValueError, match="at least one, and all different"):
    category_paths(items, [], 8)
  with pytest.raises(ValueError, match="all different"):
    category_paths(items, ["year", "year"], 8)
  with pytest.raises(ValueError, match="codebook_size is 1"):
    category_paths(items, ["year"], 1)
  _, labels = category_paths(items, ["stars"], 8)
  with pytest.raises(ValueError, match="no 'stars'"):
    paths_with(labels, make_items([[]], year=[1990]))


def test_movielens_genres_and_decades():
  file = Path(__file__).resolve().parents[2] / "../shared/data/ml-1m/movies.dat"
  if not file.is_file():
    pytest.skip(f"no {file}")
  items = pack_items(parse_movies(file))
  path, labels = category_paths(items, ["category_1", "decade"], 64)
  for row in range(0, items.num_items, 97):
    genre, decade = names_of(labels, path[row : row + 1])[0]
    assert genre == items.categories_of(row)[0]
    assert decade == f"{int(items.numeric['year'][row]) // 10 * 10}s"


def test_a_missing_level_keeps_its_place_and_is_no_category():
  named = [["", "", "Apple"], ["Tech", "Tech", "Dell"], ["Tech"]]
  items = item_table([1, 2, 3], [""] * 3, named, {})
  path_NxP, labels = category_paths(items, ["category_1", "category_2", "category_3"], 8)
  known = [[name if name else "unknown" for name in names + [""] * (3 - len(names))]
           for names in named]  # fmt: skip
  assert [list(names) for names in names_of(labels, path_NxP)] == known
  without = item_table([1, 2, 3], [""] * 3, [["Apple"], ["Tech", "Dell"], ["Tech"]], {})
  of_content, expected = (content_vectors(x, x, ContentConfig()) for x in (items, without))
  np.testing.assert_array_equal(of_content, expected)
  assert item_texts(items, "{categories}.")[0] == "Apple."
  assert item_labels(items)["category"].tolist() == ["Apple", "Dell", ""]  # the first that differ
