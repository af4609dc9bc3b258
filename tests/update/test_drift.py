"""Whether new items still suit the tokenizer."""

import json

import numpy as np
import pytest

from sidrec.run.settings import UpdateConfig
from sidrec.update.drift import drift_of, drift_text, due

rng = np.random.default_rng(0)
ALL = np.stack(np.unravel_index(rng.permutation(1024), (32, 32)), axis=1)
OLD, FREE = ALL[:200], ALL[200:260]
VECTORS = rng.normal(size=(260, 3))
NEW_N = np.arange(260) >= 200


def found_of(new_codes, noise=0.1):
  codes = np.concatenate([OLD, new_codes])
  noise_N = np.where(NEW_N, noise, 0.1)[:, None]
  return drift_of(codes, NEW_N, VECTORS, VECTORS + noise_N, 0)


def test_items_like_the_old_ones_make_none_due():
  found = found_of(FREE)
  assert (found["new items"], found["old items"]) == (60, 200)
  assert found["share a tuple"]["old"] == 0
  # 60 items drawn at random use most of 32 codes, old and new ones alike.
  perplexity = found["perplexity of each level"]
  assert perplexity["as many old (60)"] == pytest.approx(perplexity["new"], rel=0.15)
  assert 18 < perplexity["new"][0] < 30
  assert found["mean squared error"] == pytest.approx({"new": 0.03, "old": 0.03})
  assert due(found, UpdateConfig()) == []
  assert "due" not in drift_text(found, UpdateConfig())
  json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
  ("codes", "noise", "reason"),
  [
    (OLD[:60], 0.1, "100% of them share a tuple (30% of old ones)"),
    (np.stack([np.full(60, 3), np.arange(60) % 3 + 32], axis=1), 0.1, "level 1 has perplexity 1.0"),
    (FREE, 0.2, "codes lose 0.12 of"),
  ],
)
def test_each_drift_is_named(codes, noise, reason):
  found = found_of(codes, noise)
  assert any(reason in said for said in due(found, UpdateConfig()))
  assert "a new tokenizer is due" in drift_text(found, UpdateConfig())
  assert due(found, UpdateConfig(drift_items=61)) == []  # too few to tell


def test_nothing_new_is_no_drift():
  assert due(None, UpdateConfig()) == []
  assert "no item came" in drift_text(None, UpdateConfig())
