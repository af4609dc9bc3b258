"""A store in a file of SQLite, which one process has.

An append returns when it is on the disk (write-ahead log, synced at each commit), so that no crash
loses what was acknowledged.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

from sidrec.serving.store import Changed, Event, MovedError, Turns
from sidrec.update.forget import delete_events

_FORMAT = 4
# What a file of an earlier format lacks; 0 is a new file, and 1 had no changes of the catalogue.
_RATING = "ALTER TABLE events ADD COLUMN rating REAL;"
_ACTION = "ALTER TABLE events ADD COLUMN action TEXT;"
_UPGRADES = {0: "", 1: _RATING + _ACTION, 2: _RATING + _ACTION, 3: _ACTION, _FORMAT: ""}
_TABLES = """
CREATE TABLE IF NOT EXISTS events (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  user TEXT NOT NULL,
  item TEXT NOT NULL,
  time REAL NOT NULL,
  rating REAL,
  action TEXT
);
CREATE INDEX IF NOT EXISTS events_of_user ON events (user, number);
CREATE TABLE IF NOT EXISTS withdrawn (item TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  run TEXT NOT NULL,
  version TEXT NOT NULL,
  change TEXT NOT NULL
);
"""


class SQLiteStore:
  """`store.Store` in a file."""

  shared = False

  def __init__(self, path: Path):
    """Opens a file, or makes it.

    Raises:
      ValueError: if it is no such file, or another process writes to it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    self._lock = threading.Lock()
    self._withdrawn_turn, self._changes_turn = 0, 0  # nobody else writes
    try:
      self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
      self._run("PRAGMA locking_mode=EXCLUSIVE")
      self._run("PRAGMA journal_mode=WAL")
      self._run("PRAGMA synchronous=FULL")
      version = self._run("PRAGMA user_version")[0][0]
      if version not in _UPGRADES:
        raise ValueError(f"{path} has format {version}, and this version of sidrec reads {_FORMAT}")
      self._database.executescript(
        f"BEGIN IMMEDIATE;{_TABLES}{_UPGRADES[version]}PRAGMA user_version={_FORMAT};COMMIT;"
      )
    except sqlite3.Error as error:
      raise ValueError(f"{path} cannot hold events: {error}") from error

  def _run(self, command: str, values: Sequence = ()) -> list[tuple]:
    return self._database.execute(command, values).fetchall()

  @contextlib.contextmanager
  def _transaction(self) -> Generator[None]:
    with self._lock:
      self._run("BEGIN IMMEDIATE")
      try:
        yield
        self._run("COMMIT")
      except BaseException:
        if self._database.in_transaction:
          self._run("ROLLBACK")
        raise

  def append(self, events: Sequence[Event]) -> None:
    """Adds events, all or none; they are on the disk when this returns."""
    with self._transaction():
      self._database.executemany(
        "INSERT INTO events (user, item, time, rating, action) VALUES (?, ?, ?, ?, ?)", events
      )

  def events_of(self, user: str, most: int) -> list[Event]:
    """The latest events of a user, oldest first, in the order in which they were appended."""
    with self._lock:
      rows = self._run(
        "SELECT user, item, time, rating, action FROM events WHERE user = ?"
        " ORDER BY number DESC LIMIT ?",
        (user, most),
      )
    return [Event(*row) for row in reversed(rows)]

  def events_of_each(self, users: Sequence[str], most: int) -> dict[str, list[Event]]:
    """`events_of` for several users."""
    return {user: self.events_of(user, most) for user in users}

  @property
  def num_events(self) -> int:
    """Events of all users."""
    with self._lock:
      return self._run("SELECT COUNT(*) FROM events")[0][0]

  def forget(self, users: Sequence[str]) -> int:
    """Deletes all events of some users, so that no byte of them stays; how many there were."""
    with self._lock:
      return delete_events(self._database, users)

  def withdraw(self, item: str) -> None:
    """Marks an item as out of stock; it stays so after a restart."""
    with self._transaction():
      self._run("INSERT OR IGNORE INTO withdrawn VALUES (?)", (item,))
      self._withdrawn_turn += 1

  def bring_back(self, item: str) -> None:
    """Marks an item as in stock."""
    with self._transaction():
      self._run("DELETE FROM withdrawn WHERE item = ?", (item,))
      self._withdrawn_turn += 1

  @property
  def turns(self) -> Turns:
    """How often this process wrote withdrawn items, and changes."""
    return Turns(self._withdrawn_turn, self._changes_turn)

  @property
  def withdrawn(self) -> list[str]:
    """Items out of stock."""
    with self._lock:
      return [item for (item,) in self._run("SELECT item FROM withdrawn ORDER BY item")]

  @property
  def changes(self) -> list[Changed]:
    """The changes that led from the run's catalogue to the newest one, in their order."""
    with self._lock:
      rows = self._run("SELECT run, version, change FROM changes ORDER BY number")
    return [Changed(*row) for row in rows]

  def add_change(self, changed: Changed, turn: int) -> int:
    """Adds a change; it is on the disk when this returns."""
    with self._journal(turn):
      self._run("INSERT INTO changes (run, version, change) VALUES (?, ?, ?)", changed)
    return turn + 1

  def drop_change(self, turn: int) -> int:
    """Takes the newest change back."""
    with self._journal(turn):
      self._run("DELETE FROM changes WHERE number = (SELECT MAX(number) FROM changes)")
    return turn + 1

  def replace_changes(self, changes: Sequence[Changed], turn: int) -> int:
    """Has these changes instead of all that there are."""
    with self._journal(turn):
      self._run("DELETE FROM changes")
      self._database.executemany(
        "INSERT INTO changes (run, version, change) VALUES (?, ?, ?)", changes
      )
    return turn + 1

  @contextlib.contextmanager
  def _journal(self, turn: int) -> Generator[None]:
    """A transaction on the changes, if nobody wrote any since a turn."""
    with self._transaction():
      if turn != self._changes_turn:
        raise MovedError
      yield
    self._changes_turn = turn + 1

  def close(self) -> None:
    """Closes the file."""
    with self._lock:
      self._database.close()
