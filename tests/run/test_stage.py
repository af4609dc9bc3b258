"""A chain of stages: run in order, and checked as a whole."""

import pytest
from tiny import tiny_config

from sidrec.run.stage import Stage, check, run


def write(name):
  return lambda config, workdir: (workdir / name).write_text(str(config.seed))


FIRST = Stage(
  "first",
  after=lambda config: (),
  settings=lambda config: {"seed": config.seed},
  outputs=lambda config: ("first",),
  build=write("first"),
)
SECOND = Stage(
  "second",
  after=lambda config: (FIRST,),
  settings=lambda config: {"steps": config.train.steps},
  outputs=lambda config: ("second",),
  build=write("second"),
  shows="second",
)


def test_a_stage_runs_what_it_builds_on_and_shows_its_text(tmp_path, capsys):
  config = tiny_config(tmp_path)
  assert run(SECOND, config, tmp_path) == check(SECOND, config, tmp_path)
  assert capsys.readouterr().out == "0\n"
  run(SECOND, config, tmp_path)
  assert capsys.readouterr().out == "first: unchanged, kept\nsecond: unchanged, kept\n0\n"


def test_a_stage_whose_forerunner_was_done_again_is_refused(tmp_path):
  config = tiny_config(tmp_path)
  run(SECOND, config, tmp_path)
  config.seed = 1
  run(FIRST, config, tmp_path)
  check(FIRST, config, tmp_path)
  with pytest.raises(ValueError, match=r"stage 'second' .* an earlier stage changed; give"):
    check(SECOND, config, tmp_path)
  run(SECOND, config, tmp_path)
  check(SECOND, config, tmp_path)


def test_the_check_names_the_setting_that_differs(tmp_path):
  config = tiny_config(tmp_path)
  with pytest.raises(FileNotFoundError, match=r"stage 'first' is not done"):
    check(SECOND, config, tmp_path)
  run(SECOND, config, tmp_path)
  config.train.steps = 99
  with pytest.raises(ValueError, match=r"stage 'second' .*: steps was 6 and is 99"):
    check(SECOND, config, tmp_path)
