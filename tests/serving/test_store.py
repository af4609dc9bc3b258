"""Events and withdrawn items on the disk, whatever kills the process."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sidrec.serving.store import Event, Store

APPENDER = Path(__file__).with_name("appender.py")


def test_events_come_back_in_order_and_by_user(tmp_path):
  store = Store(tmp_path / "below" / "events.sqlite")
  said = [Event("anna", "lamp", 5.0), Event("anna", "sofa", 2.0, 4.5)]
  store.append([Event("anna", "lamp", 5.0), Event("bob", "chair", 1.0)])
  store.append([Event("anna", "sofa", 2.0, 4.5)])
  assert store.events_of("anna", 10) == said
  assert store.events_of("anna", 1) == said[1:]
  assert store.events_of("nobody", 10) == []
  store.withdraw("lamp")
  store.withdraw("lamp")
  store.close()
  again = Store(tmp_path / "below" / "events.sqlite")
  assert again.events_of("anna", 10) == said
  assert (again.withdrawn, again.num_events) == (["lamp"], 3)
  again.bring_back("lamp")
  assert again.withdrawn == []
  again.close()


def test_events_of_before_ratings_are_kept(tmp_path):
  path = tmp_path / "events.sqlite"
  Store(path).close()
  with sqlite3.connect(path) as old:
    old.execute("ALTER TABLE events DROP COLUMN rating")
    old.execute("INSERT INTO events (user, item, time) VALUES ('anna', 'lamp', 5.0)")
    old.execute("PRAGMA user_version=2")
  old.close()
  for _ in range(2):
    store = Store(path)
    store.append([Event("anna", "sofa", 6.0, 3.0)])
    assert store.events_of("anna", 9)[:2] == [
      Event("anna", "lamp", 5.0),
      Event("anna", "sofa", 6.0, 3.0),
    ]
    store.close()


def test_a_call_is_appended_whole_or_not_at_all(tmp_path):
  store = Store(tmp_path / "events.sqlite")
  with pytest.raises(sqlite3.IntegrityError):
    store.append([Event("anna", "lamp", 5.0), Event("anna", None, 5.0)])
  assert store.num_events == 0
  store.append([Event("anna", "lamp", 5.0)])
  assert store.num_events == 1
  store.close()


def test_other_files_are_refused(tmp_path):
  path = tmp_path / "events.sqlite"
  path.write_text("no database " * 100)
  with pytest.raises(ValueError, match="cannot hold events"):
    Store(path)
  path.unlink()
  with sqlite3.connect(path) as other:
    other.execute("PRAGMA user_version=7")
  other.close()
  with pytest.raises(ValueError, match="has format 7, and this version of sidrec reads 3"):
    Store(path)


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
  store = Store(path)
  kept = [event.item for event in store.events_of("anna", 1_000_000)]
  assert kept[: len(acknowledged)] == acknowledged
  assert len(kept) <= len(acknowledged) + 1
  store.close()
