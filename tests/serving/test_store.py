"""Events, withdrawn items and changes, kept whatever kills the process: what all stores hold."""

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from sidrec.serving import forget
from sidrec.serving.open_store import open_store
from sidrec.serving.store import Changed, Event, MovedError, Turns
from sidrec.serving.store_sqlite import SQLiteStore

APPENDER = Path(__file__).with_name("appender.py")


@pytest.fixture(params=["sqlite", "redis"])
def opened(request, tmp_path):
  """Opens a store, and again what it kept."""
  if request.param == "sqlite":
    place = str(tmp_path / "below" / "events.sqlite")
  else:
    place = f"{request.getfixturevalue('redis_server').url}?name={uuid.uuid4().hex}"
  stores = []

  def open_it():
    if stores:
      stores.pop().close()
    stores.append(open_store("", place))
    return stores[0]

  open_it.place = place
  yield open_it
  for store in stores:
    store.close()


def test_events_come_back_in_order_and_by_user(opened):
  store = opened()
  said = [Event("anna", "lamp", 5.0), Event("anna", "sofa", 0.1 + 0.2, 4.5, "buy")]
  store.append([Event("anna", "lamp", 5.0), Event("bob", "chair", 1.0)])
  store.append([Event("anna", "sofa", 0.1 + 0.2, 4.5, "buy")])
  assert store.events_of("anna", 10) == said
  assert store.events_of("anna", 1) == said[1:]
  assert store.events_of("nobody", 10) == []
  assert store.events_of_each(["bob", "nobody", "anna"], 1) == {
    "bob": [Event("bob", "chair", 1.0)],
    "nobody": [],
    "anna": said[1:],
  }
  assert store.events_of_each([], 1) == {}
  store.withdraw("lamp")
  store.withdraw("lamp")
  again = opened()
  assert again.events_of("anna", 10) == said
  assert (again.withdrawn, again.num_events) == (["lamp"], 3)
  again.bring_back("lamp")
  again.bring_back("chair")
  assert again.withdrawn == []


NAMES = ["", ":", "a:b", "é\u0000\n", "\U0001f600", "{x}", "withdrawn", "%", "*", "1.0", "01"]


def test_any_text_is_a_user_and_an_item(opened):
  store = opened()
  for at, user in enumerate(NAMES):
    store.append([Event(user, item, float(at)) for item in NAMES])
  for at, user in enumerate(NAMES):
    assert store.events_of(user, 99) == [Event(user, item, float(at)) for item in NAMES]
  for name in NAMES:
    store.withdraw(name)
  assert store.withdrawn == sorted(NAMES)


@pytest.mark.parametrize("wrong", [Event("anna", None, 5.0), Event("anna", "sofa", float("nan"))])
def test_a_call_is_appended_whole_or_not_at_all(opened, wrong):
  store = opened()
  with pytest.raises((sqlite3.IntegrityError, TypeError, ValueError)):
    store.append([Event("bob", "lamp", 5.0), wrong])
  assert (store.num_events, store.events_of("bob", 9)) == (0, [])
  store.append([Event("anna", "lamp", 5.0)])
  assert store.num_events == 1


def change(number):
  return Changed("run", f"version {number}", f'[["\u00e9{number}"]]')


def test_changes_are_written_behind_those_that_were_read(opened):
  store = opened()
  first = store.turns.changes
  assert store.changes == []
  second = store.add_change(change(1), first)
  third = store.add_change(change(2), second)
  assert store.turns.changes == third
  assert len({first, second, third}) == 3
  for write in (
    lambda: store.add_change(change(3), second),
    lambda: store.drop_change(first),
    lambda: store.replace_changes([], second),
  ):
    with pytest.raises(MovedError):
      write()
  assert store.changes == [change(1), change(2)]
  fourth = store.drop_change(third)
  assert store.changes == [change(1)]
  fifth = store.replace_changes([change(4), change(5), change(6)], fourth)
  again = opened()
  assert again.changes == [change(4), change(5), change(6)]
  turn = again.turns.changes
  assert again.replace_changes([], turn) != turn
  assert again.changes == []
  assert fifth not in (first, second, third, fourth)


def test_turns_tell_what_was_written(opened):
  store = opened()
  seen = [store.turns]
  for write in (
    lambda: store.withdraw("lamp"),
    lambda: store.bring_back("lamp"),
    lambda: store.add_change(change(1), store.turns.changes),
    lambda: store.append([Event("anna", "lamp", 5.0)]),
  ):
    write()
    seen.append(store.turns)
  rises = [Turns(*(b - a for a, b in zip(*pair, strict=True))) for pair in itertools.pairwise(seen)]
  assert rises == [(1, 0), (1, 0), (0, 1), (0, 0)]


def test_forgotten_users_have_no_events(opened):
  store = opened()
  store.append([Event(user, "lamp", 1.0) for user in ("anna", "bob", "anna", "carl")])
  assert store.forget(["anna", "nobody", "carl", "anna"]) == 3
  assert store.num_events == 1
  assert store.events_of_each(["anna", "bob", "carl"], 9) == {
    "anna": [],
    "bob": [Event("bob", "lamp", 1.0)],
    "carl": [],
  }


def test_the_command_that_forgets_users(opened, tmp_path, capsys):
  store = opened()
  store.append([Event(user, "lamp", 1.0) for user in ("anna", "bob", "anna")])
  store.close()
  users = tmp_path / "users.txt"
  users.write_text("anna\nnobody\n")
  assert forget.main([f"--store={opened.place}", f"--forget_users={users}"]) == 0
  assert capsys.readouterr().out == "deleted 2 events of 2 users\n"
  assert opened().num_events == 1
  assert forget.main([f"--store={tmp_path / 'none'}", f"--forget_users={users}"]) == 1
  assert "there is no store in" in capsys.readouterr().err
  assert not (tmp_path / "none").exists()
  pytest.importorskip("redis")
  assert forget.main(["--store=redis://localhost:1", f"--forget_users={users}"]) == 1
  assert "redis://localhost:1/0 cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(("version", "lacks"), [(2, ("rating", "action")), (3, ("action",))])
def test_events_of_before_ratings_and_actions_are_kept(tmp_path, version, lacks):
  path = tmp_path / "events.sqlite"
  SQLiteStore(path).close()
  with sqlite3.connect(path) as old:
    for column in lacks:
      old.execute(f"ALTER TABLE events DROP COLUMN {column}")
    old.execute("INSERT INTO events (user, item, time) VALUES ('anna', 'lamp', 5.0)")
    old.execute(f"PRAGMA user_version={version}")
  old.close()
  for _ in range(2):
    store = SQLiteStore(path)
    store.append([Event("anna", "sofa", 6.0, 3.0, "buy")])
    assert store.events_of("anna", 9)[:2] == [
      Event("anna", "lamp", 5.0),
      Event("anna", "sofa", 6.0, 3.0, "buy"),
    ]
    store.close()


def test_other_files_are_refused(tmp_path):
  path = tmp_path / "events.sqlite"
  path.write_text("no database " * 100)
  with pytest.raises(ValueError, match="cannot hold events"):
    SQLiteStore(path)
  path.unlink()
  with sqlite3.connect(path) as other:
    other.execute("PRAGMA user_version=7")
  other.close()
  with pytest.raises(ValueError, match="has format 7, and this version of sidrec reads 4"):
    SQLiteStore(path)
  with pytest.raises(ValueError, match="give --store=FILE or redis://"):
    open_store("gs://bucket/run", None)


@pytest.mark.parametrize("events_before_the_end", [3, 40])
def test_no_acknowledged_event_is_lost_by_a_kill(tmp_path, events_before_the_end):
  path = tmp_path / "events.sqlite"
  process = subprocess.Popen([sys.executable, str(APPENDER), str(path)], stdout=subprocess.PIPE)
  acknowledged = []
  for line in process.stdout:
    acknowledged.append(line.decode().strip())
    if len(acknowledged) == events_before_the_end:
      os.kill(process.pid, signal.SIGKILL)
  process.wait()
  acknowledged = [line for line in acknowledged if line]
  store = SQLiteStore(path)
  kept = [event.item for event in store.events_of("anna", 1_000_000)]
  assert kept[: len(acknowledged)] == acknowledged
  assert len(kept) <= len(acknowledged) + 1
  store.close()
