"""The quality report, against cases counted by hand."""

import json

import numpy as np
import pytest

from sidrec.tokenizers.report.cluster_metrics import cluster_metrics
from sidrec.tokenizers.report.knn_overlap import knn_overlap
from sidrec.tokenizers.report.quality import report, table, unexplained_variance

# Level 1: two of four codes, 3 + 1 items. Level 2: three codes, 2 + 1 + 1 items.
CODES = np.array([[0, 1], [0, 1], [0, 2], [3, 0]])


def test_levels_by_hand():
  first, second = report(CODES, 4)["levels"]
  entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
  assert first == {
    "level": 1,
    "codes_used": 2,
    "share_used": 0.5,
    "dead_codes": 2,
    "perplexity": pytest.approx(np.exp(entropy)),
    "largest_cluster": 3,
  }
  assert second["perplexity"] == pytest.approx(2**1.5)  # entropy of (1/2, 1/4, 1/4) is 1.5 bits
  assert (second["codes_used"], second["dead_codes"], second["largest_cluster"]) == (3, 1, 2)


def test_the_tables_cells_stand_under_their_headings():
  lines = table(report(CODES, 4)).splitlines()
  heading, first, second = (line.replace("codes used", "used").split() for line in lines[2:5])
  assert heading == ["level", "used", "share", "dead", "perplexity", "largest"]
  assert first == ["1", "2", "50.0%", "2", "1.8", "3"]
  assert second == ["2", "3", "75.0%", "1", "2.8", "2"]


def test_overall_by_hand():
  measured = report(CODES, 4)
  assert measured["prefixes"] == [
    {"depth": 1, "distinct": 2, "items_mean": 2.0, "items_max": 3},
    {"depth": 2, "distinct": 3, "items_mean": pytest.approx(4 / 3), "items_max": 2},
  ]
  assert measured["collision_rate"] == 0.5
  assert measured["distinct_ids"] == 3
  assert measured["largest_group"] == 2
  assert measured["unexplained_variance"] is None
  for part in ("neighbours", "agreement", "timings", "collisions"):
    assert measured[part] is None


def test_perplexity_is_the_codebook_size_only_for_uniform_codes():
  uniform = np.arange(64)[:, None] % 8
  assert report(uniform, 8)["levels"][0]["perplexity"] == pytest.approx(8)
  assert report(np.zeros((64, 1), int), 8)["levels"][0]["perplexity"] == pytest.approx(1)


def test_unexplained_variance_by_hand():
  vectors = np.array([[0.0, 0.0], [2.0, 4.0]])  # the mean is (1, 2), the variance 10 in all
  assert unexplained_variance(vectors, vectors) == 0
  assert unexplained_variance(vectors, np.array([[1.0, 2.0], [1.0, 2.0]])) == pytest.approx(1)
  assert unexplained_variance(vectors, np.array([[1.0, 0.0], [2.0, 4.0]])) == pytest.approx(0.1)


def test_unexplained_variance_survives_a_large_mean():
  vectors = np.array([[10000.0], [10000.5], [10001.0]], np.float32)
  reconstructed = vectors + np.array([[0.5], [0.0], [0.0]], np.float32)
  assert unexplained_variance(vectors, reconstructed) == pytest.approx(0.5, rel=1e-6)


def test_parts_are_those_of_their_modules():
  rng = np.random.default_rng(0)
  vectors = rng.normal(size=(40, 3)).astype(np.float32)
  codes = (vectors[:, :2] > 0).astype(int)
  labels = {"genre": rng.choice(["a", "b"], 40)}
  measured = report(codes, 2, vectors, labels=labels)
  assert measured["neighbours"] == knn_overlap(codes, vectors)
  assert measured["agreement"] == cluster_metrics(codes, labels)
  assert measured["unexplained_variance"] is None  # no reconstruction
  assert report(codes[:1], 2, vectors[:1])["neighbours"] is None  # one item has no neighbours
  assert report(codes, 2, labels={})["agreement"] is None


def test_timings_and_collisions_by_hand():
  timings = {"fit": 2, "encode": 0.0}
  handled = {"digits added": np.int64(1), "items moved": 1234, "method": "extra digit"}
  measured = report(CODES, 4, timings=timings, collisions=handled)
  assert measured["timings"] == {
    "fit": {"seconds": 2.0, "items_per_second": 2.0},
    "encode": {"seconds": 0.0, "items_per_second": None},
  }
  assert json.loads(json.dumps(measured)) == measured
  lines = [line.split() for line in table(measured).splitlines()]
  assert ["seconds,", "fit", "2.00", "2", "items/s"] in lines
  assert ["seconds,", "encode", "0.00"] in lines
  assert ["collisions,", "items", "moved", "1,234"] in lines
  assert ["collisions,", "digits", "added", "1"] in lines
  assert ["collisions,", "method", "extra", "digit"] in lines


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_refuses_seconds_that_are_no_time(seconds):
  with pytest.raises(ValueError, match="stage 'fit' took"):
    report(CODES, 4, timings={"fit": seconds})


def test_the_whole_table_fits_100_columns():
  rng = np.random.default_rng(0)
  vectors = rng.normal(size=(300, 3)).astype(np.float32)
  codes = rng.integers(0, 8, size=(300, 3))
  labels = {"category": rng.choice(["a", "b", ""], 300), "decade": rng.choice(5, 300)}
  handled = {"a" * 90: 1, "method": "b" * 90}
  text = table(report(codes, 8, vectors, vectors, labels=labels, collisions=handled))
  assert max(map(len, text.splitlines())) <= 100
  for part in ("3 levels of 8 codes", "nearest vectors", "purity", "category", "decade"):
    assert part in text


def test_the_report_is_json_and_fits_80_columns():
  rng = np.random.default_rng(0)
  vectors = rng.normal(size=(3000, 3))
  codes = rng.integers(0, 4096, size=(3000, 4), dtype=np.int32)
  measured = report(codes, 4096, vectors, 0.9 * vectors)
  assert json.loads(json.dumps(measured)) == measured
  text = table(measured)
  assert max(map(len, text.splitlines())) <= 80
  levels = text.splitlines()[2:7]
  assert len({len(line) for line in levels}) == 1  # aligned
  for row in measured["levels"]:
    assert f"{row['codes_used']:,}" in text
    assert f"{row['perplexity']:,.1f}" in text
  assert f"{measured['unexplained_variance']:.2%}" in text
  assert "variance" not in table(report(codes, 4096))


@pytest.mark.parametrize(
  ("codes", "match"),
  [
    (np.array([[0, 4]]), "outside 0..3"),
    (np.zeros((0, 2), int), "at least one each"),
    (np.zeros(3, int), "items, levels"),
    (np.zeros((2, 2)), "integers"),
  ],
)
def test_refuses_bad_codes(codes, match):
  with pytest.raises(ValueError, match=match):
    report(codes, 4)


def test_refuses_vectors_that_do_not_match():
  with pytest.raises(ValueError, match="3 vectors do not match the codes of 4 items"):
    report(CODES, 4, np.zeros((3, 2)), np.zeros((3, 2)))
  with pytest.raises(ValueError, match="3 vectors do not match the codes of 4 items"):
    report(CODES, 4, np.zeros((3, 2)))
  with pytest.raises(ValueError, match="two of"):
    report(CODES, 4, np.zeros((4, 2)), np.zeros((4, 3)))
  with pytest.raises(ValueError, match="no variance"):
    unexplained_variance(np.ones((3, 2)), np.ones((3, 2)))
