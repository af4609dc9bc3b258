"""The scaling benchmark: processes really join, and predictions follow their formula."""

import pytest

from sidrec.bench import scale, scale_table
from sidrec.bench.scale_training import SIZES

COST = scale_table.StepCost(16, 4e9, 5e9, 2e8, 8_000_000, 2_000_000)


@pytest.mark.slow  # tests/parallel trains with two processes, too
def test_two_processes_join_and_train(tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
  effort = scale.Effort(steps=1, timeout=300.0)
  with scale.start_group("tiny", 2, 1, effort, tmp_path) as call:  # checks that 2 devices join
    assert call() > call() > 0  # the first one compiles


@pytest.mark.slow
def test_a_process_that_fails_is_told(tmp_path):
  with (
    pytest.raises(RuntimeError, match=r"(?s)a group of 2 process\(es\) failed .* invalid choice"),
    scale.start_group("huge", 2, 1, scale.Effort(timeout=60.0), tmp_path),
  ):
    pass


def test_a_ring_moves_twice_the_gradient_less_the_own_part():
  chip = scale_table.Chip(1e14, 1e12, 1e11, "")
  eight = scale_table.predict(COST, chip, 8, 0.5)
  assert eight["network_bytes_per_chip"] == 2 * 7 / 8 * 8_000_000
  assert eight["compute_s"] == 2e8 / 1e12  # the memory is slower than 4e9 / 5e13
  assert eight["network_s"] == pytest.approx(1.4e7 / 1e11 + 2 * (1 + 3) * 1e-6)
  assert eight["step_s"] == eight["compute_s"] + eight["network_s"]
  assert eight["global_rows"] == 128
  many = scale_table.predict(COST, chip, 256, 0.001)
  assert many["compute_s"] == 4e9 / 1e11
  assert many["efficiency"] > 0.99


def test_the_table_of_a_compiled_step():
  cost = scale_table.step_cost(SIZES["tiny"], 8)
  assert cost.gradient_bytes == 4 * cost.parameters
  assert 0.5 * cost.model_flops < cost.compiled_flops < 4 * cost.model_flops
  assert cost.compiled_bytes > 3 * cost.gradient_bytes  # the optimiser reads and writes its moments
  table = scale_table.table(cost, 0.3)
  assert len(table) == len(scale_table.CHIPS) * 6
  assert len(scale_table.lines(cost, table)) == len(table) + 2
