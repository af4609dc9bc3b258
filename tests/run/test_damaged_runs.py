"""Damage to any file of a finished run: one sentence that names it, and never another answer.

`SIDREC_FUZZ=500` tries so many damaged folders instead of a few.
"""

import os
import random
import shutil
import time

import jax
import numpy as np
import pytest
from test_damaged_files import damaged
from tiny import ROWS, tiny_config

import sidrec
from sidrec.evaluation.results import read_run
from sidrec.run.load import load_sasrec, load_semantic_ids
from sidrec.run.stages import run_to, status_text

FOLDERS = int(os.environ.get("SIDREC_FUZZ", "20"))
CPU_SECONDS = 5.0  # the most that an answer, or a sentence, may take
SECONDS = 60.0  # by the clock, on a machine that does other things
KINDS = ["bytes"] * 4 + ["empty", "missing", "a folder", "a loop", "another file's content"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A finished run: (its folder, its config)."""
  folder = tmp_path_factory.mktemp("whole")
  config = tiny_config(folder)
  config.sasrec.enabled = True
  run_to("evaluate", config, folder / "run")
  return folder / "run", config


def doors(folder, config):
  """Whatever reads a finished run: (name, function)."""
  return {
    "load": lambda: recommended(sidrec.load(folder)),
    "load_semantic_ids": lambda: load_semantic_ids(config, folder).codes.tolist(),
    "load_sasrec": lambda: [x.tolist() for x in jax.tree.leaves(load_sasrec(config, folder)[1])],
    "read_run": lambda: read_run(folder).evaluation,
    "status": lambda: status_text(config, folder),
  }


def recommended(run):
  result = run.recommend_rows(ROWS[:3], 5)
  return run.config.seed, run.ids.codes.tolist(), *(np.asarray(x).tolist() for x in result)


def damage(file, kind, others, rng):
  """Damages a file; returns whether it is another one now."""
  before = file.read_bytes()
  if kind == "bytes":
    file.write_bytes(damaged(before, rng) if before else b"?")
  elif kind == "another file's content":
    file.write_bytes(rng.choice(others).read_bytes())
  elif kind == "empty":
    file.write_bytes(b"")
  else:
    file.unlink()
    if kind == "a folder":
      file.mkdir()
    elif kind == "a loop":
      file.symlink_to(file.name)
  return not file.is_file() or file.read_bytes() != before


@pytest.mark.filterwarnings("ignore:stage")
def test_damage_is_named_in_one_sentence_and_never_changes_an_answer(whole, tmp_path, capsys):
  folder, config = whole
  expected = {name: door() for name, door in doors(folder, config).items()}
  files = sorted(path for path in (folder / "stages").rglob("*") if path.is_file())
  rng = random.Random("damaged runs")
  refused = 0
  for number in range(FOLDERS):
    copy = tmp_path / str(number)
    shutil.copytree(folder, copy, symlinks=True)
    file, kind = rng.choice(files), rng.choice(KINDS)
    place = copy / file.relative_to(folder)
    if not damage(place, kind, files, rng):
      continue
    case = f"{number}: {kind} at {place}"
    for name, door in doors(copy, config).items():
      start, cpu = time.perf_counter(), time.process_time()
      try:
        found = door()
      except (ValueError, FileNotFoundError, OSError) as error:
        message = str(error)
        assert "\n" not in message, f"{case}, {name}: {message}"
        assert len(message) < 600, f"{case}, {name}: {message}"
        assert place.name in message or place.parent.name in message, f"{case}, {name}: {message}"
        refused += 1
      else:
        assert found == expected[name] or name in ("status", "run"), (
          f"{case}, {name}: another answer"
        )
      assert time.process_time() - cpu < CPU_SECONDS, f"{case}, {name}"
      assert time.perf_counter() - start < SECONDS, f"{case}, {name}"
    shutil.rmtree(copy)
  assert refused > FOLDERS / 4  # checkpoints are only for going on
