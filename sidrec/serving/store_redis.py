"""A store in Redis or Valkey, which several servers share.

Redis answers an append when it is on its disk, if it syncs its append-only file at each write
(appendfsync always); a server that does less is refused, at the start and at every new connection.
Nothing is tried twice: an append whose answer was lost may have been made.

Keys, where NAME is the store's name (''):
  sidrec:format:NAME             the format of the others
  sidrec:1:NAME:about            hash: id of the store, how many events, turns of what may change
  sidrec:1:NAME:events:USER      list: [item, time, rating] and perhaps the action, oldest first
  sidrec:1:NAME:withdrawn        set of items
  sidrec:1:NAME:changes          list: [run, version, change]
"""

import contextlib
import json
import sys
import time
import uuid
from collections.abc import Generator, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from sidrec.core.printable import printable
from sidrec.serving.redis_place import Place, unfit
from sidrec.serving.store import Changed, Event, MovedError, StoreError, Turns

_FORMAT = "1"
_SECONDS = 2.0  # for an answer of Redis
_REWRITE_SECONDS = 600.0  # for its append-only file

# Each writes changes of the catalogue, if nobody did since a turn: KEYS about, changes; ARGV turn.
_IF_TURN = """
if (redis.call('HGET', KEYS[1], 'changes') or '0') ~= ARGV[1] then return -1 end
%s
return redis.call('HINCRBY', KEYS[1], 'changes', 1)
"""
_ADD = _IF_TURN % "redis.call('RPUSH', KEYS[2], ARGV[2])"
_DROP = _IF_TURN % "redis.call('RPOP', KEYS[2])"
_REPLACE = _IF_TURN % (
  "redis.call('DEL', KEYS[2]) for i = 2, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end"
)
# KEYS about, events of a user.
_FORGET = """
local count = redis.call('LLEN', KEYS[2])
redis.call('DEL', KEYS[2])
if count > 0 then redis.call('HINCRBY', KEYS[1], 'events', -count) end
return count
"""


class _UnfitError(RedisError):
  """A server that cannot be this store."""


class RedisStore:
  """`store.Store` in a database of Redis."""

  shared = True

  def __init__(self, place: Place):
    """Connects.

    Raises:
      ValueError: if the server is not fit to be a store.
      StoreError: if it cannot be reached.
    """
    self._place = place
    self._id: str | None = None  # of the data that this server began with
    prefix = f"sidrec:{_FORMAT}:{place.name}"
    self._about, self._events = f"{prefix}:about", f"{prefix}:events:"
    self._withdrawn, self._changes = f"{prefix}:withdrawn", f"{prefix}:changes"
    self._redis: Any = redis.Redis(
      connection_pool=redis.ConnectionPool(
        connection_class=redis.SSLConnection if place.tls else redis.Connection,
        host=place.host,
        port=place.port,
        db=place.db,
        username=place.username,
        password=place.password,
        decode_responses=True,
        protocol=2,
        socket_timeout=_SECONDS,
        socket_connect_timeout=_SECONDS,
        retry=Retry(NoBackoff(), 0),
        redis_connect_func=self._connected,
      )
    )
    try:
      self._open()
    except _UnfitError as error:
      raise ValueError(str(error)) from None
    except (RedisError, OSError) as error:
      raise StoreError(f"{place} cannot be reached: {printable(error, 300)}") from None
    if not place.durable:
      print(
        f"sidrec: warning: {place} may lose events that were acknowledged, for durable=false "
        "lets it write them to its disk later, or never",
        file=sys.stderr,
        flush=True,
      )

  def _open(self) -> None:
    mark = f"sidrec:format:{self._place.name}"
    self._redis.set(mark, _FORMAT, nx=True)
    found = self._redis.get(mark)
    if found != _FORMAT:
      raise _UnfitError(
        f"{self._place} has format {found}, and this version of sidrec reads {_FORMAT}"
      )
    self._redis.hsetnx(self._about, "id", uuid.uuid4().hex)
    self._id = self._redis.hget(self._about, "id")

  def _connected(self, connection: Any) -> None:
    """Looks at the server behind a new connection: it may have been started anew, or another."""
    connection.on_connect()

    def ask(*command: str) -> Any:
      connection.send_command(*command)
      return connection.read_response()

    if self._place.durable:
      try:
        pairs = ask("CONFIG", "GET", "*append*") + ask("CONFIG", "GET", "maxmemory*")
      except redis.ResponseError as error:
        raise _UnfitError(
          f"{self._place} does not let its settings be read ({printable(error, 100)}), so that "
          "nobody knows whether it loses events; allow CONFIG GET, or add ?durable=false"
        ) from None
      reason = unfit(dict(zip(pairs[::2], pairs[1::2], strict=True)))
      if reason:
        raise _UnfitError(f"{self._place} {reason}, or add ?durable=false to live with that")
    if self._id is not None and ask("HGET", self._about, "id") != self._id:
      raise _UnfitError(
        f"{self._place} is not the store that this server began with: its data is gone or another's"
        "; bring the data back, or start the server again"
      )

  @contextlib.contextmanager
  def _asking(self) -> Generator[None]:
    try:
      yield
    except _UnfitError as error:
      raise StoreError(str(error)) from None
    except RedisError as error:
      raise StoreError(f"{self._place} does not answer: {printable(error, 300)}") from None

  def append(self, events: Sequence[Event]) -> None:
    """Adds events, all or none; they are on the disk of the server when this returns."""
    rows: dict[str, list[str]] = {}
    for event in events:
      if not isinstance(event.user, str) or not isinstance(event.item, str):
        raise TypeError(f"an event has a user and an item as text, and not {event}")
      values = event[1:] if event.action is not None else event[1:-1]
      rows.setdefault(event.user, []).append(json.dumps(values, allow_nan=False))
    with self._asking(), self._redis.pipeline() as call:
      for user, texts in rows.items():
        call.rpush(self._events + user, *texts)
      call.hincrby(self._about, "events", len(events))
      call.execute()

  def events_of(self, user: str, most: int) -> list[Event]:
    """The latest events of a user, oldest first, in the order in which they were appended."""
    return self.events_of_each([user], most)[user]

  def events_of_each(self, users: Sequence[str], most: int) -> dict[str, list[Event]]:
    """`events_of` for several users, in one round trip."""
    with self._asking(), self._redis.pipeline(transaction=False) as call:
      for user in users:
        call.lrange(self._events + user, -most, -1)
      found = call.execute()
    return {
      user: [Event(user, *json.loads(text)) for text in texts]
      for user, texts in zip(users, found, strict=True)
    }

  @property
  def num_events(self) -> int:
    """Events of all users."""
    with self._asking():
      return int(self._redis.hget(self._about, "events") or 0)

  def forget(self, users: Sequence[str]) -> int:
    """Deletes all events of some users, and has the server's files written anew without them."""
    with self._asking():
      deleted = sum(
        self._redis.eval(_FORGET, 2, self._about, self._events + user)
        for user in dict.fromkeys(users)
      )
      if self._redis.info("persistence").get("aof_enabled"):
        self._redis.bgrewriteaof()
        self._wait_until_written("aof_rewrite_in_progress", "aof_rewrite_scheduled")
      if self._redis.config_get("save").get("save"):
        self._redis.bgsave(schedule=True)
        self._wait_until_written("rdb_bgsave_in_progress")
      written = self._redis.info("persistence")
    for name in ("aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
      if written.get(name, "ok") != "ok":
        raise StoreError(
          f"{self._place} deleted the users' events, but could not write its files anew ({name}); "
          "its log says why"
        )
    return deleted

  def _wait_until_written(self, *under_way: str) -> None:
    until = time.monotonic() + _REWRITE_SECONDS
    while any(self._redis.info("persistence").get(name) for name in under_way):
      if time.monotonic() > until:
        raise StoreError(f"{self._place} still writes its files; forget the users again later")
      time.sleep(0.1)

  def withdraw(self, item: str) -> None:
    """Marks an item as out of stock; it stays so after a restart."""
    with self._asking(), self._redis.pipeline() as call:
      call.sadd(self._withdrawn, item).hincrby(self._about, "withdrawn", 1).execute()

  def bring_back(self, item: str) -> None:
    """Marks an item as in stock."""
    with self._asking(), self._redis.pipeline() as call:
      call.srem(self._withdrawn, item).hincrby(self._about, "withdrawn", 1).execute()

  @property
  def withdrawn(self) -> list[str]:
    """Items out of stock."""
    with self._asking():
      return sorted(self._redis.smembers(self._withdrawn))

  @property
  def turns(self) -> Turns:
    """How often anybody wrote withdrawn items, and changes."""
    with self._asking():
      found = self._redis.hmget(self._about, ["withdrawn", "changes"])
    return Turns(*(int(turn or 0) for turn in found))

  @property
  def changes(self) -> list[Changed]:
    """The changes that led from the run's catalogue to the newest one, in their order."""
    with self._asking():
      texts = self._redis.lrange(self._changes, 0, -1)
    return [Changed(*json.loads(text)) for text in texts]

  def add_change(self, changed: Changed, turn: int) -> int:
    """Adds a change; it is on the disk of the server when this returns."""
    return self._journal(_ADD, turn, json.dumps(changed))

  def drop_change(self, turn: int) -> int:
    """Takes the newest change back."""
    return self._journal(_DROP, turn)

  def replace_changes(self, changes: Sequence[Changed], turn: int) -> int:
    """Has these changes instead of all that there are."""
    return self._journal(_REPLACE, turn, *map(json.dumps, changes))

  def _journal(self, script: str, turn: int, *texts: str) -> int:
    with self._asking():
      after = self._redis.eval(script, 2, self._about, self._changes, turn, *texts)
    if after < 0:
      raise MovedError
    return after

  def close(self) -> None:
    """Closes the connections."""
    self._redis.close()
    self._redis.connection_pool.disconnect()
