"""Readers of plugins: the example of docs/plug_in.md in a run, and answers that are refused."""

import pytest
from plugged import clean_registers, write_plugins
from tiny import make_dataset

from sidrec.config import default_config
from sidrec.data.sources.registry import register_reader
from sidrec.plugins import load_plugins
from sidrec.run.prepare import load_prepared
from sidrec.run.stages import run_to, status_text

SALES = [
  f"{user}|{user % 3 + step}|{step}|{-1 if step == 4 else 5}"
  for user in range(9)
  for step in range(5)
]


@pytest.fixture(autouse=True)
def registers():
  with clean_registers(empty=True):
    yield


@pytest.fixture
def till(tmp_path):
  """The settings of a run that reads a till's log by the documentation's example."""
  load_plugins([write_plugins(tmp_path)["till"]])
  (tmp_path / "log").mkdir()
  (tmp_path / "log" / "sales.txt").write_text("\n".join(SALES) + "\n", encoding="utf-8")
  config = default_config()
  config.data.update(source="till", path=str(tmp_path / "log"))
  return config


def test_the_example_of_the_documentation_is_read(till, tmp_path, capsys):
  dataset = load_prepared(run_to("prepare", till, tmp_path / "run"))
  assert (dataset.name, dataset.histories.num_users, dataset.items.num_items) == ("till", 9, 6)
  assert len(dataset.histories.item_T) == 36
  assert "9 lines are returns" in capsys.readouterr().out
  till.data.plugins.till.returns = True
  assert "data.plugins.till.returns" in status_text(till, tmp_path / "run")
  dataset = load_prepared(run_to("prepare", till, tmp_path / "run"))
  assert len(dataset.histories.item_T) == 45


def test_a_file_that_changes_is_noticed(till, tmp_path):
  run_to("prepare", till, tmp_path / "run")
  assert "sales.txt" not in status_text(till, tmp_path / "run")
  (tmp_path / "log" / "sales.txt").write_text("\n".join(SALES[:-5]) + "\n", encoding="utf-8")
  assert "sales.txt" in status_text(till, tmp_path / "run")


def test_a_typo_in_its_settings_is_answered_with_the_nearest_name(till, tmp_path):
  with till.unlocked():
    till.data.plugins.till.return_ = True
  with pytest.raises(ValueError, match=r"data\.plugins\.till.*return_.*did you mean 'returns'"):
    run_to("prepare", till, tmp_path / "run")


def test_a_path_without_files_is_named(till, tmp_path):
  till.data.path = str(tmp_path / "nowhere")
  with pytest.raises(FileNotFoundError, match=r"no file at data\.path=.*nowhere"):
    run_to("prepare", till, tmp_path / "run")


def broken(path, min_interactions):
  data = make_dataset()
  return data._replace(histories=data.histories._replace(item_T=data.histories.item_T + 9))


@pytest.mark.parametrize(
  ("function", "sentence"),
  [
    (lambda path, min_interactions: [1], "returns list; give a Dataset"),
    (broken, "returns a Dataset that is none: "),
    (lambda path, min_interactions: 1 / 0, r"fails: ZeroDivisionError.*line \d+"),
  ],
)
def test_what_is_no_data_set_is_refused(tmp_path, function, sentence):
  register_reader("mine", function)
  config = default_config()
  config.data.source = "mine"
  with pytest.raises(ValueError, match=rf"the reader 'mine' \(test_own_readers\.py\) {sentence}"):
    run_to("prepare", config, tmp_path)


def test_names_and_arguments_are_checked_where_it_is_registered():
  with pytest.raises(ValueError, match="there is a source 'table' already"):
    register_reader("table", broken)
  with pytest.raises(ValueError, match=r"takes \(path\), but is called with \(path, min_inter"):
    register_reader("mine", lambda path: None)
  with pytest.raises(ValueError, match="cannot name a reader"):
    register_reader("my-own")
