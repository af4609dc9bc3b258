"""From `sidrec COMMAND …` to the flags of sidrec.main."""

import pytest
from absl import flags

import sidrec.main  # noqa: F401  (defines the flags)
from sidrec import shipped_configs, stored_config
from sidrec.command.commands import COMMANDS, Command
from sidrec.command.translate import translated

BOOLEANS = {name: flags.FLAGS[name].boolean for name in flags.FLAGS}


def flags_for(name, *arguments):
  return translated(name, COMMANDS[name], arguments, BOOLEANS)


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)


@pytest.fixture
def run_folder(tmp_path):
  (tmp_path / "runs" / "shop" / "stages").mkdir(parents=True)
  return "runs/shop"


def test_a_name_is_a_shipped_config_and_settings_follow_it():
  config = shipped_configs.FOLDER / "ml1m.py"
  found = flags_for("train", "ml1m:tiny", "--train.steps=100", "--redo", "train", "--seed=3")
  assert found == [
    *("--mode=train", f"--config={config}:tiny", "--redo=train"),
    *("--config.train.steps=100", "--config.seed=3"),
  ]


def test_values_may_stand_apart_and_booleans_need_none():
  found = flags_for("recommend", "demo", "--noexclude_seen", "--user", "8", "--train.steps", "9")
  assert found[2:] == ["--noexclude_seen", "--user=8", "--config.train.steps=9"]
  found = flags_for("train", "demo", "--wait", "--config.train.steps=9")
  assert found[2:] == ["--wait", "--config.train.steps=9"]


def test_a_file_of_ones_own_is_a_config(tmp_path):
  file = tmp_path / "mine.py"
  file.write_text("")
  assert flags_for("run", f"{file}:small")[1] == f"--config={file}:small"


def test_a_config_of_the_current_folder_stands_before_a_shipped_one(tmp_path):
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs" / "demo.py").write_text("")
  assert flags_for("run", "demo")[1] == "--config=configs/demo.py"


def test_a_run_brings_its_settings(run_folder):
  stored = f"--config={stored_config.__file__}:{run_folder}"
  assert flags_for("status", run_folder) == ["--mode=status", stored, f"--workdir={run_folder}"]
  assert set(flags_for("status", f"--workdir={run_folder}")) == {
    *("--mode=status", stored, f"--workdir={run_folder}")
  }


def test_a_config_may_start_a_run_where_there_is_none(run_folder):
  found = flags_for("train", "demo", "--workdir=runs/new")
  assert found[1:] == [f"--config={shipped_configs.FOLDER / 'demo.py'}", "--workdir=runs/new"]


@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    (["train", "dmeo"], "'dmeo' is no config and no folder of a run; there are the configs beauty"),
    (["train", "gone.py"], "there is no config file gone.py"),
    (["train", "runs"], "runs holds no run"),
    (["train"], "needs a config or the folder of a run: sidrec train demo"),
    (["train", "--workdir=runs"], "runs holds no run; give a config, too"),
    (["train", "demo", "runs/shop"], "'runs/shop' belongs to nothing"),
    (["status", "runs/shop", "--workdir=runs/b"], "runs/shop and runs/b are two folders"),
    (["train", "demo", "--user=8"], "sidrec train takes no --user; see sidrec train --help"),
    (["recommend", "demo", "--usr=8"], "takes no --usr; did you mean --user"),
    (["train", "demo", "--sed=8"], "takes no --sed; did you mean --seed?"),
    (["train", "demo", "--mode=evaluate"], "takes no --mode"),
  ],
)
def test_mistakes_end_with_a_sentence(run_folder, arguments, sentence):
  with pytest.raises((ValueError, FileNotFoundError), match=sentence.replace("?", r"\?")):
    flags_for(*arguments)


def test_a_name_of_both_a_config_and_a_run_is_refused(tmp_path):
  (tmp_path / "demo" / "stages").mkdir(parents=True)
  with pytest.raises(ValueError, match=r"write \./demo for the run"):
    flags_for("status", "demo")
  assert "--workdir=./demo" in flags_for("status", "./demo")


def test_every_mode_has_a_command_that_takes_flags_there_are():
  commands = [command for command in COMMANDS.values() if isinstance(command, Command)]
  modes = flags.FLAGS["mode"].parser.enum_values
  assert sorted(command.mode for command in commands) == sorted(modes)
  for command in commands:
    assert set(command.flags) <= set(flags.FLAGS)
    assert all(example.startswith("sidrec ") for example in command.examples)
