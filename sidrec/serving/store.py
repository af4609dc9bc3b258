"""What happened since the run was trained: events of users, and items out of stock; in SQLite.

An append returns when it is on the disk (write-ahead log, synced at each commit), so that no crash
loses what was acknowledged.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS events (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  user TEXT NOT NULL,
  item TEXT NOT NULL,
  time REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_user ON events (user, number);
CREATE TABLE IF NOT EXISTS withdrawn (item TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class Event(NamedTuple):
  """A user met an item."""

  user: str
  item: str  # original id, which the run may not know
  time: float  # seconds since 1970


class Store:
  """Events and withdrawn items, for the threads of one process."""

  def __init__(self, path: Path):
    """Opens a file, or makes it.

    Raises:
      ValueError: if it is no such file, or another process writes to it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    self._lock = threading.Lock()
    try:
      self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
      self._run("PRAGMA locking_mode=EXCLUSIVE")
      self._run("PRAGMA journal_mode=WAL")
      self._run("PRAGMA synchronous=FULL")
      version = self._run("PRAGMA user_version")[0][0]
      if version not in (0, _FORMAT):
        raise ValueError(f"{path} has format {version}, and this version of sidrec reads {_FORMAT}")
      self._database.executescript(
        f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version={_FORMAT};COMMIT;"
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
      self._database.executemany("INSERT INTO events (user, item, time) VALUES (?, ?, ?)", events)

  def items_of(self, user: str, most: int) -> list[str]:
    """The latest items of a user, oldest first, in the order in which they were appended."""
    with self._lock:
      rows = self._run(
        "SELECT item FROM events WHERE user = ? ORDER BY number DESC LIMIT ?", (user, most)
      )
    return [item for (item,) in reversed(rows)]

  @property
  def num_events(self) -> int:
    """Events of all users."""
    with self._lock:
      return self._run("SELECT COUNT(*) FROM events")[0][0]

  def withdraw(self, item: str) -> None:
    """Marks an item as out of stock; it stays so after a restart."""
    with self._transaction():
      self._run("INSERT OR IGNORE INTO withdrawn VALUES (?)", (item,))

  def bring_back(self, item: str) -> None:
    """Marks an item as in stock."""
    with self._transaction():
      self._run("DELETE FROM withdrawn WHERE item = ?", (item,))

  @property
  def withdrawn(self) -> list[str]:
    """Items out of stock."""
    with self._lock:
      return [item for (item,) in self._run("SELECT item FROM withdrawn ORDER BY item")]

  def close(self) -> None:
    """Closes the file."""
    with self._lock:
      self._database.close()
