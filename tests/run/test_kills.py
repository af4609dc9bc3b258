"""A run that is killed at any moment goes on to the same end, and never loses what could answer.

`SIDREC_KILLS=30 pytest -m slow tests/run/test_kills.py` kills at so many moments.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings

import jax
import numpy as np
import pytest
from processes import ROOT, SECONDS, environment

import sidrec
from sidrec.evaluation.report import read_evaluation, read_per_user

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("SIDREC_KILLS", "5"))
KILLS_A_RUN = 5
# The first run's settings, and those of the run that is killed in the same folder.
BEFORE = ["--config.seed=1", "--config.train.steps=40", "--config.train.validate_every=20"]
AFTER = ["--config.train.steps=120", "--config.train.validate_every=20"]


def start(workdir, settings, cache):
  command = [sys.executable, "-m", "sidrec.main", "--config=configs/demo.py:tiny", *settings]
  command += [f"--workdir={workdir}", f"--compilation_cache={cache}"]
  return subprocess.Popen(
    command,
    cwd=ROOT,
    env=environment(1),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    start_new_session=True,
  )


def to_the_end(workdir, settings, cache):
  output, _ = (process := start(workdir, settings, cache)).communicate(timeout=SECONDS)
  assert process.returncode == 0, output


def recommended(workdir):
  """The lists of the run that answers: (its seed, rows, scores)."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that a newer run is on its way
    run = sidrec.load(workdir)
  rows = [run.dataset.histories.of(user)[:-2].tolist() for user in range(5)]
  result = run.recommend_rows(rows)
  return (
    run.config.seed,
    np.asarray(result.item_BxK).tolist(),
    np.asarray(result.score_BxK).tolist(),
  )


def results(workdir):
  """All that a run ends with: parameters bit for bit, IDs, evaluation."""
  run = sidrec.load(workdir)
  params = {
    jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree.leaves_with_path(run.params)
  }
  evaluation = read_evaluation(workdir / "evaluation.json")
  return params, run.ids.codes, evaluation["results"], read_per_user(workdir / "per_user.npz")


def test_a_killed_run_goes_on_to_the_same_end_and_can_always_recommend(tmp_path):
  cache, undisturbed = tmp_path / "cache", tmp_path / "undisturbed"
  to_the_end(undisturbed, BEFORE, cache)
  before = recommended(undisturbed)
  shutil.copytree(undisturbed, tmp_path / "before", symlinks=True)
  began = time.monotonic()
  to_the_end(undisturbed, AFTER, cache)
  duration = time.monotonic() - began
  expected, after = results(undisturbed), recommended(undisturbed)
  assert before[0] != after[0]

  rng, kills, runs = random.Random(0), 0, 0
  while kills < KILLS:
    runs += 1
    workdir = tmp_path / f"killed {runs}"
    shutil.copytree(tmp_path / "before", workdir, symlinks=True)
    for _ in range(KILLS_A_RUN):
      process, began = start(workdir, AFTER, cache), time.monotonic()
      try:
        process.communicate(timeout=rng.uniform(0, duration))
        duration = min(duration, time.monotonic() - began)  # it came to its end
        break
      except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
      kills += 1
      found = recommended(workdir)
      assert found in (before, after), f"kill {kills}"
    to_the_end(workdir, AFTER, cache)
    np.testing.assert_equal(results(workdir), expected, f"after kill {kills}")
    print(f"{kills} kills in {runs} runs")
