"""Unit rows: their length, what rounding leaves, and any number of axes."""

import numpy as np

from sidrec.features.unit_rows import unit_rows


def test_rows_have_length_one_and_noise_stays_noise():
  rows = np.array([[3.0, 4.0], [0.0, 0.0], [1e-15, 0.0]])
  np.testing.assert_allclose(unit_rows(rows), [[0.6, 0.8], [0, 0], [1e-6, 0]], atol=1e-9)
  assert unit_rows(rows).dtype == np.float32
  np.testing.assert_array_equal(unit_rows(rows[None])[0], unit_rows(rows))
