"""What happened since the run was trained, and where it is kept: what a server asks of its store.

`store_sqlite` is a file of one process, `store_redis` a place that several servers share. Both
give the same answers.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Event(NamedTuple):
  """A user met an item."""

  user: str
  item: str  # original id, which the run may not know
  time: float  # seconds since 1970
  rating: float | None = None  # None where unknown
  action: str | None = None  # its name, which the run may not know; None where unknown


class Changed(NamedTuple):
  """A change of the catalogue that holds."""

  run: str  # fingerprint of the run that was served
  version: str  # of the catalogue after it
  change: str


class Turns(NamedTuple):
  """Numbers that rise when something is written, whoever writes it."""

  withdrawn: int
  changes: int


class StoreError(OSError):
  """The store cannot be reached, or is not fit to hold anything now; it may come back."""


class MovedError(Exception):
  """Another server wrote changes of the catalogue meanwhile; nothing was written."""


class Store(Protocol):
  """Events, withdrawn items and changes of the catalogue, for the threads of a process.

  What a method writes is durable when it returns. All methods raise StoreError.
  """

  shared: bool  # others may write to it, and an answer takes a round trip

  def append(self, events: Sequence[Event]) -> None:
    """Adds events, all or none; if it raises StoreError, they may be there or not."""

  def events_of(self, user: str, most: int) -> list[Event]:
    """The latest events of a user, oldest first, in the order in which they were appended."""
    ...

  def events_of_each(self, users: Sequence[str], most: int) -> dict[str, list[Event]]:
    """`events_of` for several users, in one round trip."""
    ...

  @property
  def num_events(self) -> int:
    """Events of all users."""
    ...

  def forget(self, users: Sequence[str]) -> int:
    """Deletes all events of some users, so that no byte of them stays; how many there were."""
    ...

  def withdraw(self, item: str) -> None:
    """Marks an item as out of stock; it stays so after a restart."""

  def bring_back(self, item: str) -> None:
    """Marks an item as in stock."""

  @property
  def withdrawn(self) -> list[str]:
    """Items out of stock."""
    ...

  @property
  def turns(self) -> Turns:
    """Whether something was written since: read it before what it counts."""
    ...

  @property
  def changes(self) -> list[Changed]:
    """The changes that led from the run's catalogue to the newest one, in their order."""
    ...

  def add_change(self, changed: Changed, turn: int) -> int:
    """Adds a change.

    Args:
      changed: the change.
      turn: `turns.changes` before the changes were read that it follows.

    Returns:
      The turn after it.

    Raises:
      MovedError: if the turn is another one now.
    """
    ...

  def drop_change(self, turn: int) -> int:
    """Takes the newest change back; as `add_change`."""
    ...

  def replace_changes(self, changes: Sequence[Changed], turn: int) -> int:
    """Has these changes instead of all that there are; as `add_change`."""
    ...

  def close(self) -> None:
    """Lets go of it."""
