"""Category paths with scikit-learn's habits."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sidrec import CategoryRule

ROWS = [["Toys", "Lego"], ["Toys", "Mattel"], ["Toys", "Lego"], ["Food", "Lego"], [None, "Lego"]]


def test_children_are_numbered_within_their_parent():
  rule = CategoryRule(codebook_size=4)
  codes = rule.fit_transform(ROWS)
  assert codes.dtype == np.int32
  assert codes.tolist() == [[1, 1], [1, 2], [1, 1], [2, 1], [0, 1]]
  assert rule.transform(np.array(ROWS, object)).tolist() == codes.tolist()
  assert rule.transform([["Toys", "Acme"], ["Cars", "Lego"]]).tolist() == [[1, 0], [0, 1]]


def test_items_may_be_dicts():
  films = [
    {"genre": ["Drama", "War"], "year": 1994},
    {"genre": "Comedy", "year": 1999},
    {"genre": "Drama", "year": 2001},
    {"genre": "Drama", "year": 1991, "tags": ["slow"]},
  ]
  rule = CategoryRule(path=("genre", "decade")).fit(films)
  assert rule.transform(films).tolist() == [[1, 1], [2, 1], [1, 2], [1, 1]]
  assert rule.encode(films[2]).tolist() == [1, 2]
  assert rule.encode({"year": 1994}).tolist() == [0, 0]
  assert CategoryRule(path=("tags", "year")).fit(films).encode(films[3]).tolist() == [1, 1]


def test_values_that_share_a_code_are_said():
  with pytest.warns(
    UserWarning, match=r"2 values of 'category_2' \(2 items\) share .* below 1 of 1"
  ):
    codes = CategoryRule(codebook_size=3).fit_transform(
      [["a", "x"], ["a", "x"], ["a", "y"], ["a", "z"]]
    )
  assert codes.tolist() == [[1, 1], [1, 1], [1, 2], [1, 2]]


def test_settings_and_errors():
  rule = CategoryRule(path=("genre",), codebook_size=8)
  assert clone(rule).get_params() == {"path": ("genre",), "codebook_size": 8}
  with pytest.raises(NotFittedError):
    rule.transform(ROWS)
  with pytest.raises(ValueError, match="unknown path level 'brand'; choose from genre, tags"):
    CategoryRule(path=("brand",)).fit([{"genre": "Drama"}])
  with pytest.raises(ValueError, match=r"values have shape \(2,\)"):
    rule.fit(["a", "b"])
  with pytest.raises(ValueError, match="X has 1 levels, but was fitted on 2"):
    rule.fit(ROWS).transform([["Toys"]])
