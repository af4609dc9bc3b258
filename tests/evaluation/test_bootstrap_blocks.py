"""Resamples are drawn in blocks of one where more values differ than counts fit memory."""

import numpy as np

from sidrec.evaluation import bootstrap


def test_more_values_than_fit_at_once(monkeypatch):
  value_U = np.random.default_rng(0).random(50)
  whole_R = bootstrap.resampled_means(value_U, 20, seed=3)
  monkeypatch.setattr(bootstrap, "_MAX_COUNTS", 49)
  # Up to rounding: one product of a matrix, or one of each row.
  np.testing.assert_allclose(bootstrap.resampled_means(value_U, 20, seed=3), whole_R)


def test_differences_of_ndcg_fit_at_once():
  """They have 121 distinct values at most."""
  assert bootstrap.RESAMPLES * 121 <= bootstrap._MAX_COUNTS
