"""A store holds what the reader in memory reads, row by row, whatever the shares are."""

import csv
import dataclasses
import gzip
import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny import assert_same

from sidrec.data import store
from sidrec.data.dataset import Dataset
from sidrec.data.k_core import core_of
from sidrec.data.prepare import command, steps
from sidrec.data.settings import DataConfig, TableConfig
from sidrec.data.sources import registry


def in_memory(data: DataConfig) -> Dataset:
  """What the readers make of a config's data in memory."""
  dataset = registry.read(
    data.source, data.path, data.min_interactions, **registry.settings_of(data)
  )
  return core_of(dataset, data.k_core) if data.k_core else dataset


@pytest.fixture(params=["local", "beam"])
def prepared(request: pytest.FixtureRequest, tmp_path: Path, small_shares: None):
  """What either way of preparing puts into a store."""

  def prepare(data: DataConfig, num_shards: int = 0) -> Dataset:
    if request.param == "beam":
      command.prepare_by_beam(data, tmp_path / "store", 6, num_shards)
    else:
      command.prepare(data, tmp_path / "store", num_shards)
    assert not [*tmp_path.glob(".store*")]
    return store.load_store(tmp_path / "store")

  if request.param == "beam":
    pytest.importorskip("apache_beam")
  return prepare


@pytest.fixture
def small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
  """So that small logs have many shares."""
  monkeypatch.setattr(steps, "_SHARE_ROWS", 60)


def table_config(path: Path, table: dict | None = None, **changes) -> DataConfig:
  return DataConfig(source="table", path=str(path), table=TableConfig(**(table or {})), **changes)


def random_log(rng, users, items, size, times) -> list[list[str]]:
  """Rows of user, item, time and rating, with what logs have: repeats, ties, gaps."""
  rows = [
    [
      str(rng.choice(users)),
      str(rng.choice(items)),
      str(rng.choice(times)),
      str(rng.integers(1, 6)),
    ]
    for _ in range(size)
  ]
  for row in rows[::17]:
    row[rng.integers(0, 4)] = ""  # no user, no item, no time or no rating
  return rows + rows[:25]


def test_a_log_with_actions(tmp_path: Path, prepared) -> None:
  rng = np.random.default_rng(1)
  rows = random_log(rng, range(12), range(9), 400, range(40))
  kinds = ["view", "view", "buy", "", "NULL"]
  lines = ["u,i,t,r,do", *(",".join([*row, str(rng.choice(kinds))]) for row in rows)]
  (tmp_path / "log.csv").write_text("\n".join([*lines, "1,,3,4,gift", *lines[1:9]]) + "\n")
  columns = {"user": "u", "item": "i", "time": "t", "rating": "r", "action": "do"}
  data = table_config(tmp_path / "log.csv", {"columns": columns}, k_core=3)
  found = prepared(data, 3)
  assert_same(found, in_memory(data))
  assert found.histories.actions == ("buy", "view")  # no event names the gift
  assert set(found.histories.action_T.tolist()) == {-1, 0, 1}


def test_a_quoted_table_with_faults_to_its_core(tmp_path: Path, prepared) -> None:
  rng = np.random.default_rng(0)
  users = [f'u "{n}"\nof {n % 3}' for n in range(25)]
  rows = random_log(rng, users, ["007", "7", "12345678901234567890", *range(9)], 400, range(99))
  with (tmp_path / "log.csv").open("w", newline="") as file:
    csv.writer(file).writerows([["who", "what", "when", "rating"], *rows])
  (tmp_path / "items.csv").write_text("item_id,title,year\n7,seven,1997\n1,one,\n99,none,1999\n")
  columns = {"user": "who", "item": "what", "time": "when", "rating": "rating"}
  table = {"columns": columns, "items_path": str(tmp_path / "items.csv")}
  data = table_config(tmp_path / "log.csv", table, repeats="first", k_core=5)
  expected = in_memory(data)
  assert len(expected.notes) == 10  # every rule had something to drop
  assert_same(prepared(data, 3), expected)
  assert len([*(tmp_path / "store").glob("*.array_record*")]) == 3


def test_json_lines_of_several_files_without_times(tmp_path: Path, prepared) -> None:
  rng = np.random.default_rng(1)
  rows = random_log(rng, range(100, 115), list("abc"), 90, [0])
  (tmp_path / "logs").mkdir()
  for number, part in enumerate((rows[:40], rows[40:])):
    lines = [json.dumps({"user_id": user, "item_id": item}) for user, item, *_ in part]
    (tmp_path / "logs" / f"log-{number}.jsonl").write_text("\n".join(lines) + "\n")
  (tmp_path / "whole.jsonl").write_bytes(
    b"".join((tmp_path / "logs" / f"log-{number}.jsonl").read_bytes() for number in range(2))
  )
  table = {"columns": {"user": "user_id", "item": "item_id", "time": ""}}
  expected = in_memory(table_config(tmp_path / "whole.jsonl", table))
  data = table_config(tmp_path / "logs" / "log-*.jsonl", table)
  assert_same(in_memory(data)._replace(name="whole"), expected)
  assert_same(prepared(data)._replace(name="whole"), expected)
  assert_same(in_memory(dataclasses.replace(data, path=str(tmp_path / "logs"))), in_memory(data))


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.csv.gz", "log.parquet"])
def test_every_form_of_a_table_gives_the_same(tmp_path: Path, name: str, prepared) -> None:
  rng = np.random.default_rng(3)
  names = ["user_id", "item_id", "timestamp"]
  rows = [[int(rng.integers(19)), int(rng.integers(9)), int(t)] for t in rng.integers(0, 99, 200)]
  frame, file = pl.DataFrame(rows, names, orient="row"), tmp_path / name
  frame.write_csv(tmp_path / "expected.csv")
  if name.endswith("parquet"):
    frame.write_parquet(file, row_group_size=30)
  elif name.endswith("jsonl"):
    frame.write_ndjson(file)
  else:
    text = (tmp_path / "expected.csv").read_bytes()
    file.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
  expected = in_memory(table_config(tmp_path / "expected.csv"))
  assert_same(prepared(table_config(file))._replace(name="expected"), expected)


@pytest.mark.parametrize(
  ("name", "wrong"),
  [
    ("log.csv", "1,2"),
    ("log.csv", "1,2,yesterday"),
    ("log.jsonl", '{"user_id": 1, "item_id": 2, "timestamp": "soon"}'),
  ],
)
def test_a_fault_is_one_sentence_and_leaves_nothing(
  tmp_path: Path, name: str, wrong: str, prepared
) -> None:
  rows = [f"{n % 7},{n % 5},{n}" for n in range(300)]
  header = ["user_id,item_id,timestamp"]
  if name == "log.jsonl":
    rows = [f'{{"user_id": {n % 7}, "item_id": {n % 5}, "timestamp": {n}}}' for n in range(300)]
    header = []
  rows[211] = wrong
  (tmp_path / name).write_text("\n".join([*header, *rows]) + "\n")
  with pytest.raises(ValueError, match=rf"^[^\n]*{name}:{212 + len(header)}: [^\n]*$"):
    prepared(table_config(tmp_path / name))
  assert [file.name for file in tmp_path.iterdir()] == [name]


def test_other_sources_are_read_in_memory(tmp_path: Path) -> None:
  data = DataConfig(source="demo", k_core=20)
  said = command.prepare(data, tmp_path / "store", 2)
  assert said == "demo: 196 users, 99 items, 5,191 interactions in 2 shards"
  assert_same(store.load_store(tmp_path / "store"), in_memory(data))


@pytest.mark.parametrize(("changes", "told"), [
  ({}, "no user has 3 or more interactions"), ({"k_core": 3}, "has no 3-core; use a smaller k")
])  # fmt: skip
def test_a_log_of_which_nothing_is_left(tmp_path: Path, changes: dict, told: str, prepared) -> None:
  users = 3 if changes else 2
  rows = [f"{user},{10 * user + place},{place}" for user in range(4) for place in range(users)]
  (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
  with pytest.raises(ValueError, match=told):
    prepared(table_config(tmp_path / "log.csv", **changes))


def test_a_core_that_is_not_reached_is_an_error(tmp_path: Path) -> None:
  # A chain: each round drops the item at its end and, with it, the next user.
  rows = [f"{user},{user + place},{place}" for user in range(6) for place in range(3)]
  (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
  data = table_config(tmp_path / "log.csv", k_core=3)
  pytest.importorskip("apache_beam")
  with pytest.raises(ValueError, match="the 3-core was not reached within --core_rounds=1"):
    command.prepare_by_beam(data, tmp_path / "store", core_rounds=1)


def test_without_beam_there_is_one_sentence(tmp_path: Path, monkeypatch) -> None:
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  monkeypatch.delitem(sys.modules, "sidrec.data.prepare.beam_graph", raising=False)
  monkeypatch.delattr("sidrec.data.prepare.beam_graph", raising=False)  # of an earlier test
  with pytest.raises(ImportError, match=r"needs Apache Beam: pip install 'sidrec\[beam\]'"):
    command.prepare_by_beam(table_config(tmp_path / "log.csv"), tmp_path / "store")


def test_what_a_store_cannot_hold_is_refused(tmp_path: Path) -> None:
  data = table_config(tmp_path / "log.csv")
  for changes, told in (
    ({"k_core": 2}, "a core of 2 is too small"),
    ({"min_interactions": 2}, "min_interactions is 2; it must be at least 3"),
    ({"shuffle_ties": 0}, "keeps file order among equal times"),
    ({"source": "store"}, "is prepared already"),
  ):
    with pytest.raises(ValueError, match=told):
      command.prepare(dataclasses.replace(data, **changes), tmp_path / "store")
