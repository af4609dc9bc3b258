"""What the commands of the benchmarks share."""

import json

import pytest
from absl import app, flags

from sidrec.bench import decode, growth, static_index, trie
from sidrec.bench.command import check_flags_alone, define_numbers, one_sentence, write_json


def test_words_that_are_no_flags_are_refused():
  check_flags_alone(["serve"])
  with pytest.raises(app.UsageError, match="unexpected argument 'runs/ml1m'; every setting is a"):
    check_flags_alone(["serve", "runs/ml1m", "more"])


@pytest.mark.parametrize("module", [decode, growth, static_index, trie])
@pytest.mark.parametrize("given", ["x", "10,", "0", "1.5", "", "10,-3"])
def test_what_are_no_sizes_is_refused(module, given):
  values = flags.FlagValues()
  module.define_flags(values)
  with pytest.raises(flags.IllegalFlagValueError, match=r"items.*: give whole numbers from 1, sep"):
    values(["bench", f"--items={given}"])


def test_sizes_are_read_as_numbers():
  values = flags.FlagValues()
  define_numbers("counts", (0, 24), "Numbers.", values, least=0)
  values(["bench"])
  assert values.counts == (0, 24)
  values(["bench", "--counts=0,1_000,7"])
  assert values.counts == (0, 1000, 7)
  assert "--counts=0,1000,7" in values.flags_into_string()


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, ModuleNotFoundError, KeyError])
def test_what_a_user_can_mend_ends_with_a_sentence(error):
  with pytest.raises(SystemExit, match=r"^sidrec: .?no such thing.?$"), one_sentence(KeyError):
    raise error("no such thing")


def test_a_fault_of_the_program_keeps_its_traceback():
  with pytest.raises(KeyError), one_sentence(RuntimeError):
    raise KeyError("no such thing")


def test_figures_are_written_where_a_file_is_named(tmp_path):
  write_json(None, {"seconds": 1.5})
  write_json("", {"seconds": 1.5})
  assert not [*tmp_path.iterdir()]
  write_json(tmp_path / "new" / "figures.json", {"seconds": 1.5, "hardware": "2 cores"})
  text = (tmp_path / "new" / "figures.json").read_text()
  assert json.loads(text) == {"seconds": 1.5, "hardware": "2 cores"}
  assert text.endswith("}\n")


def test_a_file_that_cannot_be_written_is_named_in_a_sentence(tmp_path):
  (tmp_path / "taken").write_text("")
  with pytest.raises(SystemExit, match=r"^sidrec: .*taken"):
    write_json(tmp_path / "taken" / "figures.json", {})
