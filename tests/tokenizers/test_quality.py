"""The quality report, against cases counted by hand."""

import json

import numpy as np
import pytest

from sidrec.tokenizers.quality import report, table, unexplained_variance

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
  with pytest.raises(ValueError, match="two of"):
    report(CODES, 4, np.zeros((4, 2)), np.zeros((4, 3)))
  with pytest.raises(ValueError, match="no variance"):
    unexplained_variance(np.ones((3, 2)), np.ones((3, 2)))
