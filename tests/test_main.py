"""The command line: one sentence for a mistake, no traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from processes import SECONDS, environment

ROOT = Path(__file__).parents[1]


def test_main_is_short():
  assert len((ROOT / "sidrec" / "main.py").read_text().splitlines()) < 80


MISTAKES = [
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
]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
  """How each command ended, in forks of one process that has imported everything."""
  common = [
    "sidrec.main",
    "--config=configs/demo.py",
    f"--workdir={tmp_path_factory.mktemp('run')}",
  ]
  jobs = [{"do": "run", "argv": [*common, *flags]} for flags, _ in MISTAKES]
  done = subprocess.run(
    [sys.executable, "tests/readme_worker.py"],
    input=json.dumps(jobs),
    cwd=ROOT,
    env=environment(1),
    capture_output=True,
    text=True,
    timeout=SECONDS,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[" ".join(f) for f, _ in MISTAKES])
def test_mistakes(ended, number):
  assert ended[number]["status"] != 0
  assert MISTAKES[number][1] in ended[number]["output"]
  assert "Traceback" not in ended[number]["output"]
