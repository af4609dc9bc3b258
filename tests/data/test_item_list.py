"""items.tsv is a table whatever ids and titles hold."""

import csv

import polars as pl

from sidrec.config import default_config
from sidrec.data.item_list import item_list
from sidrec.data.sources.build import item_table
from sidrec.run.stages import run_to

_TITLES = ["Lamp\nlarge", "Clock\ttall", '"', '"q" \u2028x\x85y\r', "5'' \x1b[31mdisc", "日本"]


def test_every_item_is_a_line_of_three_fields_for_any_reader(tmp_path):
  ids = ["a", "b\tc", "d\n", '"e"', "f", "g"]
  text = item_list(item_table(ids, _TITLES, [()] * 6, {}))
  assert [line.count("\t") for line in text.splitlines()] == [2] * 7
  (tmp_path / "items.tsv").write_text(text, encoding="utf-8")
  expected = [["row", "item_id", "title"], ["0", "a", "Lamp large"], ["1", "b c", "Clock tall"],
              ["2", "d ", '"'], ["3", '"e"', '"q"  x y '], ["4", "f", "5''  [31mdisc"],
              ["5", "g", "日本"]]  # fmt: skip
  assert list(csv.reader(text.splitlines(), delimiter="\t")) == expected
  found = pl.read_csv(tmp_path / "items.tsv", separator="\t", infer_schema=False)
  assert [list(row) for row in found.rows()] == expected[1:]


def test_prepare_writes_it(tmp_path):
  (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\nu,a,1\nu,b,2\nu,c,3\n")
  (tmp_path / "i.csv").write_text('item_id,title\na,"Lamp\nlarge"\nb,"""x"" \u2028"\n')
  config = default_config()
  config.data.update(source="table", path=str(tmp_path / "log.csv"))
  config.data.table.items_path = str(tmp_path / "i.csv")
  run_to("prepare", config, tmp_path / "run")
  file = tmp_path / "run" / "items.tsv"  # a link to the output of the stage
  lines = file.read_text(encoding="utf-8").splitlines()
  assert [line.split("\t")[1:] for line in lines] == [
    ["item_id", "title"], ["a", "Lamp large"], ["b", '"""x""  "'], ["c", ""]
  ]  # fmt: skip
