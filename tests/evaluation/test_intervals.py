import numpy as np
import pytest

from sidrec.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from sidrec.evaluation.intervals import (
  columns_of,
  difference_rows,
  difference_text,
  interval_text,
  intervals_report,
  mean_rows,
  titles_of,
)

COLUMNS = columns_of(())
TITLES = titles_of(COLUMNS)

NUM_USERS, RESAMPLES = 50, 200
SHARES = {"popular": 0.1, "sidrec": 0.5, "sasrec": 0.4}  # of users with a hit


def users(systems=tuple(SHARES), splits=("valid", "test")):
  """Made-up metrics; no two of them are alike."""
  rng = np.random.default_rng(0)
  made = {}
  for system in systems:
    for split in splits:
      for way, metric in COLUMNS:
        hit_U = rng.random(NUM_USERS) < SHARES[system]
        made[f"{system}/{split}/{way}/{metric}"] = hit_U * rng.integers(1, 4, NUM_USERS) / 3
  return made


def test_the_columns_are_both_metrics_of_both_ways():
  assert TITLES == (
    "masked: Recall@10",
    "masked: NDCG@10",
    "unmasked: Recall@10",
    "unmasked: NDCG@10",
  )


def test_a_plugins_metric_is_a_column_of_both_tables():
  per_user = users()
  for path in list(per_user):
    per_user[path.rpartition("/")[0] + "/late"] = per_user[path] / 2
  header, row = mean_rows(per_user, "test", RESAMPLES)
  assert header == ["mean", *TITLES[:2], "masked: late", *TITLES[2:], "unmasked: late"]
  found = bootstrap_mean(per_user["sidrec/test/masked/late"], RESAMPLES)
  assert row[3] == f"{found.mean:.4f} {interval_text(found)}"
  header, row, _ = difference_rows(per_user, "test", RESAMPLES)
  pair = (per_user[f"{system}/test/unmasked/late"] for system in ("popular", "sidrec"))
  assert row[header.index("unmasked: late")] == difference_text(
    bootstrap_difference(*pair, RESAMPLES)
  )


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_mean_has_the_interval_of_its_own_users(split):
  per_user = users()
  header, row = mean_rows(per_user, split, RESAMPLES)
  assert header == ["mean", *TITLES]
  assert row[0] == "sidrec"
  for cell, (way, metric) in zip(row[1:], COLUMNS, strict=True):
    found = bootstrap_mean(per_user[f"sidrec/{split}/{way}/{metric}"], RESAMPLES)
    assert cell == f"{found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]"
    assert cell.endswith(interval_text(found))
  assert len(set(row)) == 5


@pytest.mark.parametrize("split", ["valid", "test"])
def test_every_other_system_is_compared_with_the_reference_on_the_same_users(split):
  per_user = users()
  header, *rows = difference_rows(per_user, split, RESAMPLES)
  assert header == ["difference", *TITLES]
  assert [row[0] for row in rows] == ["popular − sidrec", "sasrec − sidrec"]
  for system, row in zip(["popular", "sasrec"], rows, strict=True):
    for cell, (way, metric) in zip(row[1:], COLUMNS, strict=True):
      value_U, other_U = (per_user[f"{s}/{split}/{way}/{metric}"] for s in (system, "sidrec"))
      found = bootstrap_difference(value_U, other_U, RESAMPLES)
      assert cell == difference_text(found)
      assert float(cell.split()[0]) == pytest.approx(value_U.mean() - other_U.mean(), abs=5e-5)


def test_what_was_not_kept_is_a_dash():
  per_user = users()
  del per_user["sidrec/test/masked/ndcg@10"]
  del per_user["popular/test/unmasked/recall@10"]
  (_, mean), (_, popular, sasrec) = (
    make(per_user, "test", RESAMPLES) for make in (mean_rows, difference_rows)
  )
  assert [cell == "-" for cell in mean[1:]] == [False, True, False, False]
  assert [cell == "-" for cell in popular[1:]] == [False, True, True, False]
  assert [cell == "-" for cell in sasrec[1:]] == [False, True, False, False]


def test_without_the_reference_there_are_no_rows():
  others = users(("popular", "sasrec"))
  assert mean_rows(others, "test", RESAMPLES) == []
  assert difference_rows(others, "test", RESAMPLES) == []
  assert intervals_report(others, RESAMPLES) == ""


def test_the_report_holds_both_splits_and_says_what_its_cells_are():
  per_user = users()
  heading, *tables = intervals_report(per_user, RESAMPLES).rstrip("\n").split("\n\n")
  assert "95% interval over users" in heading
  assert "200 resamples" in heading
  firsts = ["valid: mean", "valid: difference", "test: mean", "test: difference"]
  assert [table.split("  ")[0] for table in tables] == firsts
  for split, at in [("valid", 1), ("test", 3)]:
    for cells in difference_rows(per_user, split, RESAMPLES)[1:]:
      assert all(cell in tables[at] for cell in cells)


def test_the_report_of_one_split_alone():
  text = intervals_report(users(splits=("test",)), RESAMPLES)
  assert "test: difference" in text
  assert "valid" not in text
