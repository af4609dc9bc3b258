"""redis://host:port/db, and whether the server there keeps what it acknowledges."""

import dataclasses
import os
import re
import urllib.parse
from collections.abc import Mapping

SCHEMES = ("redis", "rediss")  # the second one with TLS
PASSWORD = "SIDREC_STORE_PASSWORD"  # variable of the environment: command lines can be read by all


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a store lies; as text, it holds no password."""

  host: str
  port: int = 6379
  db: int = 0
  name: str = ""  # stores with different names share nothing
  durable: bool = True  # whether a server that may lose what it acknowledged is refused
  tls: bool = False
  username: str | None = dataclasses.field(default=None, repr=False)
  password: str | None = dataclasses.field(default=None, repr=False)

  def __str__(self) -> str:
    """Its address."""
    host = f"[{self.host}]" if ":" in self.host else self.host
    name = f"?name={self.name}" if self.name else ""
    return f"{SCHEMES[self.tls]}://{host}:{self.port}/{self.db}{name}"


def is_redis(place: str) -> bool:
  """Whether --store names a server, and no file."""
  return place.split("://")[0] in SCHEMES and "://" in place


def parsed(url: str) -> Place:
  """Reads redis://[user:password@]host[:port][/db][?name=…&durable=false].

  Raises:
    ValueError: for anything else, in words that hold nothing of it.
  """
  form = "redis://[user:password@]host[:port][/db][?name=NAME][&durable=false]"
  try:
    parts = urllib.parse.urlsplit(url)
    pairs = urllib.parse.parse_qsl(parts.query, True, strict_parsing=True) if parts.query else []
    options = dict(pairs)
    port, db = parts.port or 6379, int(parts.path.strip("/") or 0)
  except ValueError:  # whose words may hold the password
    options, port, db, parts = {}, 6379, -1, urllib.parse.urlsplit("")
  name = options.pop("name", "")
  durable = options.pop("durable", "true").lower()
  if not parts.hostname or options or db < 0 or durable not in ("true", "false") or parts.fragment:
    raise ValueError(
      f"--store names no server; write {form}, with special letters of the password as %XX"
    )
  if not re.fullmatch(r"[\w.-]{0,100}", name, re.ASCII):
    raise ValueError("the name of a store has letters, digits, '.', '_' and '-' alone")
  unquote = urllib.parse.unquote
  return Place(
    parts.hostname,
    port,
    db,
    name,
    durable == "true",
    parts.scheme == "rediss",
    unquote(parts.username) if parts.username else None,
    unquote(parts.password) if parts.password else os.environ.get(PASSWORD) or None,
  )


def unfit(settings: Mapping[str, str]) -> str:
  """Why a server with these settings may lose what it acknowledged, and what to do; '' if not."""
  wanted = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
  for name, value in wanted.items():
    if (found := settings.get(name)) != value:
      loses = "may lose events that were acknowledged"
      return f"has {name} {found}, and {loses}; set {name} to {value} there"
  policy = settings.get("maxmemory-policy", "noeviction")
  if settings.get("maxmemory", "0") != "0" and policy.startswith("allkeys-"):
    return (
      f"has maxmemory-policy {policy}, and deletes events when its memory is full; set "
      "maxmemory-policy to noeviction there"
    )
  return ""
