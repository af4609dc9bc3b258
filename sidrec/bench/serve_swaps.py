"""A catalogue that changes while a server is asked, and whether what is gone stays out of answers.

Every two seconds one change of the catalogue adds a hundredth of new items, made of descriptions of
the run's own, and removes as many that were recommended; as many others are withdrawn, up to fifty.
Two changes later all of these are back, and the new items are removed again.

A client asks meanwhile, above all right after each acknowledgement, and notes when each answer
began and ended. An answer is wrong if it holds an item that was gone, as the server had
acknowledged, before the request was sent, and whose return nobody had asked for before the answer
came.
"""

import collections
import dataclasses
import http.client
import itertools
import json
import math
import threading
import time
import urllib.parse
from collections.abc import Sequence
from typing import Any, NamedTuple

from sidrec.data.dataset import Items
from sidrec.serving.service import usual_room

EVERY = 2.0  # seconds between two changes
SHARE = 0.01  # of the items, that a change adds, and removes
MOST_WITHDRAWN = 50  # at a time: each is a request of its own
BURST = 8  # answers right after each acknowledgement
PAUSE = 0.05  # seconds between two answers at other times


class Client:
  """One connection to a server."""

  def __init__(self, url: str):
    """Connects."""
    self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)

  def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Sends a request: its status, and what was answered."""
    text = None if body is None else json.dumps(body)
    headers = {} if body is None else {"Content-Type": "application/json"}
    self._connection.request(method, path, text, headers)
    answer = self._connection.getresponse()
    return answer.status, json.loads(answer.read())


class Answered(NamedTuple):
  """An answer: when it was asked for and when it came, by time.monotonic(), and what it held."""

  began: float
  ended: float
  items: tuple[str, ...]


@dataclasses.dataclass
class Absence:
  """An item that nobody may get."""

  item: str
  since: float  # when the server had acknowledged it
  until: float = math.inf  # when its return was asked for

  def contradicts(self, answer: Answered) -> bool:
    """Whether the answer holds the item while it was gone from beginning to end."""
    gone = self.since <= answer.began and answer.ended <= self.until
    return gone and self.item in answer.items


def room_for(num_items: int, seconds: float) -> int:
  """New items that a server needs room for: those of all changes, though older ones are removed."""
  changes = math.ceil(seconds / EVERY) + 1
  return max(usual_room(num_items), math.ceil(SHARE * num_items) * changes)


def new_items(items: Items, count: int, first: int) -> list[dict[str, Any]]:
  """Descriptions of items that the run lacks: those of its own, under other ids and titles.

  Args:
    items: of the run.
    count: how many.
    first: number of the first one; each number makes another id.
  """
  found = []
  for number in range(first, first + count):
    row = number % items.num_items
    is_text = items.ids_N.dtype.kind not in "iu"
    numbers = {name: float(column[row]) for name, column in items.numeric.items()}
    described = {
      "title": f"{items.titles_N[row]} ({number + 2})".strip(),
      "text": str(items.text_N[row]),
      "categories": [name for name in items.categories_of(row) if name],
      **{name: value for name, value in numbers.items() if math.isfinite(value)},
    }
    new_id: Any = f"new-{number}" if is_text else int(items.ids_N.max()) + 1 + number
    known = {name: value for name, value in described.items() if value != ""}
    found.append({"id": new_id, **known})
  return found


class Swapping:
  """Changes the catalogue of a server and checks its answers, until the context is left."""

  def __init__(self, url: str, items: Items, requests: Sequence[dict[str, Any]]):
    """Takes the server, the items of its run, and what to ask."""
    self._url, self._items = url, items
    self._requests = itertools.cycle(requests)
    self._stop, self._changed = threading.Event(), threading.Event()
    self.answers: list[Answered] = []
    self.absences: list[Absence] = []
    self.errors: list[str] = []
    self.seconds: list[float] = []  # of each change
    self.compiled = 0  # programs that changes needed
    work = self._swap, self._check
    self._threads = [threading.Thread(target=self._guarded, args=[each]) for each in work]

  def __enter__(self) -> "Swapping":
    """Asks for some answers, to know what is recommended, and begins."""
    client = Client(self._url)
    for _ in range(100):
      self._ask(client)
    for thread in self._threads:
      thread.start()
    return self

  def __exit__(self, *error: Any) -> None:
    """Ends."""
    self._stop.set()
    self._changed.set()
    for thread in self._threads:
      thread.join()

  @property
  def wrong(self) -> int:
    """Answers that held an item which was gone."""
    return sum(any(gone.contradicts(answer) for gone in self.absences) for answer in self.answers)

  @property
  def at_risk(self) -> int:
    """Answers that held an item which was to go later, or was back."""
    gone = {absence.item for absence in self.absences}
    return sum(not gone.isdisjoint(answer.items) for answer in self.answers)

  def _guarded(self, work: Any) -> None:
    try:
      work()
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
      self.errors.append(f"{type(error).__name__}: {error}")

  def _ask(self, client: Client) -> None:
    request, began = next(self._requests), time.monotonic()
    status, answer = client.ask("POST", "/v1/recommend", {"requests": [request]})
    ended = time.monotonic()
    if status != 200:
      self.errors.append(f"{status}: {answer}")
      return
    held = tuple(str(item["id"]) for item in answer["results"][0]["items"])
    self.answers.append(Answered(began, ended, held))

  def _check(self) -> None:
    client = Client(self._url)
    while not self._stop.is_set():
      burst = self._changed.wait(PAUSE)
      self._changed.clear()
      for _ in range(BURST if burst else 1):
        self._ask(client)

  def _swap(self) -> None:
    client, count = Client(self._url), max(1, round(SHARE * self._items.num_items))
    ours: collections.deque[list[Absence]] = collections.deque()
    added: collections.deque[list[str]] = collections.deque()
    for number in itertools.count():
      if self._stop.wait(EVERY):
        return
      back = ours.popleft() if len(ours) == 2 else []
      old = added.popleft() if len(added) == 2 else []
      gone = self._to_go(count, {x.item for x in (*itertools.chain(*ours), *back)})
      removed, withdrawn = gone[:count], gone[count:]
      for absence in back[count:]:
        absence.until = time.monotonic()
        self._done(client.ask("PUT", f"/v1/items/{urllib.parse.quote(absence.item, safe='')}"))
      new = new_items(self._items, count, number * count)
      added.append([str(item["id"]) for item in new])
      ours.append(self._change(client, new, back[:count], removed, old))
      for item in withdrawn:
        self._done(client.ask("DELETE", f"/v1/items/{urllib.parse.quote(item, safe='')}"))
        ours[-1].append(self._absent(item))
      self._changed.set()

  def _change(
    self,
    client: Client,
    new: list[dict[str, Any]],
    back: list[Absence],
    removed: list[str],
    old: list[str],
  ) -> list[Absence]:
    """One change of the catalogue; what it took away."""
    status, now = client.ask("GET", "/v1/catalogue")
    base = self._done((status, now))["version"]
    began = time.monotonic()
    for absence in back:
      absence.until = began
    add = [*new, *({"id": absence.item} for absence in back)]
    body = {"base": base, "add": add, "remove": [*removed, *old]}
    self.compiled += self._done(client.ask("POST", "/v1/catalogue", body))["compiled"]
    self.seconds.append(time.monotonic() - began)
    absences = [self._absent(item) for item in removed]
    for item in old:
      self._absent(item)
    self._changed.set()
    return absences

  def _absent(self, item: str) -> Absence:
    absence = Absence(item, time.monotonic())
    self.absences.append(absence)
    return absence

  def _to_go(self, count: int, away: set[str]) -> list[str]:
    """Items to remove and to withdraw: those of the run that are recommended most come first."""
    known = [str(name) for name in self._items.ids_N.tolist()]
    times = collections.Counter(item for answer in self.answers for item in answer.items)
    free = sorted((name for name in known if name not in away), key=lambda name: -times[name])
    most = min(count, MOST_WITHDRAWN)
    # By turns, so that some of the most frequent ones are withdrawn, too.
    both = free[: count + most]
    withdrawn = both[1::2][:most]
    return [*(item for item in both if item not in set(withdrawn)), *withdrawn]

  def _done(self, answer: tuple[int, Any]) -> Any:
    """What was answered; an error unless all is well."""
    status, content = answer
    if status != 200:
      raise ValueError(f"{status}: {content}")
    return content
