import subprocess
import sys
from pathlib import Path

import pytest
from absl import app, flags

from sidrec import SemanticIDManager
from sidrec.generate_semantic_ids import define_flags, main
from sidrec.run import load, stages

SIMPLE = ("--num_items=3706", "--id_length=4", "--codebook_size=256")


def run(*arguments):
  values = flags.FlagValues()
  define_flags(values)
  main(values(["generate", *arguments]), values)


@pytest.fixture
def config(tmp_path):
  path = tmp_path / "small.py"
  path.write_text(
    "import ml_collections\n\n\ndef get_config(size='4'):\n"
    "  return ml_collections.ConfigDict({'size': int(float(size))})\n"
  )
  return path


@pytest.fixture
def calls(monkeypatch):
  """Stands in for the stages and notes what they were asked for."""
  asked = []

  def load_semantic_ids(config, workdir):
    assert asked[-1] == ("tokenize", config.size, workdir)
    return SemanticIDManager.from_codes([[2], [1]], config.size, [7, 3])

  monkeypatch.setattr(
    stages, "run_to", lambda last, config, workdir: asked.append((last, config.size, workdir))
  )
  monkeypatch.setattr(load, "load_semantic_ids", load_semantic_ids)
  return asked


def test_the_command(tmp_path):
  path = tmp_path / "data" / "semantic_id_mapping.json"
  command = [sys.executable, "-m", "sidrec.generate_semantic_ids", *SIMPLE, "--output", str(path)]
  done = subprocess.run(command, check=True, capture_output=True, text=True)
  assert done.stdout == (
    f"3706 semantic IDs in {path}: item 0 → [0, 0, 0, 0], …, item 3705 → [121, 14, 0, 0]\n"
  )
  assert SemanticIDManager.load_from_file(path).get_semantic_id(520) == [8, 2, 0, 0]


def test_npz_output(tmp_path):
  run(*SIMPLE, f"--output={tmp_path / 'ids.npz'}")
  assert SemanticIDManager.load_from_file(tmp_path / "ids.npz").num_items == 3706


def test_config_with_the_default_workdir(tmp_path, config, calls, capsys):
  output = tmp_path / "ids.json"
  run(f"--config={config}", f"--output={output}")
  assert calls == [("tokenize", 4, Path("runs/small"))]
  assert SemanticIDManager.load_from_file(output).item_ids.tolist() == [7, 3]
  assert "2 semantic IDs" in capsys.readouterr().out


def test_config_with_an_argument_and_a_workdir(tmp_path, config, calls):
  output = f"--output={tmp_path / 'ids.json'}"
  run(f"--config={config}:8.0", output)
  run(f"--config={config}", f"--workdir={tmp_path}", output)
  assert calls == [
    ("tokenize", 8, Path("runs/small-8.0")),
    ("tokenize", 4, str(tmp_path)),
  ]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((*SIMPLE[:1], "--output=x"), "--id_length, --codebook_size not given"),
    (("--output=x",), "--num_items, --id_length, --codebook_size not given"),
    (SIMPLE, "--output not given"),
    ((*SIMPLE, "--output=x", "--workdir=y"), "--workdir is for --config only"),
    ((*SIMPLE, "--output=x", "extra"), "unexpected argument 'extra'"),
    (
      ("--num_items=17", "--id_length=2", "--codebook_size=4", "--output=x"),
      "17 items do not fit .*id_length=3 would do",
    ),
  ],
)
def test_bad_flags(tmp_path, monkeypatch, arguments, message):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(app.UsageError, match=message):
    run(*arguments)
  assert list(tmp_path.iterdir()) == []


def test_sizes_with_a_config_are_refused(config, calls):
  with pytest.raises(app.UsageError, match="--num_items, --codebook_size with --config"):
    run(f"--config={config}", "--num_items=3", "--codebook_size=4", "--output=x")
  assert calls == []


@pytest.mark.parametrize("flag", ["--num_items=0", "--id_length=-1", "--codebook_size=1"])
def test_sizes_out_of_range(flag):
  with pytest.raises(flags.IllegalFlagValueError, match=flag):
    run(flag)
