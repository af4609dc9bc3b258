"""Real processes: killed at any moment of a save; two that have to agree on a checkpoint."""

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def run(script, *args, seconds):
  """Runs a script with one CPU device a process; returns its JSON lines and its stderr."""
  done = subprocess.run(
    [sys.executable, "-W", "ignore", TESTS / "training" / script, *args],
    capture_output=True,
    text=True,
    timeout=seconds,
    check=False,
    env=os.environ
    | {
      "JAX_PLATFORMS": "cpu",
      "JAX_NUM_CPU_DEVICES": "1",
      "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
    },
  )
  assert done.returncode == 0, done.stderr
  # Gloo prints lines of its own, and of two processes at once a line's end may stand alone.
  lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
  return lines, done.stderr


def test_a_run_killed_at_any_moment_of_a_save_has_its_last_checkpoint(tmp_path):
  rounds, stderr = run("killed_saver.py", tmp_path, "20", seconds=200)
  assert len(rounds) == 21
  assert "damaged" not in stderr
  assert all(report["killed"] and report["sound"] for report in rounds)
  for before, after in itertools.pairwise(rounds):
    # Whatever was known to be saved is there; the save in progress may be there or not.
    saved = before.get("saved", before["restored"])
    assert saved <= after["restored"] <= saved + 1
  assert sum(report["unfinished"] for report in rounds) >= 5, "too few kills met a save"
  assert rounds[-1]["restored"] > 0


def test_two_processes_agree_on_what_is_damaged_and_go_on(tmp_path):
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  processes, stderr = run("two_savers.py", tmp_path, str(port), seconds=100)
  assert len(processes) == 2, stderr
  assert processes[0] == processes[1]
  hidden, there_again, damaged, later, saved_again = processes[0]["seen"]
  assert hidden["step"] is None
  assert "nothing was deleted" in hidden["error"]
  assert there_again == {"step": 300, "sound": True, "best": 300}
  assert damaged == later == {"step": 200, "sound": True, "best": 200}
  assert saved_again == {"step": 300, "sound": True, "best": 200}
  # Only the primary host speaks, and only of what it passes over.
  assert stderr.count("sidrec:") == stderr.count("latest/300 is damaged") == 1
