"""The config for one's own logs: what its docstring says is so."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from sidrec.config import default_config
from sidrec.core.settings import flatten
from sidrec.data.cache import load_dataset
from sidrec.data.sources.demo import read_demo
from sidrec.run.load import load_semantic_ids
from sidrec.run.stages import run_to

ROOT = Path(__file__).parents[1]
CUSTOM = runpy.run_path(str(ROOT / "configs" / "custom.py"))


def prepared(config, workdir):
  """The data set of a config, through the stage and back from its file."""
  run_to("prepare", config, workdir)
  return load_dataset(workdir / "dataset.npz")


def documented_commands():
  """The settings of each command of the docstring: [{'data.path': …}, …]."""
  text = CUSTOM["__doc__"].replace("\\\n", " ")
  commands = re.findall(r"^  python -m sidrec\.main (.*)$", text, flags=re.MULTILINE)
  return [dict(re.findall(r"--config\.([\w.]+)=(\S+)", command)) for command in commands]


def test_every_setting_of_a_table_is_documented_with_its_default():
  for setting, default in flatten(default_config().data.table.to_dict()).items():
    name, _, role = setting.partition(".")
    start = rf"{name}\.(.*\.)?{role}" if role else name
    line = re.search(rf"^  {start}\b.*$", CUSTOM["__doc__"], flags=re.MULTILINE)
    assert line, setting
    if isinstance(default, tuple):
      assert all(mark in CUSTOM["__doc__"].split(line[0])[1][:200] for mark in default), setting
    elif isinstance(default, bool):
      assert f"{default}" in line[0], setting
    else:
      assert (f"'{default}'" if default else "empty") in line[0], setting


def test_the_documented_example_reads_the_shipped_files(tmp_path, monkeypatch):
  """What the table reader makes of them is what the demo's own reader does."""
  monkeypatch.chdir(ROOT)
  [example] = [c for c in documented_commands() if "data.table.items_path" in c]
  config = CUSTOM["get_config"]("tiny")
  config.lock()  # as on the command line
  config.update_from_flattened_dict(example)
  found, expected = prepared(config, tmp_path), read_demo()
  for name in ("offsets_Up1", "item_T", "time_T", "rating_T", "user_ids_U"):
    np.testing.assert_array_equal(getattr(found.histories, name), getattr(expected.histories, name))
  for name in ("ids_N", "titles_N", "categories_C", "category_offsets_Np1", "category_E"):
    np.testing.assert_array_equal(getattr(found.items, name), getattr(expected.items, name))


def test_the_documented_lines_are_a_log(tmp_path):
  """They lack only a third interaction."""
  [block] = re.findall(r"\n\n((?:  [\w-]+,[\w-]+,\w+\n)+)\n", CUSTOM["__doc__"])
  log = tmp_path / "log.csv"
  log.write_text(block.replace("  ", "") + "anna,vase-1,1700000900\n")
  config = CUSTOM["get_config"]("tiny")
  config.update_from_flattened_dict({**documented_commands()[0], "data.path": str(log)})
  data = prepared(config, tmp_path)
  assert data.histories.user_ids_U.tolist() == ["anna"]
  assert data.items.ids_N[data.histories.item_T].tolist() == ["lamp-12", "chair-3", "vase-1"]


def test_every_setting_reaches_the_reader(tmp_path):
  log, items = tmp_path / "log.txt", tmp_path / "items.txt"
  log.write_text("u;i;t;r\n" + "".join(f"a;{i};2024-05-0{3 - i};{i}\n" for i in range(3)))
  items.write_text("sku;name;kind;brand;notes;price\n1;Lamp;light/home;Lux;bright;9.5\n")
  config = CUSTOM["get_config"]()
  config.data.path = str(log)
  config.data.table.update(time_unit="iso", separator=";", category_separator="/")
  config.data.table.columns.update(user="u", item="i", time="t", rating="r")
  config.data.table.items_path = str(items)
  roles = {"id": "sku", "title": "name", "text": "notes", "cost": "price"}
  config.data.table.item_columns = ConfigDict({**roles, "categories": ("kind", "brand")})
  data = prepared(config, tmp_path)
  assert data.histories.item_T.tolist() == [2, 1, 0]
  assert data.histories.rating_T.tolist() == [2, 1, 0]
  assert data.items.titles_N.tolist() == ["", "Lamp", ""]
  assert data.items.categories_of(1) == ["light", "home", "Lux"]
  assert data.items.text_N[1] == "bright"
  assert data.items.numeric["cost"][1] == pytest.approx(9.5)


def test_a_log_without_a_table_of_items_becomes_semantic_ids(tmp_path):
  rng = np.random.default_rng(0)
  items_UxT = [rng.permutation(30)[:6].tolist() for _ in range(40)]
  rows = [f"u{u},x{i},{t}" for u, items_T in enumerate(items_UxT) for t, i in enumerate(items_T)]
  (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
  config = CUSTOM["get_config"]("tiny")
  config.data.path = str(tmp_path / "log.csv")
  run_to("tokenize", config, tmp_path)
  ids = load_semantic_ids(config, tmp_path)
  assert ids.num_items == 30
  assert len(np.unique(ids.codes, axis=0)) == 30


def test_without_a_path_it_says_what_is_missing(tmp_path):
  with pytest.raises(ValueError, match="a table needs a path: the file of the interactions"):
    run_to("prepare", CUSTOM["get_config"](), tmp_path)
