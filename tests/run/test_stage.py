"""A chain of stages: run in order, kept, resumed, done again, found again as a whole."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import warnings

import pytest
from etils import epath

from sidrec.core import checksums, content
from sidrec.core.checked_json import checked_text, parse_checked
from sidrec.core.content import stamps
from sidrec.run.generations import generations
from sidrec.run.lock import locked
from sidrec.run.settings import RunConfig
from sidrec.run.stage import Manner, Stage, find, run, status


class Kitchen:
  """Two stages that write text, in a folder, with an account of their work."""

  def __init__(self, folder):
    self.workdir = epath.Path(folder / "run")
    self.log = folder / "log.csv"
    self.log.write_text("a,b\n")
    self.done, self.fails, self.seed, self.steps = [], False, 0, 1
    self.first = Stage(
      "first",
      after=lambda config: (),
      settings=lambda config: {"seed": self.seed},
      files=lambda config: {"files": stamps([self.log])},
      outputs=lambda config: ("first.txt",),
      build=self.build_first,
    )
    self.second = Stage(
      "second",
      after=lambda config: (self.first,),
      settings=lambda config: {"train": {"steps": self.steps}},
      outputs=lambda config: ("second.txt", "params"),
      build=self.build_second,
      shows=lambda done: done.file("second.txt").read_text(),
    )

  def build_first(self, config, folder, before):
    self.done.append("first")
    (folder / "first.txt").write_text(f"{self.seed} {self.log.read_text()}")

  def build_second(self, config, folder, before):
    part = folder / "part.txt"
    self.done.append("second resumed" if part.exists() else "second")
    part.write_text("part")
    if self.fails:
      raise RuntimeError("power cut")
    (folder / "params").mkdir(exist_ok=True)
    (folder / "params" / "0").write_text(str(self.steps))
    (folder / "second.txt").write_text(before["first"].file("first.txt").read_text())

  def run(self, redo="", stage=None):
    self.done.clear()
    return run(stage or self.second, RunConfig(), self.workdir, Manner(redo))

  def find(self):
    return find(self.second, RunConfig(), self.workdir)

  def answer(self):
    """What a program that loads the run gets: the text that the second stage made of the first."""
    return self.find()["second"].file("second.txt").read_text()

  def tree(self):
    """Every file of the run, and what it holds."""
    files = sorted(os.path.join(top, n) for top, _, names in os.walk(self.workdir) for n in names)
    return {file: open(file, "rb").read() for file in files}


@pytest.fixture
def kitchen(tmp_path):
  return Kitchen(tmp_path)


def test_done_and_unchanged_is_kept_and_shown(kitchen, capsys):
  kitchen.run()
  assert kitchen.done == ["first", "second"]
  out = capsys.readouterr().out
  memory = r"(, with \d+\.\d GiB of memory at most)?"
  assert re.fullmatch(
    rf"first: done in \d+ s{memory}\nsecond: done in \d+ s{memory}\n0 a,b\n\n", out
  )
  before = kitchen.tree()
  kitchen.run()
  assert kitchen.done == []
  assert capsys.readouterr().out == "first: unchanged, kept\nsecond: unchanged, kept\n0 a,b\n\n"
  assert kitchen.tree() == before


def test_what_people_look_for_is_linked(kitchen):
  kitchen.run()
  assert (kitchen.workdir / "second.txt").read_text() == "0 a,b\n"
  assert (kitchen.workdir / "params" / "0").read_text() == "1"
  kitchen.steps = 2
  kitchen.run()
  assert (kitchen.workdir / "params" / "0").read_text() == "2"
  kitchen.steps = 1
  kitchen.run()
  assert kitchen.done == []
  assert (kitchen.workdir / "params" / "0").read_text() == "1"
  copy = kitchen.workdir.parent / "copy"
  shutil.copytree(kitchen.workdir, copy)  # follows the links
  kitchen.workdir, kitchen.steps = copy, 3
  kitchen.run()
  assert (copy / "params" / "0").read_text() == "3"


def test_a_changed_setting_is_named_and_the_old_output_stays(kitchen, capsys):
  kitchen.run()
  kitchen.steps = 2
  kitchen.run()
  assert kitchen.done == ["second"]
  assert "second: done again, because train.steps was 1 and is 2" in capsys.readouterr().out
  kitchen.steps = 1
  kitchen.run()
  assert kitchen.done == []


def test_a_touched_moved_or_copied_file_changes_nothing(kitchen):
  kitchen.run()
  os.utime(kitchen.log, (1, 1))
  kitchen.run()
  assert kitchen.done == []
  moved = kitchen.log.parent / "elsewhere"
  moved.mkdir()
  kitchen.log = kitchen.log.rename(moved / "log.csv")
  kitchen.run()
  assert kitchen.done == []
  kitchen.log = moved / ".." / "elsewhere" / "log.csv"
  kitchen.run()
  assert kitchen.done == []


def test_other_content_of_equal_size_is_seen(kitchen, capsys):
  kitchen.run()
  kitchen.log.write_text("a,c\n")
  os.utime(kitchen.log, (1, 1))
  kitchen.run()
  assert kitchen.done == ["first", "second"]
  out = capsys.readouterr().out
  assert "first: done again, because log.csv has other content" in out
  assert "second: done again, because first was done again" in out


def test_data_are_read_once_to_know_them(kitchen, monkeypatch):
  read = []

  def counted(path):
    read.append(path)
    return checksums.digest(path)

  monkeypatch.setattr(content, "digest", counted)
  kitchen.run()
  kitchen.run()
  assert read == [str(kitchen.log)]


def test_new_data_answer_only_when_all_is_built_on_them(kitchen):
  kitchen.run()
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert kitchen.answer() == "0 a,b\n"
  kitchen.log.write_text("new\n")
  kitchen.run(stage=kitchen.first)
  with pytest.warns(UserWarning, match=r"'first' .* again since \(log.csv has other content\)"):
    assert kitchen.answer() == "0 a,b\n"
  kitchen.fails = True
  with pytest.raises(RuntimeError):
    kitchen.run()
  with pytest.warns(UserWarning, match="run --mode=all to bring everything up to date"):
    assert kitchen.answer() == "0 a,b\n"
  kitchen.fails = False
  kitchen.run()
  assert kitchen.done == ["second resumed"]
  assert kitchen.answer() == "0 new\n"


def test_an_interrupted_stage_with_other_settings_starts_afresh(kitchen):
  kitchen.fails = True
  with pytest.raises(RuntimeError):
    kitchen.run()
  kitchen.fails, kitchen.steps = False, 2
  kitchen.run()
  assert kitchen.done == ["second"]
  folders = [g.folder.name for g in generations(kitchen.workdir, "second")]
  assert folders == ["second.2"]  # what was left behind went when the stage was done


def test_missing_output_is_made_again(kitchen, capsys):
  (kitchen.run()["second"].folder / "params" / "0").unlink()
  kitchen.run()
  assert kitchen.done == ["second"]
  assert "second: done again, because params/0 is missing" in capsys.readouterr().out


def test_redo_keeps_the_old_output_until_the_new_one_is_whole(kitchen):
  kitchen.run()
  kitchen.fails = True
  with pytest.raises(RuntimeError):
    kitchen.run(redo="second")
  assert kitchen.answer() == "0 a,b\n"
  kitchen.fails = False
  kitchen.run(redo="second")
  assert kitchen.done == ["second resumed"]
  numbers = [g.number for g in generations(kitchen.workdir, "second")]
  assert numbers == [1, 2]
  with pytest.raises(ValueError, match="--redo=third is none of this run's stages: first, second"):
    kitchen.run(redo="third")


def test_two_generations_stay_and_what_they_were_built_on(kitchen):
  for seed in range(5):
    kitchen.seed = seed
    kitchen.run()
  assert [g.number for g in generations(kitchen.workdir, "second")] == [4, 5]
  assert [g.number for g in generations(kitchen.workdir, "first")] == [4, 5]
  for seed in (10, 11, 12):
    kitchen.seed = seed
    kitchen.run(stage=kitchen.first)
  assert [g.number for g in generations(kitchen.workdir, "first")] == [4, 5, 7, 8]
  kitchen.seed = 4
  assert kitchen.answer() == "4 a,b\n"


def test_other_settings_than_the_runs_are_refused(kitchen):
  with pytest.raises(FileNotFoundError, match=r"stage 'first' is not done .*--mode=all"):
    kitchen.find()
  kitchen.run(stage=kitchen.first)
  with pytest.raises(FileNotFoundError, match="stage 'second' is not done"):
    kitchen.find()
  kitchen.run()
  kitchen.steps = 9
  with pytest.raises(ValueError, match=r"stage 'second' that .*: train.steps was 1 and is 9; give"):
    kitchen.find()
  kitchen.steps, kitchen.seed = 1, 7
  with pytest.raises(ValueError, match=r"stage 'first' that .*: seed was 0 and is 7; give"):
    kitchen.find()


def test_status_says_what_would_be_done_and_why(kitchen):
  look = lambda: status(kitchen.second, RunConfig(), kitchen.workdir)
  assert look() == [("first", "-", "to do: not done yet"), ("second", "-", "to do, after first")]
  kitchen.run()
  assert [row[2] for row in look()] == ["done, kept", "done, kept"]
  kitchen.steps = 2
  assert look()[1] == ("second", "second.1", "to do: train.steps was 1 and is 2")
  kitchen.seed = 3
  assert look()[1] == ("second", "second.1", "to do, after first")


def test_every_damaged_output_is_named_with_what_to_run(kitchen):
  folder = kitchen.run()["second"].folder
  for path in ("second.txt", "params/0"):
    whole = (folder / path).read_bytes()
    for damaged in (bytes([whole[0] ^ 1]) + whole[1:], whole[:-1], whole + b"x", b""):
      (folder / path).write_bytes(damaged)
      with pytest.raises(ValueError, match=rf"{path} .*--redo=second"):
        kitchen.find()["second"].file(path.partition("/")[0])
    (folder / path).write_bytes(whole)
  assert kitchen.answer() == "0 a,b\n"


def test_a_damaged_record_is_an_error_and_deletes_nothing(kitchen):
  folder = kitchen.run()["second"].folder
  record = folder / "stage.json"
  whole = record.read_bytes()
  changed = whole.replace(b'"steps": 1', b'"steps": 2')
  assert changed != whole
  for damaged in (b"", b"[]", b"{}", whole[:-9], changed, b"[" * 9999, b"\xff" + whole, b"null"):
    record.write_bytes(damaged)
    for attempt in (kitchen.run, kitchen.find):
      with pytest.raises(ValueError, match=r"stage\.json is damaged or missing.*second\.1"):
        attempt()
  record.unlink()
  with pytest.raises(ValueError, match="damaged or missing"):
    kitchen.run()
  record.write_bytes(whole)
  assert kitchen.answer() == "0 a,b\n"


def test_a_folder_of_another_version_is_refused_and_kept(kitchen):
  kitchen.workdir.mkdir()
  (kitchen.workdir / "first.stage.json").write_text('{"inputs": {"a": 1}, "done": true}')
  (kitchen.workdir / "first.txt").write_text("old")
  for attempt in (kitchen.run, kitchen.find):
    with pytest.raises(ValueError, match=r"another version of sidrec.*another --workdir"):
      attempt()
  assert (kitchen.workdir / "first.txt").read_text() == "old"
  (kitchen.workdir / "first.stage.json").unlink()
  record = kitchen.run()["first"].folder / "stage.json"
  record.write_text(checked_text(parse_checked(record.read_bytes()) | {"format": 4}))
  with pytest.raises(ValueError, match="another version of sidrec"):
    kitchen.run()


def test_a_run_killed_before_its_record_goes_on(kitchen):
  (kitchen.workdir / "stages" / "first.1").mkdir(parents=True)
  (kitchen.workdir / "stages" / "first.1" / ".stage.json.0.tmp").write_text("half")
  kitchen.run()
  assert kitchen.answer() == "0 a,b\n"


def test_a_second_process_is_refused_by_name_or_waits(kitchen):
  code = textwrap.dedent(
    """
    import sys
    from etils import epath
    from sidrec.run.lock import locked
    with locked(epath.Path(sys.argv[1])):
      print("held", flush=True)
      sys.stdin.readline()
    """
  )
  other = subprocess.Popen(
    [sys.executable, "-c", code, str(kitchen.workdir)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert other.stdout.readline() == "held\n"
  with pytest.raises(BlockingIOError, match=rf"process {other.pid} on .*; wait .* --wait"):
    kitchen.run()
  other.kill()  # a stale lock is no lock
  other.wait()
  with locked(kitchen.workdir, wait=True):
    pass
  kitchen.run()
  with locked(kitchen.workdir):  # nothing to do needs no lock
    kitchen.run()
  assert kitchen.done == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_finished_run_in_a_read_only_folder(kitchen):
  kitchen.run()
  for top, _, _ in os.walk(kitchen.workdir):
    os.chmod(top, 0o555)
  kitchen.run()
  assert kitchen.done == []
