"""The most memory that each stage holds with a catalogue of a million items, as it prints it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import as_users_have_it

ROOT = Path(__file__).parents[3]
ITEMS, USERS = 1_000_000, 200_000
# GiB. The base is 0.5: what is imported, and compiled programs. Counting what followed takes 2.
MOST = {"world": 1.0, "prepare": 1.0, "tokenize": 2.5, "train": 3.0}


def printed(*command):
  command = [sys.executable, "-m", *command]
  done = subprocess.run(
    command, cwd=ROOT, env=as_users_have_it(), capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-2000:]
  return done.stdout + done.stderr


@pytest.mark.slow
def test_each_stage_holds_a_million_items_in_a_few_gib(tmp_path):
  world = tmp_path / "world"
  lines = printed("sidrec.bench.world", f"--items={ITEMS}", f"--users={USERS}", f"--folder={world}")
  lines += printed(
    "sidrec.main",
    "--config=configs/world.py:1e6",
    f"--workdir={tmp_path / 'run'}",
    "--mode=train",
    f"--config.data.path={world / 'histories'}",
    f"--config.features.text.path={world / 'vectors.npy'}",
    "--config.train.steps=20",
    "--config.train.validate_every=20",
    "--config.train.valid_users=100",
  )
  found = re.findall(r"^(\w+): .*?(?:at most|with) ([\d.]+) GiB", lines, re.MULTILINE)
  peaks = {name: float(gib) for name, gib in found}
  assert set(peaks) == set(MOST), lines
  for name, most in MOST.items():
    assert 0.1 < peaks[name] < most, (name, peaks)
