"""The benchmark of large catalogues, on a small one."""

import numpy as np

from sidrec.bench.large_catalogue import make_file, measure


def test_figures_of_a_small_file(tmp_path):
  path = tmp_path / "vectors.npy"
  make_file(path, 500, 8)
  assert [p.name for p in tmp_path.iterdir()] == ["vectors.npy"]
  assert np.load(path).std() > 0.5
  measured = measure(path, levels=2, codes=16, iterations=3)
  assert (measured["items"], measured["width"]) == (500, 8)
  assert 100 < measured["distinct_ids"] <= 256
  assert measured["total_minutes"] > 0
