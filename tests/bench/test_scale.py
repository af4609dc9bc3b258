"""The scaling benchmark: processes really join, and predictions follow their formula."""

import os
import sys

import pytest

from sidrec.bench import scale, scale_table
from sidrec.bench.scale_training import SIZES

COST = scale_table.StepCost(16, 4e9, 5e9, 2e8, 8_000_000, 2_000_000)


def test_two_processes_join_and_train(tmp_path):
  effort = scale.Effort(rounds=1, steps_per_call=1, warmup=1, calls=2, timeout=300.0)
  seconds = scale.run_group("tiny", 2, 1, effort, str(tmp_path))  # checks that 2 devices are there
  assert len(seconds) == 2
  assert all(second > 0 for second in seconds)


def test_a_process_that_fails_is_told(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "executable", "/bin/false" if os.path.exists("/bin/false") else "false")
  with pytest.raises(RuntimeError, match="a process of 1 failed"):
    scale.run_group("tiny", 1, 1, scale.Effort(timeout=60.0), str(tmp_path))


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


def test_the_cost_of_a_step_grows_with_its_rows():
  one, two = (scale_table.step_cost(SIZES["tiny"], rows) for rows in (8, 16))
  assert two.model_flops > 1.8 * one.model_flops
  assert one.gradient_bytes == two.gradient_bytes == 4 * one.parameters
  table = scale_table.table(one, 0.3)
  assert len(table) == len(scale_table.CHIPS) * 6
  assert len(scale_table.lines(one, table)) == len(table) + 2
