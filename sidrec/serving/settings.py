"""The limits of a server."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
  """What a client may ask of the server."""

  body_bytes: int = 1 << 20
  read_seconds: float = 5.0  # for the head of a request, and as long again for its body
  answer_seconds: float = 2.0  # from when a request is read to its answer
  store_seconds: float = 3.0  # for a shared store
  waiting: int = 256  # requests in the queue
  explaining: int = 8  # explanations that wait, the one under way among them
  connections: int = 512
  requests: int = 64  # in one call
  history: int = 1000  # items of a request's history
  events: int = 1000  # in one call
  listed: int = 16384  # forbidden or allowed items of a request
  text: int = 512  # characters of an id or a title
  changed: int = 10000  # items that a change of the catalogue adds, or removes
  categories: int = 100  # of a new item, or that a request names
  described: int = 20000  # characters of a new item's title or text
  shown: int = 50  # items that a search by title returns
  drain_seconds: float = 10.0  # for what was accepted before SIGTERM
