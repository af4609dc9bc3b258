import json

import numpy as np
import pytest

from sidrec.evaluation.intervals import intervals_report
from sidrec.evaluation.protocol import Protocol, describe
from sidrec.evaluation.report import (
  evaluation_report,
  per_user_paths,
  read_evaluation,
  read_per_user,
  results_table,
  write_evaluation,
  write_per_user,
)

PROTOCOL = Protocol(
  dataset="tiny",
  num_users=6,
  num_items=9,
  num_results=20,
  num_beams=20,
  cold_targets={"valid": 0, "test": 1},
  tied_targets={"valid": 0.0, "test": 0.25},
)
METRICS = {
  **{"recall@1": 0.1, "recall@5": 0.2, "recall@10": 0.3, "recall@20": 0.4},
  **{"ndcg@5": 0.15, "ndcg@10": 0.1875, "ndcg@20": 0.2, "mrr": 0.125, "coverage@10": 1.0},
}
RESULTS = {
  "sidrec": {"test": {"masked": METRICS, "unmasked": {"recall@10": 0.25}}},
  "popular": {"valid": {"masked": METRICS}, "test": {"masked": METRICS}},
}


def test_the_table_has_a_row_for_each_result_and_its_columns_line_up():
  lines = results_table(RESULTS).splitlines()
  header, _, *rows = lines
  assert header.split() == ["system", "split", "seen", "items", *METRICS]
  assert [row.split()[:3] for row in rows] == [
    ["sidrec", "test", "masked"],
    ["sidrec", "test", "unmasked"],
    ["popular", "valid", "masked"],
    ["popular", "test", "masked"],
  ]
  assert rows[0].split()[3:] == [f"{value:.4f}" for value in METRICS.values()]
  assert len({len(line) for line in lines}) == 1
  for name in METRICS:
    end = header.index(name) + len(name)
    assert all(row[end - 1] != " " and row[end : end + 1] in ("", " ") for row in rows)


def test_what_was_not_measured_is_a_dash():
  row = results_table(RESULTS).splitlines()[3].split()[3:]
  assert row == ["-", "-", "0.2500", *["-"] * 6]


def test_the_protocol_and_the_intervals_stand_below_the_table():
  printed = evaluation_report(PROTOCOL, RESULTS, PER_USER, resamples=50)
  intervals = intervals_report(per_user_paths(PER_USER), 50)
  assert "0.5000 [0.0000, 1.0000]" in intervals
  assert printed == f"{results_table(RESULTS)}\n\n{describe(PROTOCOL)}\n\n{intervals}"


def test_without_users_there_are_no_intervals():
  assert evaluation_report(PROTOCOL, RESULTS, {}) == (
    f"{results_table(RESULTS)}\n\n{describe(PROTOCOL)}\n"
  )


def test_the_file_round_trips_and_nothing_else_is_left(tmp_path):
  path = tmp_path / "evaluation.json"
  path.write_text("old")
  write_evaluation(path, PROTOCOL, RESULTS)
  content = json.loads(path.read_text(encoding="utf-8"))
  assert content["results"] == RESULTS
  assert content["protocol"]["cold_targets"] == {"valid": 0, "test": 1}
  assert [entry.name for entry in tmp_path.iterdir()] == ["evaluation.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused_and_the_old_file_stays(tmp_path, value):
  path = tmp_path / "evaluation.json"
  path.write_text("old")
  with pytest.raises(ValueError, match="not a finite number"):
    write_evaluation(path, PROTOCOL, {"sidrec": {"test": {"masked": {"mrr": value}}}})
  assert path.read_text() == "old"


def test_a_failed_replacement_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / "evaluation.json"
  path.write_text("old")

  def fail(*_):
    raise OSError("disk")

  monkeypatch.setattr("os.replace", fail)
  with pytest.raises(OSError, match="disk"):
    write_evaluation(path, PROTOCOL, RESULTS)
  assert path.read_text() == "old"


def test_a_missing_directory_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="nowhere"):
    write_evaluation(tmp_path / "nowhere" / "evaluation.json", PROTOCOL, RESULTS)


PER_USER = {
  "sidrec": {
    "test": {"masked": {"recall@10": np.array([1, 0])}, "unmasked": {"ndcg@10": np.array([0.5, 0])}}
  },
  "item-knn": {"valid": {"masked": {"recall@10": np.array([0, 1, 1])}}},
}


def test_the_evaluation_reads_back(tmp_path):
  path = tmp_path / "evaluation.json"
  write_evaluation(path, PROTOCOL, RESULTS)
  content = read_evaluation(path)
  assert content["results"] == RESULTS
  assert content["protocol"]["dataset"] == "tiny"


@pytest.mark.parametrize("text", ["{", "[]", '{"results": {}}'])
def test_what_is_not_an_evaluation_is_refused_by_its_name(tmp_path, text):
  path = tmp_path / "evaluation.json"
  path.write_text(text)
  with pytest.raises(ValueError, match=r"evaluation\.json .*evaluate again"):
    read_evaluation(path)


def test_a_run_without_an_evaluation_says_what_to_do(tmp_path):
  with pytest.raises(FileNotFoundError, match="--mode=evaluate"):
    read_evaluation(tmp_path / "evaluation.json")


def test_per_user_metrics_read_back_under_their_paths(tmp_path):
  path = tmp_path / "per_user.npz"
  write_per_user(path, PER_USER)
  found = read_per_user(path)
  assert set(found) == {
    "sidrec/test/masked/recall@10",
    "sidrec/test/unmasked/ndcg@10",
    "item-knn/valid/masked/recall@10",
  }
  assert all(value_U.dtype == np.float32 for value_U in found.values())
  np.testing.assert_array_equal(found["sidrec/test/unmasked/ndcg@10"], [0.5, 0])
  assert [entry.name for entry in tmp_path.iterdir()] == ["per_user.npz"]


def test_the_file_depends_on_its_content_alone(tmp_path):
  write_per_user(tmp_path / "a.npz", PER_USER)
  write_per_user(tmp_path / "b.npz", PER_USER)
  assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_systems_of_one_split_have_the_same_users(tmp_path):
  other = {"popular": {"test": {"masked": {"recall@10": np.zeros(3)}}}}
  with pytest.raises(ValueError, match=r"popular/test/masked/recall@10 has 3 users, .* 2"):
    write_per_user(tmp_path / "per_user.npz", {**PER_USER, **other})
