"""The column of actions in logs: read, kept apart from what is missing, the same in all readers."""

import numpy as np
import pytest

from sidrec.data.prepare.command import prepare
from sidrec.data.settings import DataConfig, TableConfig
from sidrec.data.sources.actions import checked
from sidrec.data.sources.recbole import read_atomic
from sidrec.data.sources.table import read_table
from sidrec.data.store import load_store

COLUMNS = {"user": "u", "item": "i", "time": "t", "rating": "", "action": "what"}
LINES = [
  *("u,i,t,what", "1,5,1,view", "1,5,1,buy", "1,5,1,buy", "1,6,2,", "1,5,3,view", "1,7,3,cart"),
  *("2,5,1,view", "2,6,2,NULL", "2,7,3,view", "3,5,4,gift"),
]
ACTIONS = ["view", "buy", None, "view", "cart", "view", None, "view"]


def write(folder, lines=LINES):
  (folder / "log.csv").write_text("\n".join(lines) + "\n")
  return str(folder / "log.csv")


def read(path, repeats="keep", **columns):
  return read_table(path, 3, TableConfig(columns={**COLUMNS, **columns}), repeats=repeats)


def named(histories):
  return [(*histories.actions, None)[row] for row in histories.action_T]


def test_a_table_with_actions(tmp_path):
  data = read(write(tmp_path))
  # The names are those of the whole log; -1 is what is missing.
  assert data.histories.actions == ("buy", "cart", "gift", "view")
  assert named(data.histories) == ACTIONS
  assert data.histories.action_T.dtype == np.int16
  assert "dropped 1 interaction that repeats another in user, item, time, rating and action" in (
    data.notes
  )


def test_first_of_a_user_an_item_and_an_action(tmp_path):
  data = read(write(tmp_path), repeats="first")
  assert named(data.histories) == ["view", "buy", None, "cart", "view", None, "view"]
  assert "dropped 1 interaction with an item that the user had met before in the same action" in (
    data.notes
  )


def test_a_table_whose_actions_are_not_named_is_read_as_before(tmp_path):
  data = read(write(tmp_path), action="")
  assert data.histories.action_T is None
  assert data.histories.actions is None
  # A view and a purchase at one time are one interaction where nobody tells them apart.
  assert len(data.histories.item_T) == 7


def test_a_store_of_a_table_holds_what_the_reader_reads(tmp_path):
  path = write(tmp_path)
  config = DataConfig(source="table", path=path, table=TableConfig(columns=COLUMNS))
  prepare(config, tmp_path / "store")
  found, expected = load_store(tmp_path / "store"), read(path)
  assert found.notes == expected.notes
  assert found.histories.actions == expected.histories.actions
  for name in ("item_T", "action_T", "time_T"):
    assert getattr(found.histories, name).tobytes() == getattr(expected.histories, name).tobytes()


def test_columns_that_are_no_actions(tmp_path):
  empty = [line.rpartition(",")[0] + "," for line in LINES[1:]]
  with pytest.raises(ValueError, match="the column of actions is empty"):
    read(write(tmp_path, [LINES[0], *empty]))
  with pytest.raises(ValueError, match="has 1,001 different values, such as 'a0'"):
    checked(f"a{n}" for n in range(1001))
  with pytest.raises(ValueError, match="has no column 'kind', which was to be its action"):
    read(write(tmp_path), action="kind")


def test_an_atomic_file_with_a_column_of_actions(tmp_path):
  header = "user_id:token\titem_id:token\ttimestamp:float\tbehavior_type:token"
  lines = [header, *(line.replace(",", "\t") for line in LINES[1:])]
  (tmp_path / "log.inter").write_text("\n".join(lines) + "\n")
  data = read_atomic(str(tmp_path), 3)
  assert named(data.histories) == ACTIONS
  assert "actions are those of the column 'behavior_type': buy, cart, gift, view" in data.notes
