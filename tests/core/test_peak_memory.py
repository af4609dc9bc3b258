import numpy as np
import pytest

from sidrec.core import peak_memory as peak_memory_lib
from sidrec.core.peak_memory import forget_peak, peak_memory

MIB = 1 << 20


@pytest.mark.skipif(peak_memory() is None, reason="the system does not say it")
def test_the_peak_is_what_was_held_since_the_last_start():
  forget_peak()
  before = peak_memory()
  held = np.ones(64 * MIB, np.uint8)
  assert peak_memory() > before + 60 * MIB
  del held
  assert peak_memory() > before + 60 * MIB
  forget_peak()
  assert peak_memory() < before + 30 * MIB


def test_without_linux_nothing_is_said(monkeypatch, tmp_path):
  monkeypatch.setattr(peak_memory_lib, "_PROCESS", tmp_path / "missing")
  forget_peak()
  assert peak_memory() is None


def test_a_status_without_the_peak_says_nothing(monkeypatch, tmp_path):
  (tmp_path / "status").write_text("Name: x\n")
  monkeypatch.setattr(peak_memory_lib, "_PROCESS", tmp_path)
  assert peak_memory() is None
