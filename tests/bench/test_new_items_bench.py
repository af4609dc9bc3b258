"""What new items cost: the benchmark names its figures, of the searches that it says."""

import pytest
from described import fit_described

from sidrec.bench import new_items


@pytest.mark.slow  # it trains a run and compiles six programs
def test_the_figures_of_a_small_run(tmp_path):
  run = fit_described(tmp_path)
  searches = new_items.searches_of(run, [0, 2])
  assert [*searches] == ["model_0", "model_2", "similarity_0", "similarity_2"]
  assert [search.num_items for search in searches.values()] == [30, 32, 30, 32]
  assert [bool(searches[name].new.any_new) for name in ("similarity_0", "similarity_2")] == [
    False,
    True,
  ]
  found = new_items.measure(run, [0, 2], 1)
  assert found["similarity_0_bytes"] > found["model_0_bytes"] > found["trained_bytes"] > 0
  for name in ("trained", *searches):
    for batch in new_items.BATCHES:
      assert found[f"{name}_batch_{batch}_cpu_ms"] > 0
