"""Stages are done once, resumed when interrupted, redone when their inputs change."""

import pytest

from sidrec.run.workdir import changes, check_done, run_stage


def stage(tmp_path, inputs, log, fail=False):
  def build():
    found = (tmp_path / "out.txt").exists()
    log.append("resumed" if found else "fresh")
    (tmp_path / "out.txt").write_text("part")
    if fail:
      raise RuntimeError("power cut")

  return run_stage(tmp_path, "cook", inputs, ["out.txt"], build)


def test_done_and_unchanged_is_kept(tmp_path, capsys):
  log = []
  first = stage(tmp_path, {"a": 1, "b": (1, 2)}, log)
  second = stage(tmp_path, {"b": [1, 2], "a": 1}, log)
  assert log == ["fresh"]
  assert first == second
  assert "cook: unchanged, kept" in capsys.readouterr().out


def test_changed_settings_are_named_and_the_old_output_goes(tmp_path, capsys):
  log = []
  first = stage(tmp_path, {"train": {"steps": 1}}, log)
  second = stage(tmp_path, {"train": {"steps": 2}}, log)
  assert log == ["fresh", "fresh"]
  assert first != second
  assert "done again, because train.steps was 1 and is 2" in capsys.readouterr().out


def test_missing_output_is_made_again(tmp_path):
  log = []
  stage(tmp_path, {"a": 1}, log)
  (tmp_path / "out.txt").unlink()
  stage(tmp_path, {"a": 1}, log)
  assert log == ["fresh", "fresh"]


def test_an_interrupted_stage_finds_its_own_output(tmp_path):
  log = []
  with pytest.raises(RuntimeError):
    stage(tmp_path, {"a": 1}, log, fail=True)
  stage(tmp_path, {"a": 1}, log)
  assert log == ["fresh", "resumed"]


def test_an_interrupted_stage_with_other_settings_starts_afresh(tmp_path):
  log = []
  with pytest.raises(RuntimeError):
    stage(tmp_path, {"a": 1}, log, fail=True)
  stage(tmp_path, {"a": 2}, log)
  assert log == ["fresh", "fresh"]


def test_changes_of_an_earlier_stage_are_told_as_such():
  assert changes({"fingerprints": {"a": "x"}, "a": 1}, {"fingerprints": {"a": "y"}, "a": 1}) == (
    "an earlier stage changed"
  )
  many = changes({}, dict.fromkeys("abcdef", 1))
  assert many.startswith("a was absent and is 1; ")
  assert many.endswith("(and 2 more settings)")


def test_check_done(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"stage 'cook' is not done in .*--mode=all"):
    check_done(tmp_path, "cook", {})
  with pytest.raises(RuntimeError):
    stage(tmp_path, {}, [], fail=True)
  with pytest.raises(FileNotFoundError):
    check_done(tmp_path, "cook", {})
  stage(tmp_path, {"a": {"b": 1}, "c": 2}, [])
  check_done(tmp_path, "cook", {"a": {"b": 1}})
  with pytest.raises(
    ValueError, match=r"made from something else: a.b was 1 and is 3; give the config"
  ):
    check_done(tmp_path, "cook", {"a": {"b": 3}})


def test_a_folder_of_another_version_is_refused_and_kept(tmp_path):
  (tmp_path / "out.txt").write_text("old")
  (tmp_path / "cook.stage.json").write_text('{"inputs": {"a": 1}, "done": true}')
  for attempt in (lambda: stage(tmp_path, {"a": 2}, []), lambda: check_done(tmp_path, "cook", {})):
    with pytest.raises(ValueError, match=r"another version of sidrec.*another --workdir"):
      attempt()
  assert (tmp_path / "out.txt").read_text() == "old"
