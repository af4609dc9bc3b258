"""The table and the sentence that an evaluation ends with."""

import numpy as np
import pytest

from sidrec.evaluation.intervals import difference_rows
from sidrec.evaluation.protocol import METRICS, WAYS
from sidrec.evaluation.summary import headline, summary_text

RNG = np.random.default_rng(0)
OURS = RNG.uniform(size=80).astype(np.float32)


def measured(**gaps):
  """(results, per_user): sidrec, and others that are so much worse for each user."""
  value_U = {"sidrec": OURS, **{name: OURS - np.float32(gap) for name, gap in gaps.items()}}
  per_user = {
    f"{name}/test/{way}/{metric}": x
    for name, x in value_U.items()
    for way in WAYS
    for metric in METRICS
  }
  results = {
    name: {"test": {way: dict.fromkeys(METRICS, float(x.mean())) for way in WAYS}}
    for name, x in value_U.items()
  }
  return results, per_user


@pytest.mark.parametrize(
  ("gap", "verdict"),
  [
    (0.1, "sidrec is better than knn, the best baseline"),
    (-0.1, "sidrec is worse than knn, the best baseline"),
    (RNG.normal(size=80), "sidrec ties with knn, the best baseline"),
  ],
)
def test_the_sentence_says_who_wins_and_who_loses(gap, verdict):
  assert headline(*measured(knn=gap, popular=5.0), 200).startswith(verdict)


def test_its_interval_is_that_of_the_table_of_differences():
  results, per_user = measured(knn=RNG.normal(size=80))
  cell = difference_rows(per_user, "test", 500)[1][2]  # knn minus sidrec, masked NDCG@10
  mean, low, high = (float(x.strip("[],")) for x in cell.split()[:3])
  said = headline(results, per_user, 500)
  assert f"{-mean:+.4f} [{-high:+.4f}, {-low:+.4f}]" in said


def test_a_baseline_that_is_measured_in_one_way_has_dashes_and_is_not_the_best():
  results, per_user = measured(knn=0.1, own=-0.3)
  del results["own"]["test"]["masked"]
  per_user = {path: x for path, x in per_user.items() if not path.startswith("own/test/masked")}
  text = summary_text(results, per_user, 200)
  (row,) = (line.split() for line in text.split("\n") if line.startswith("own"))
  assert row[1:3] == ["-", "-"]
  assert "better than knn" in text


def test_without_others_there_is_no_sentence():
  assert headline(*measured(), 200) == ""
