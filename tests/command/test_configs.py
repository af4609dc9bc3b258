"""sidrec configs."""

import pytest

from sidrec import shipped_configs
from sidrec.command.configs import main
from sidrec.config import default_config


def test_all_are_listed_with_what_they_are(capsys):
  assert main([]) == 0
  out = capsys.readouterr().out
  for name in ("beauty", "beauty_tiger", "custom", "demo", "ml1m", "ml1m_gpu", "sports", "world"):
    assert f"\n{name} " in out
    assert shipped_configs.docstring(name).split("\n")[0] in out


def test_one_is_shown_with_what_it_changes(capsys):
  assert main(["show", "demo:tiny"]) == 0
  out = capsys.readouterr().out
  assert out.startswith(shipped_configs.docstring("demo"))
  assert "\n* --train.steps=150\n" in out
  assert f"\n  --model.width={default_config().model.width}\n" in out


def test_a_copy_works_and_replaces_nothing(tmp_path, capsys):
  file = tmp_path / "shop.py"
  assert main(["copy", "custom", str(file)]) == 0
  assert file.read_text() == shipped_configs.path_of("custom").read_text()
  file.write_text("mine")
  assert main(["copy", "custom", str(file)]) == 1
  assert "is there already" in capsys.readouterr().err
  assert file.read_text() == "mine"


@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    (["show", "dmeo"], "there is no config 'dmeo'; there are beauty"),
    (["show", "demo:large"], "has no variant 'large'"),
    (["copy", "demo", "shop.txt"], "ends with .py"),
  ],
)
def test_mistakes(arguments, sentence, capsys):
  assert main(arguments) == 1
  assert sentence in capsys.readouterr().err
