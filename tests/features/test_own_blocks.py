"""Blocks of item vectors of plugins: answers that are refused, and vectors of new items."""

import itertools

import numpy as np
import pytest
from tiny import make_dataset, make_items

from sidrec.core.settings import from_dict, to_dict
from sidrec.features.own_blocks import BLOCKS, register_features
from sidrec.features.settings import FeaturesConfig
from sidrec.run.item_vectors import item_vectors, new_item_vectors

NAMES = (f"own_{number}" for number in itertools.count())
DATA = make_dataset()


@pytest.fixture(autouse=True)
def forgets():
  yield
  BLOCKS.known.clear()


def features(function, **options):
  """Settings under which this block alone counts."""
  register_features(name := next(NAMES), function, **options)
  values = to_dict(FeaturesConfig())
  for block in values.values():
    if isinstance(block, dict) and "weight" in block:
      block["weight"] = 0.0
  return name, from_dict(FeaturesConfig, values | {"plugins": {name: {"weight": 2.0}}})


def year(catalogue, items):
  mean, spread = np.mean(catalogue.numeric["year"]), np.std(catalogue.numeric["year"])
  return ((items.numeric["year"] - mean) / spread)[:, None]


def test_a_new_item_is_described_by_what_the_catalogue_taught(tmp_path):
  _, settings = features(year)
  made = item_vectors(settings, DATA, 0, tmp_path)
  np.testing.assert_allclose(made.vectors_NxF, 2.0 * year(DATA.items, DATA.items), rtol=1e-5)
  new = make_items([100, 7])
  vectors = new_item_vectors(settings, DATA.items, made.params, made.vectors_NxF, new)
  np.testing.assert_allclose(vectors, 2.0 * year(DATA.items, new), rtol=1e-5)


def test_what_is_learnt_from_histories_sees_training_alone(tmp_path):
  seen = []

  def counts(training, items):
    seen.append(training)
    return np.bincount(training.item_T, minlength=items.num_items)[:, None]

  _, settings = features(counts, learns_from="histories")
  vectors_NxF = item_vectors(settings, DATA, 0, tmp_path).vectors_NxF
  assert (seen[0].lengths_U == 6).all()
  assert np.corrcoef(vectors_NxF[:, 0], np.bincount(seen[0].item_T))[0, 1] > 0.999


@pytest.mark.parametrize(
  ("answer", "said"),
  [
    (lambda c, i: np.zeros(i.num_items), r"shape \[30\]; give finite numbers \[30, F\]"),
    (lambda c, i: np.zeros((i.num_items, 0)), r"shape \[30, 0\]"),
    (lambda c, i: np.ones((29, 2)), r"shape \[29, 2\]"),
    (lambda c, i: [["a"]] * i.num_items, "values of type"),
    (lambda c, i: [[1], [1, 2]], "rows of different lengths"),
    (lambda c, i: np.full((i.num_items, 1), np.nan), "not finite for item row 0"),
    (lambda c, i: year(i, i) if i.num_items > 1 else [[1.0]], "another vector alone"),
    (lambda c, i: np.eye(i.num_items), "item row 0 another vector alone"),
    (lambda c, i: i.nothing, "fails: AttributeError"),
  ],
)
def test_answers_that_make_no_sense_are_refused(answer, said, tmp_path):
  name, settings = features(answer)
  with pytest.raises(
    ValueError, match=rf"the feature block '{name}' \(test_own_blocks.py\) .*{said}"
  ):
    item_vectors(settings, DATA, 0, tmp_path)


def test_weights_and_names_are_checked():
  with pytest.raises(ValueError, match=r"features\.plugins\.x\.weight must be 0 or more, not -1"):
    FeaturesConfig(plugins={"x": {"weight": -1.0}}).weights()
  assert "x" not in FeaturesConfig(plugins={"x": {"weight": 0.0}}).weights()
  with pytest.raises(ValueError, match="there is a feature block 'text' already"):
    register_features("text", year)
  with pytest.raises(ValueError, match="choose 'items' or 'histories'"):
    register_features("x", year, learns_from="users")
