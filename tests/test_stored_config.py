"""The settings of a finished run, as a config file."""

import dataclasses

import pytest

from sidrec.config import default_config
from sidrec.core.atomic import write_whole_text
from sidrec.run.config_file import CONFIG, config_text
from sidrec.run.generations import checksums_of, new_folder
from sidrec.run.record import Inputs, Record, write_record
from sidrec.run.settings import run_config
from sidrec.stored_config import get_config


def test_it_gives_what_the_run_was_built_with(tmp_path):
  config = default_config()
  config.data.source, config.train.steps = "demo", 77
  config.search.temperature = 2.0
  config.data.table.user_columns.numbers = ("age",)
  built = run_config(config)
  folder = new_folder(tmp_path, "train")
  write_whole_text(folder / CONFIG, config_text(built, tmp_path))
  write_record(
    folder, Record("train", Inputs({}, {}, {}, {}), checksums_of(folder, [CONFIG]), "now")
  )
  assert run_config(get_config(str(tmp_path))) == built
  assert run_config(get_config(str(tmp_path))) != dataclasses.replace(built, seed=1)


def test_no_run_is_a_sentence(tmp_path):
  with pytest.raises(FileNotFoundError, match="there is no run in"):
    get_config(str(tmp_path))
