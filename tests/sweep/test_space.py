"""Spaces: what they may return, and what a mistake in one says."""

import pytest

from sidrec.run.settings import RunConfig
from sidrec.sweep.space import load_space


def made(tmp_path, returned, head=""):
  file = tmp_path / "space.py"
  file.write_text(f"{head}\ndef space(trial):\n  return {returned}\n")
  return load_space(str(file), RunConfig())


def test_settings_go_into_the_config_and_leave_the_base_alone(tmp_path):
  space = made(tmp_path, "{'model.inputs.gap': True, 'train.clip_norm': 2}")
  settings = space.of(None)
  config = space.config(settings)
  assert (config.train.clip_norm, type(config.train.clip_norm)) == (2, float)
  assert config.model.inputs.gap is True
  assert RunConfig().model.inputs.gap is False
  assert space.config({}) == RunConfig()


@pytest.mark.parametrize(
  ("returned", "says"),
  [
    ("{'train.lerning_rate': 1e-3}", "no setting 'train.lerning_rate'; did you mean 'train.learn"),
    ("{'seed': 1}", "seed cannot be swept"),
    ("{'train.valid_users': 9}", "train.valid_users cannot be swept"),
    ("{'search.beams': 9}", "search.beams cannot be swept"),
    ("{'model.repeats': True}", "model.repeats cannot be swept"),
    ("{'train.steps': '9'}", "train.steps is '9', and must be like its default, 3000"),
    ("{'train.steps': 9.5}", "train.steps is 9.5, and must be like"),
    ("{'train.steps': True}", "train.steps is True, and must be like"),
    ("None", "must return a dict of settings"),
    ("{}", "must return a dict of settings"),
    ("undefined", r"NameError: name 'undefined' is not defined \(space.py, line 3\)"),
  ],
)
def test_mistakes_are_one_sentence(returned, says, tmp_path):
  with pytest.raises(ValueError, match=f"space.py.*{says}"):
    made(tmp_path, returned).of(None)


def test_a_file_without_a_space_is_refused(tmp_path):
  file = tmp_path / "space.py"
  with pytest.raises(FileNotFoundError, match="there is no space"):
    load_space(str(file), RunConfig())
  for text, says in (("x = 1", "no function space"), ("1 / 0", "ZeroDivisionError.*line 1")):
    file.write_text(text)
    with pytest.raises(ValueError, match=says):
      load_space(str(file), RunConfig())
