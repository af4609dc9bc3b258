"""What a report needs of each user: kept by the evaluation, read back, and checked."""

import numpy as np
import pytest
from tiny import make_dataset

from sidrec.data.dataset import held_out_view, training_view
from sidrec.evaluation.details import Details, details_of, lists_of, read_details, users_of
from sidrec.evaluation.evaluate import evaluate
from sidrec.evaluation.report import read_per_user, write_per_user
from sidrec.search.results import Recommendations

ROWS = [[1, 2, 3, 1], [4, 2, 3, 5], [2, 3, 2, 2]]
DATA = make_dataset(ROWS)


def test_lists_keep_valid_results_in_their_order_and_the_score_of_the_target():
  item_UxK = np.array([[5, 6, 7], [8, 9, 1]])
  valid_UxK = np.array([[False, True, True], [True, True, False]])
  score_UxK = np.log([[0.9, 0.3, 0.2], [0.5, 0.25, 0.1]])
  found = lists_of(np.array([1, -1]), item_UxK, valid_UxK, score_UxK)
  assert found.item_UxK.tolist() == [[6, 7, -1], [8, 9, -1]]
  np.testing.assert_allclose(np.exp(found.score_UxK), [[0.3, 0.2, 0], [0.5, 0.25, 0]], rtol=1e-6)
  np.testing.assert_allclose(np.exp(found.target_score_U), [0.2, np.nan], rtol=1e-6)
  assert found.rank_U.tolist() == [1, -1]


def test_only_ten_results_are_kept_and_no_scores_where_they_mean_nothing():
  item_UxK = np.arange(24).reshape(2, 12)
  found = lists_of(np.array([11, 0]), item_UxK, np.ones((2, 12), bool))
  assert found.item_UxK.tolist() == item_UxK[:, :10].tolist()
  assert found.rank_U.tolist() == [11, 0]
  assert found.score_UxK is None
  assert found.target_score_U is None


def test_users_are_the_requests_of_the_test_split():
  users = users_of(DATA, training_view(DATA.histories))
  assert users.target_U.tolist() == [1, 5, 2]
  assert users.history_length_U.tolist() == [3, 3, 3]
  assert users.target_popularity_U.tolist() == [1, 0, 3]  # training: 1 2 | 4 2 | 2 3
  assert users.repeated_U.tolist() == [True, False, True]


def test_the_rank_counts_all_beams_and_the_metrics_only_the_list():
  histories = make_dataset(ROWS).histories
  task = held_out_view(histories, "test")

  def recommend_users(params, histories, users_R, seen):
    del params, histories, seen
    item_RxK = np.tile(np.arange(20, 32), (len(users_R), 1))
    item_RxK[:, 11] = task.target_U[users_R]
    return Recommendations(item_RxK, -item_RxK.astype(float), np.ones_like(item_RxK, bool))

  found = evaluate(recommend_users, {}, task, 40, 10)
  for way in ("masked", "unmasked"):
    assert found.means[way]["recall@10"] == 0
    assert found.lists[way].rank_U.tolist() == [11, 11, 11]
    np.testing.assert_array_equal(found.lists[way].target_score_U, -task.target_U)


@pytest.fixture
def kept(tmp_path):
  """(details, the file that holds them after some metrics)."""
  lists = lists_of(np.array([1, -1, 0]), np.arange(9).reshape(3, 3), np.ones((3, 3), bool))
  details = Details(users_of(DATA, training_view(DATA.histories)), {"sidrec": {"masked": lists}})
  metrics = {"sidrec": {"test": {"masked": {"ndcg@10": np.array([0.5, 0, 1])}}}}
  write_per_user(tmp_path / "per_user.npz", metrics, details)
  return details, tmp_path / "per_user.npz"


def test_details_are_read_back_and_metrics_stay_what_they_were(kept):
  details, path = kept
  found = read_details(path)
  for name, column in details.users._asdict().items():
    np.testing.assert_array_equal(getattr(found.users, name), column)
  np.testing.assert_array_equal(
    found.lists["sidrec"]["masked"].item_UxK, details.lists["sidrec"]["masked"].item_UxK
  )
  assert found.lists["sidrec"]["masked"].score_UxK is None
  assert list(read_per_user(path)) == ["sidrec/test/masked/ndcg@10"]


def test_a_file_of_an_earlier_version_says_that_it_has_to_be_evaluated_again(tmp_path):
  path = tmp_path / "per_user.npz"
  write_per_user(path, {"sidrec": {"test": {"masked": {"ndcg@10": np.ones(3)}}}})
  with pytest.raises(ValueError, match=r"by an earlier version; run --mode=evaluate --redo=evalu"):
    read_details(path)


@pytest.mark.parametrize("change", ["a column is missing", "another length"])
def test_garbled_details_are_refused(kept, change):
  _, path = kept
  with np.load(path) as file:
    arrays = dict(file)
  if change == "a column is missing":
    del arrays["users/test/repeated"]
  else:
    arrays["lists/test/sidrec/masked/item"] = arrays["lists/test/sidrec/masked/item"][:2]
  with pytest.raises(ValueError, match="its lists are garbled"):
    details_of(arrays, path)
