"""Tasks and metrics of new items, and which share is chosen."""

import numpy as np
import pytest
from tiny import make_histories

from sidrec.cold_start.evaluation import (
  Candidate,
  choose_share,
  metrics_by_target,
  report_text,
  task_with_new_items,
)
from sidrec.search.results import Recommendations

# Items 0, 2, 4 are known and have rows 0, 1, 2; items 1, 3 are new and have rows 3, 4.
ROW = np.array([0, 3, 1, 4, 2])
HISTORIES = make_histories([[0, 1, 2, 3], [1, 3, 1, 0], [4, 2, 1]])


def test_new_items_are_targets_and_in_no_history():
  test = task_with_new_items(HISTORIES, ROW, 3, "test")
  assert [test.histories.of(user).tolist() for user in range(2)] == [[0, 1], [2, 1]]
  assert test.target_U.tolist() == [4, 3]
  assert test.histories.user_ids_U.tolist() == [0, 2]  # user 1 has nothing left
  valid = task_with_new_items(HISTORIES, ROW, 3, "valid")
  assert [valid.histories.of(user).tolist() for user in range(2)] == [[0], [2]]
  assert valid.target_U.tolist() == [1, 1]
  assert (test.histories.time_T == [0, 2, 8, 9]).all()
  assert test.histories.request_time_U.tolist() == [3, 10]  # the targets' times


def test_metrics_are_split_by_the_kind_of_target():
  item = np.array([[3, 0, 1], [0, 4, -1], [2, 1, 0]])
  results = Recommendations(item, np.zeros((3, 3)), item >= 0)
  found = metrics_by_target(results, np.array([3, 4, 1]), 3)
  assert found["cold"]["users"] == 2
  assert found["cold"]["recall@10"] == 1
  assert found["cold"]["ndcg@10"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
  assert found["cold"]["new@10"] == pytest.approx((1 / 3 + 1 / 2) / 2)
  assert found["warm"] == pytest.approx(
    {"recall@10": 1, "ndcg@10": 1 / np.log2(3), "new@10": 0, "users": 1}
  )
  assert found["all"]["users"] == 3
  assert "warm" not in metrics_by_target(results, np.array([3, 4, 3]), 3)


def test_only_the_first_ten_count():
  item = np.arange(12)[None]
  results = Recommendations(item, np.zeros((1, 12)), np.ones((1, 12), bool))
  assert metrics_by_target(results, np.array([10]), 5)["cold"]["recall@10"] == 0
  assert metrics_by_target(results, np.array([9]), 5)["cold"]["recall@10"] == 1
  assert metrics_by_target(results, np.array([9]), 9)["cold"]["new@10"] == pytest.approx(0.1)


def test_the_share_that_finds_most_within_the_loss_is_chosen():
  candidates = [
    Candidate(0.0, 0.0, 0.100),
    Candidate(0.01, 0.02, 0.099),
    Candidate(0.02, 0.04, 0.098),
    Candidate(0.03, 0.04, 0.0975),
    Candidate(0.05, 0.09, 0.090),
  ]
  assert choose_share(candidates, 0.03).share == 0.02
  assert choose_share(candidates, 0.015).share == 0.01
  assert choose_share(candidates, 0.2).share == 0.05
  assert choose_share(candidates, 0.0).share == 0.0


def test_the_report_says_what_was_held_out_and_chosen():
  kind = {"recall@10": 0.05, "ndcg@10": 0.02, "new@10": 0.061, "users": 1052}
  text = report_text(
    {
      "dataset": "beauty",
      "items": {"known": 11496, "new": 605},
      "users_left_out": {"valid": 1, "test": 2},
      "largest_loss": 0.02,
      "share": 0.01,
      "request_time": "sidrec: request_time=known",
      "valid": {"0": {"cold": kind}},
      "test": {"share 0.01": {"cold": kind, "warm": kind}},
    }
  )
  assert "605 items were held out" in text
  assert text.endswith("Times: sidrec: request_time=known.\n")
  assert text.count("0.0500") == 3
  assert "6.1%" in text
  assert all(len(line) <= 100 for line in text.splitlines())
