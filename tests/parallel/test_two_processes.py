"""Two real processes: they train as one does, and go on after a signal as if there had been none.

All runs train the same small recommender (see train_worker.py) on the same global batches.
"""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from processes import ROOT, SECONDS, environment, free_address, together
from tiny import fitted_config
from train_worker import PER_CALL, STEPS, VALIDATE_EVERY

from sidrec.core.paths import as_path
from sidrec.run import recommend
from sidrec.run.settings import run_config
from sidrec.run.stages import run_to
from sidrec.training.checkpoint import load_params, open_checkpoints

# Sums of gradients over devices are taken in another order: over 24 steps of Adam, whose first
# steps have the size of the learning rate (1e-2) whatever the gradient's, that is what grows.
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(scope="module")
def train_in():
  """(folder, processes, devices each, kill) → how the processes ended."""

  def run(folder, processes, devices, kill=None):
    # The other one finds out that a process is gone as late as that; a busy one is late, too.
    silence = 20 if kill and kill[2] == "SIGKILL" else 60
    arguments = {"folder": str(folder), "kill": kill, "heartbeat_timeout": silence}
    if processes > 1:
      arguments |= {"coordinator": free_address(), "num_processes": processes}
    own = [{"process_id": i} if processes > 1 else {} for i in range(processes)]
    commands = [["tests/train_worker.py", json.dumps(arguments | x)] for x in own]
    return together(commands, environment(devices))

  return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, train_in):
  """The folder of a run of two processes with two devices each."""
  folder = tmp_path_factory.mktemp("undisturbed")
  for ended in train_in(folder, 2, 2):
    assert ended.status == 0, ended.stderr
  return folder


def params_of(folder):
  return jax.tree.map(np.asarray, load_params(folder / "params"))


def losses_of(folder):
  return np.array(json.loads((folder / "losses.json").read_text()))


@pytest.mark.slow  # `test_the_command_line_with_two_processes` trains with two as well
@pytest.mark.parametrize("devices", [1, 4])
def test_two_processes_train_as_one_does(tmp_path, train_in, undisturbed, devices):
  (ended,) = train_in(tmp_path, 1, devices)
  assert ended.status == 0, ended.stderr
  assert len(losses_of(tmp_path)) == STEPS // PER_CALL
  np.testing.assert_allclose(losses_of(undisturbed), losses_of(tmp_path), **TOLERANCE)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, **TOLERANCE),
    params_of(undisturbed),
    params_of(tmp_path),
  )


@pytest.mark.slow
def test_signals_and_a_lost_process_change_nothing(tmp_path, train_in, undisturbed):
  folder = tmp_path / "run"
  for process, step in [(0, 4), (1, 12)]:
    ended = train_in(folder, 2, 2, [step, process, "SIGTERM"])
    assert [x.status for x in ended] == [143, 143], ended
    # The call with that batch has not started; the next one may have, before all know.
    saved = open_checkpoints(folder / "checkpoints")
    at = saved.latest_step()
    saved.close()
    assert step < at <= step + 2 * PER_CALL
    for x in ended:
      assert f"stopped by SIGTERM at step {at}, which is saved" in x.stderr
      assert "Traceback" not in x.stderr
    if process == 0:
      shutil.copytree(folder, tmp_path / "elsewhere")

  for process in (1, 0):  # the other one must not wait for ever
    ended = train_in(folder, 2, 2, [VALIDATE_EVERY * 2 + 4, process, "SIGKILL"])
    assert ended[process].status == -9
    assert ended[1 - process].status not in (0, None)

  for x in train_in(folder, 2, 2):
    assert x.status == 0, x.stderr
  jax.tree.map(np.testing.assert_array_equal, params_of(undisturbed), params_of(folder))

  # One process goes on from what two have saved.
  (alone,) = train_in(tmp_path / "elsewhere", 1, 4)
  assert alone.status == 0, alone.stderr
  assert losses_of(tmp_path / "elsewhere")[0, 0] > PER_CALL, "it started anew"
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, **TOLERANCE),
    params_of(undisturbed),
    params_of(tmp_path / "elsewhere"),
  )


def test_the_command_line_with_two_processes(tmp_path):
  """One process of the two prints every stage; their recommendations equal those of one process."""
  path = tmp_path / "small.py"
  path.write_text(
    "import pathlib, tiny\n"
    f"get_config = lambda: tiny.fitted_config(pathlib.Path({str(tmp_path)!r}))\n"
  )
  config = fitted_config(tmp_path)
  workdir, output = tmp_path / "run", tmp_path / "lists.jsonl"

  def run(*flags):
    command = [str(ROOT / "launch" / "two_processes.sh"), f"--config={path}"]
    done = subprocess.run(
      [*command, f"--workdir={workdir}", *flags],
      env={**environment(1), "PYTHON": sys.executable},
      capture_output=True,
      text=True,
      timeout=SECONDS,
    )
    printed = [
      [line for line in done.stdout.splitlines() if line[:3] == f"[{i}]"] for i in range(2)
    ]
    return done.returncode, *("\n".join(x for x in lines if "Gloo" not in x) for lines in printed)

  status, primary, other = run()
  assert status == 0, primary + other
  assert "recommender 6/6" in primary
  assert primary.count("the best baseline") == 1
  assert other == ""
  lines = [
    json.loads(line)
    for line in (workdir / "stages" / "train.1" / "metrics.jsonl").read_text().splitlines()
  ]
  assert [x["step"] for x in lines if "train/loss" in x] == [2, 4, 6]

  # The eight devices of this process make the same semantic IDs.
  run_to("tokenize", run_config(config), as_path(tmp_path / "here"))
  for name in ("vectors.npy", "semantic_ids.json"):
    assert (workdir / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name

  status, primary, other = run("--mode=recommend", "--users=all", f"--output={output}")
  assert status == 0, primary + other
  assert (primary, other) == (f"[0] recommend: 60 users in {output}", "")
  alone = tmp_path / "alone.jsonl"
  recommend.answer(config, workdir, recommend.Request(users="all", output=str(alone)))
  for two, one in zip(*(x.read_text().splitlines() for x in (output, alone)), strict=True):
    two, one = json.loads(two), json.loads(one)
    assert (two["user"], two["items"]) == (one["user"], one["items"])
    np.testing.assert_allclose(two["scores"], one["scores"], atol=1e-4)

  # The primary host alone reads raw files; both print its error, and end with its status.
  status, primary, other = run("--mode=prepare", "--config.data.path=/nowhere.csv")
  assert status == 1
  assert "[0] sidrec: " in primary
  assert primary.replace("[0]", "[1]") == other
  assert "/nowhere.csv" in other
