"""Damaged, unreadable and unfinished checkpoints; a full disk."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from damage import bring_back, cut, flip_a_bit, hide, largest_file
from processes import environment

from sidrec.training.checkpoint import open_checkpoints
from sidrec.training.checksums import CHECKSUMS
from sidrec.training.params import load_params, save_params


def state_at(step, size=300):
  rng = np.random.default_rng(step)
  return {"w": jax.device_put(rng.normal(size=size).astype(np.float32)), "step": np.array(step)}


def assert_state_at(step, state):
  for name, want in state_at(step, state["w"].size).items():
    np.testing.assert_array_equal(state[name], want)


def save(folder, best_steps, latest_steps):
  """Saves like the loop: in order of steps, the best one first."""
  best = None
  with open_checkpoints(folder) as checkpoints:
    for step in sorted({*best_steps, *latest_steps}):
      if step in best_steps:
        best = step
        checkpoints.save_best(step, state_at(step), step / 1000)
      if step in latest_steps:
        checkpoints.save_latest(step, state_at(step), {"best_step": best})


def steps_in(folder):
  return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("harm", [flip_a_bit, cut, Path.unlink])
def test_a_damaged_latest_state_gives_way_to_the_one_before_and_its_best(tmp_path, harm, capsys):
  save(tmp_path, [100, 200, 300], [100, 200, 300])
  damaged = largest_file(tmp_path / "latest/300")
  harm(damaged)
  with open_checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step() == 200
    assert capsys.readouterr().err == ""
    state, progress = checkpoints.restore_latest(state_at(0))
    (line,) = capsys.readouterr().err.splitlines()
    for part in ("latest/300 is damaged", damaged.name, "using step 200 instead"):
      assert part in line
    assert_state_at(200, state)
    assert progress == {"best_step": 200}
    assert_state_at(200, checkpoints.restore_best(state_at(0)))
    assert checkpoints.best_metric() == 0.2
    assert (steps_in(tmp_path / "latest"), steps_in(tmp_path / "best")) == (["200"], ["100", "200"])
    checkpoints.save_best(300, state_at(300), 0.3)  # the run comes by again
    checkpoints.save_latest(300, state_at(300), {"best_step": 300})
    assert_state_at(300, checkpoints.restore_latest(state_at(0))[0])
    assert_state_at(300, checkpoints.restore_best(state_at(0)))
  assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
  ("best_steps", "want"),
  [([100, 200, 300, 400], 300), ([100, 300, 400], 300), ([100, 200], 200), ([100, 400], 100)],
)
def test_the_state_before_the_last_has_its_best_one_still(tmp_path, best_steps, want):
  save(tmp_path, best_steps, [100, 200, 300, 400])
  with open_checkpoints(tmp_path) as checkpoints:  # one more best one, of which no state knows
    checkpoints.save_best(500, state_at(500), 0.5)
  flip_a_bit(largest_file(tmp_path / "latest/400"))
  with open_checkpoints(tmp_path) as checkpoints:
    assert checkpoints.restore_latest(state_at(0))[1] == {"best_step": want}
    assert checkpoints.best_step() == want
    assert_state_at(want, checkpoints.restore_best(state_at(0)))


def test_a_damaged_best_gives_way_to_the_one_before(tmp_path, capsys):
  save(tmp_path, [100, 200], [100, 200, 300])
  cut(largest_file(tmp_path / "best/200"))
  with open_checkpoints(tmp_path) as checkpoints:
    assert_state_at(100, checkpoints.restore_best(state_at(0)))
    assert "best/200 is damaged" in capsys.readouterr().err
    assert steps_in(tmp_path / "best") == ["100", "200"]  # only a run that goes on deletes
    assert_state_at(300, checkpoints.restore_latest(state_at(0))[0])
    (line,) = capsys.readouterr().err.splitlines()
    assert "best/200 is damaged" in line
    assert "using step 100 instead" in line
    assert (checkpoints.best_step(), checkpoints.best_metric()) == (100, 0.1)
  assert steps_in(tmp_path / "best") == ["100"]


def test_where_nothing_is_sound_nothing_is_deleted(tmp_path):
  save(tmp_path, [100, 200], [100, 200])
  for name in ("latest/100", "latest/200", "best/100", "best/200"):
    flip_a_bit(largest_file(tmp_path / name))
  with open_checkpoints(tmp_path) as checkpoints:
    for folder, restore in (
      ("latest", checkpoints.restore_latest),
      ("best", checkpoints.restore_best),
    ):
      with pytest.raises(ValueError, match=rf"no checkpoint in .*{folder} is sound") as error:
        restore(state_at(0))
      for part in (
        f"step 200: {tmp_path}",
        f"step 100: {tmp_path}",
        "delete that folder to start again",
      ):
        assert part in str(error.value)
  assert steps_in(tmp_path / "latest") == steps_in(tmp_path / "best") == ["100", "200"]


@pytest.mark.parametrize("name", ["latest/300", "best/300"])
def test_a_checkpoint_that_cannot_be_read_for_now_is_not_deleted(tmp_path, name, capsys):
  save(tmp_path, [200, 300], [200, 300])
  hide(path := largest_file(tmp_path / name))
  with (
    open_checkpoints(tmp_path) as checkpoints,
    pytest.raises(OSError, match=rf"cannot read checkpoint .*{name}: .*nothing was deleted: start"),
  ):
    checkpoints.restore_latest(state_at(0))
  bring_back(path)
  with open_checkpoints(tmp_path) as checkpoints:
    assert_state_at(300, checkpoints.restore_latest(state_at(0))[0])
    assert_state_at(300, checkpoints.restore_best(state_at(0)))
  assert capsys.readouterr().err == ""


def test_a_checkpoint_without_checksums_serves_if_it_loads(tmp_path, capsys):
  save(tmp_path, [], [100, 200])
  (tmp_path / "latest/200" / CHECKSUMS).unlink()
  with open_checkpoints(tmp_path) as checkpoints:
    assert_state_at(200, checkpoints.restore_latest(state_at(0))[0])
  assert capsys.readouterr().err == ""
  largest_file(tmp_path / "latest/200").unlink()
  refused = pytest.raises(OSError, match=r"cannot load checkpoint .*200: .*delete that folder")
  with open_checkpoints(tmp_path) as checkpoints, refused:
    checkpoints.restore_latest(state_at(0))
  assert steps_in(tmp_path / "latest") == ["100", "200"]
  shutil.rmtree(tmp_path / "latest/200")
  with open_checkpoints(tmp_path) as checkpoints:
    assert_state_at(100, checkpoints.restore_latest(state_at(0))[0])


def test_a_deletion_that_is_cut_short_leaves_nothing_to_go_on_from(tmp_path, monkeypatch):
  save(tmp_path, [], [100, 200])
  flip_a_bit(largest_file(tmp_path / "latest/200"))

  def killed(checkpointer, step, **_):
    (checkpointer.directory / str(step) / CHECKSUMS).unlink()
    raise KeyboardInterrupt

  for _ in range(2):
    with monkeypatch.context() as patches, open_checkpoints(tmp_path) as checkpoints:
      patches.setattr(type(checkpoints.latest), "delete", killed)
      with pytest.raises((KeyboardInterrupt, FileNotFoundError)):
        checkpoints.restore_latest(state_at(0))
  with open_checkpoints(tmp_path) as checkpoints:
    assert_state_at(100, checkpoints.restore_latest(state_at(0))[0])
  assert steps_in(tmp_path / "latest") == ["100"]


@pytest.fixture
def small_disk(tmp_path):
  """A file system of 3 MiB."""
  mounted = tmp_path / "disk"
  mounted.mkdir()
  as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
  options = f"size=3m,mode=777,uid={os.geteuid()}"
  mount = [*as_root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mounted)]
  if not shutil.which(mount[0]) or subprocess.run(mount, capture_output=True).returncode:
    pytest.skip("needs the right to mount a small file system")
  yield mounted
  subprocess.run([*as_root, "umount", "--lazy", str(mounted)], check=True)


def save_twice(folder, size):
  """The error of a save in the background comes with the call after it."""
  with open_checkpoints(folder) as checkpoints:
    for step in (200, 300):
      checkpoints.save_latest(step, state_at(step, size), {})


# Room for nearly all of a checkpoint, for some of its files, for a folder or so, for nothing.
@pytest.mark.parametrize("room", [0.97, 0.5, 0.02, 0.0])
def test_a_full_disk_leaves_the_former_checkpoint(small_disk, room, caplog):
  run, ballast = small_disk / "run", small_disk / "ballast"
  size = 150_000  # of float32 that hardly compress: 0.6 MB
  free = lambda: shutil.disk_usage(small_disk).free
  with open_checkpoints(run) as checkpoints:
    checkpoints.save_best(100, state_at(100, size), 0.1)
    checkpoints.wait()
    before = free()
    checkpoints.save_latest(100, state_at(100, size), {})
  taken = before - free()
  ballast.write_bytes(bytes(free() - int(room * taken)))
  sentence = r"saved in .*run: the disk is full; the one of step 100 is kept; make room there"
  with pytest.raises(OSError, match=sentence) as error:
    save_twice(run, size)
  assert "\n" not in str(error.value)
  assert not [record for record in caplog.records if record.exc_info]  # this is said once
  with open_checkpoints(run) as checkpoints:  # on a full disk still
    assert checkpoints.latest_step() == 100
    assert_state_at(100, checkpoints.restore_latest(state_at(0, size))[0])
    assert_state_at(100, checkpoints.restore_best(state_at(0, size)))
  assert steps_in(run / "latest") == steps_in(run / "best") == ["100"]
  ballast.unlink()
  save_twice(run, size)
  with open_checkpoints(run) as checkpoints:
    assert_state_at(300, checkpoints.restore_latest(state_at(0, size))[0])


@pytest.mark.parametrize("room", [0.97, 0.5, 0.0])
def test_a_full_disk_leaves_the_former_params(small_disk, room, caplog):
  before = {"x": state_at(1, 150_000)["w"]}
  save_params(small_disk / "run/params", before)
  free = shutil.disk_usage(small_disk).free
  (small_disk / "ballast").write_bytes(bytes(free - int(room * 600_000)))
  with pytest.raises(OSError, match=r"saved in .*params: the disk is full; make room") as error:
    save_params(small_disk / "run/params", {"x": state_at(2, 150_000)["w"]})
  assert "\n" not in str(error.value)
  assert not [record for record in caplog.records if record.exc_info]
  (small_disk / "ballast").unlink()
  np.testing.assert_array_equal(load_params(small_disk / "run/params")["x"], before["x"])


def test_a_folder_that_cannot_be_made_leaves_no_thread_behind(tmp_path):
  """Orbax's would wait for the folder for 20 minutes, and Python for them at its exit."""
  script = (
    "import sys, numpy as np\n"
    "from pathlib import Path\n"
    "from sidrec.training.checkpoint import open_checkpoints\n"
    "run = Path(sys.argv[1])\n"
    "with open_checkpoints(run) as checkpoints:\n"
    "  (run / 'latest').rmdir()\n"
    "  (run / 'latest').write_text('')\n"
    "  checkpoints.save_latest(1, {'x': np.ones(3)}, {})\n"
  )
  command = [sys.executable, "-c", script, str(tmp_path)]
  ended = subprocess.run(command, env=environment(1), capture_output=True, timeout=60, text=True)
  assert ended.returncode == 1
  assert "OSError: a checkpoint could not be saved" in ended.stderr.splitlines()[-1]


def test_a_save_that_fails_for_another_reason_says_so(tmp_path):
  save(tmp_path, [], [100])
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
  try:
    with pytest.raises(OSError, match=r"saved in .*: .*File too large.*; the one of step 100 is"):
      save_twice(tmp_path, 150_000)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
