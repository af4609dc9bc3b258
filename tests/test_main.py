"""The command line: one sentence for a mistake, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*flags):
  command = [sys.executable, "-m", "sidrec.main", *flags]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_main_is_short():
  assert len((ROOT / "sidrec" / "main.py").read_text().splitlines()) < 80


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--mode=recommend", "--user=8"], "stage 'prepare' is not done"),
    (["--mode=report"], "stage 'prepare' is not done"),
    (["--mode=recommend"], "needs one of --user, --users, --history and --items"),
    (["--mode=recommend", "--user=8", "--k=70"], "add --config.search.beams=70"),
    (["--mode=recommend", "--user="], "--user is empty"),
    (["--mode=recommend", "--user=8", "--k=-3"], "-3"),
    (["--config.data.source=movilens-1m"], "did you mean 'movielens-1m'?"),
    (["--config.train.stepz=3"], 'Did you mean "steps"'),
    (["--config.trian.steps=3"], "no such setting"),
    (["--config.train.steps=many"], "invalid literal for int"),
    (["--mode=trane"], "should be one of"),
    (["--seeds=2"], "--seeds goes with --mode=evaluate"),
    (["--format=llm"], "--format goes with --mode=export"),
    (["--mode=export"], "--mode=export needs a folder to write: --output=FOLDER"),
    (["--mode=evaluate", "--seeds=0"], "--seeds must be 1 or more, not 0"),
  ],
)
def test_mistakes(tmp_path, flags, sentence):
  done = run("--config=configs/demo.py", f"--workdir={tmp_path}", *flags)
  assert done.returncode != 0
  assert sentence in done.stderr
  assert "Traceback" not in done.stderr
