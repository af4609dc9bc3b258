"""The program `sidrec`: help, versions, mistakes, and that commands reach what they name."""

import importlib.metadata
import shlex
import sys

import pytest
from absl import app, flags

import sidrec
from sidrec.command import entry
from sidrec.command.commands import COMMANDS, Command, Program
from sidrec.command.translate import translated


@pytest.fixture
def called(monkeypatch):
  """What sidrec.main is called with."""
  calls = []
  monkeypatch.setattr(sys, "argv", sys.argv)
  monkeypatch.setattr(app, "run", lambda main, argv, flags_parser: calls.append(argv))
  return calls


def test_help_and_version(capsys):
  for arguments in ([], ["--help"], ["-h"]):
    assert entry.run(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
  assert entry.run(["--version"]) == 0
  assert capsys.readouterr().out == f"sidrec {sidrec.__version__}\n"
  assert sidrec.__version__ == importlib.metadata.version("sidrec")


@pytest.mark.parametrize("name", [n for n, c in COMMANDS.items() if isinstance(c, Command)])
def test_every_command_describes_itself(name, called, capsys):
  assert entry.run([name, "demo", "--help"]) == 0
  out = capsys.readouterr().out
  command = COMMANDS[name]
  assert command.summary in out
  for flag in command.flags:
    assert f"\n  --{flag}" in out
    assert " ".join(flags.FLAGS[flag].help.split(": ")[-1].split()[:3]) in " ".join(out.split())
  for example in command.examples:
    assert example in out
  assert not called


def test_the_examples_are_commands_that_work(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("demo", "shop"):
    (tmp_path / "runs" / name / "stages").mkdir(parents=True)
  booleans = {name: flags.FLAGS[name].boolean for name in flags.FLAGS}
  for command in COMMANDS.values():
    if isinstance(command, Command):
      for example in command.examples:
        _, name, *arguments = shlex.split(example)
        assert f"--mode={command.mode}" in translated(name, command, arguments, booleans)


def test_a_command_calls_main_with_its_flags(called):
  assert entry.run(["train", "demo", "--train.steps=3"]) == 0
  ((program, *rest),) = called
  assert sys.argv == [program, *rest]  # where ml_collections looks
  assert program == "sidrec"
  assert rest[0] == "--mode=train"
  assert rest[-1] == "--config.train.steps=3"


def test_mistakes_are_one_sentence(called, capsys):
  assert entry.run(["trian", "demo"]) == 1
  assert capsys.readouterr().err == (
    "sidrec: there is no command 'trian'; did you mean train? sidrec --help lists them\n"
  )
  assert entry.run(["train", "demo", "--sed=3"]) == 1
  assert "did you mean --seed" in capsys.readouterr().err
  assert not called


def test_programs_are_called_with_the_run_as_workdir(tmp_path, capsys):
  assert entry.run(["serve", str(tmp_path)]) == 1
  assert f"there is no run in {tmp_path}" in capsys.readouterr().err
  for program in COMMANDS.values():
    if isinstance(program, Program):
      assert callable(getattr(importlib.import_module(program.module), "main", None))
