import numpy as np
import pytest
from tiny import make_histories

from sidrec.data.dataset import training_view
from sidrec.features.statistics import item_statistics


def rated(rows, ratings):
  return make_histories(rows)._replace(rating_T=np.array(ratings, np.float32))


def test_means_and_counts_by_hand():
  histories = rated([[0, 1, 0], [1, 2]], [5, 3, 2, np.nan, np.nan])
  statistics = item_statistics(histories, 4)
  assert sorted(statistics) == ["log_popularity", "mean_rating"]
  assert {column.dtype for column in statistics.values()} == {np.dtype(np.float32)}
  # Item 1 has one rating and one interaction without; item 2 none; item 3 no interaction.
  np.testing.assert_array_equal(statistics["mean_rating"], [3.5, 3, np.nan, np.nan])
  np.testing.assert_allclose(statistics["log_popularity"], np.log([3, 3, 2, 1]), rtol=1e-6)


def test_what_is_held_out_changes_nothing():
  histories = rated([[0, 1, 2, 3], [3, 2, 1, 0]], [1, 2, 3, 4, 5, 4, 3, 2])
  changed = histories._replace(
    item_T=np.array([0, 1, 3, 3, 3, 2, 0, 3], np.int32),
    rating_T=np.array([1, 2, 9, 9, 5, 4, 9, 9], np.float32),
  )
  before = item_statistics(training_view(histories), 4)
  after = item_statistics(training_view(changed), 4)
  for name, column in before.items():
    np.testing.assert_array_equal(column, after[name])
    assert not np.array_equal(
      item_statistics(histories, 4)[name], item_statistics(changed, 4)[name], equal_nan=True
    )


def test_no_interactions_at_all():
  statistics = item_statistics(make_histories([[]]), 2)
  assert np.isnan(statistics["mean_rating"]).all()
  np.testing.assert_array_equal(statistics["log_popularity"], [0, 0])


@pytest.mark.parametrize("item", [-1, 3])
def test_an_item_outside_the_catalogue_is_refused(item):
  with pytest.raises(ValueError, match="outside the catalogue of 3"):
    item_statistics(make_histories([[0, item]]), 3)
