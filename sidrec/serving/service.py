"""What a server does, without HTTP: recommend, note events, find items, withdraw them."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from sidrec.api import TrainedRun
from sidrec.run.answers import Answer
from sidrec.run.ask import Asker, Reading
from sidrec.search.buckets import NotCompiledError, Question
from sidrec.serving.bodies import Asked, RequestError, events_of, requests_of
from sidrec.serving.compilations import Compilations
from sidrec.serving.engine import Engine, QueueFullError, StoppedError
from sidrec.serving.explain import Explaining
from sidrec.serving.metrics import Metrics
from sidrec.serving.settings import Limits
from sidrec.serving.store import Store

_RETRY = {"Retry-After": "1"}


class Service:
  """A run, what happened since it was trained, and an engine that searches."""

  def __init__(self, run: TrainedRun, store: Store, limits: Limits | None = None):
    """Takes the run and its store."""
    self.limits = limits or Limits()
    self.asker: Asker = run.asker
    self.store = store
    self.compilations = Compilations()
    self.metrics = Metrics(
      {
        "queue": ("Requests that wait for the device.", lambda: self.engine.waiting),
        "compilations": ("Programs that XLA compiled or loaded.", lambda: self.compilations.count),
        "ready": ("1 while requests are welcome.", lambda: float(self.ready and not self.draining)),
        "withdrawn_items": ("Items out of stock.", lambda: len(self._withdrawn)),
        "items": ("Items of the catalogue.", lambda: len(self.asker.row_of)),
      }
    )
    self.engine = Engine(run.bucket_search, self.limits.waiting, self.metrics.batch)
    self._withdrawn = self._rows_of_withdrawn()
    self._change = threading.Lock()
    self.explaining = Explaining(self)
    self.before_ready: list[Callable[[], None]] = [self.explaining.start]  # in this order
    self.ready = False  # everything is compiled
    self.draining = False  # the process will end: answers ask clients to connect elsewhere

  def start(self) -> None:
    """Compiles everything, and is ready; takes a while."""
    _ = self.asker.titles, self.asker.user_of
    self.engine.start()
    for prepare in self.before_ready:
      prepare()
    self.ready = True

  def stop(self) -> None:
    """Answers what waits, and closes the store."""
    self.ready = False
    self.engine.stop()
    self.explaining.stop()
    self.store.close()

  # POST /v1/recommend

  async def recommend(self, body: dict[str, Any]) -> dict[str, Any]:
    """Answers to the requests of a body, in their order.

    Raises:
      RequestError: for a request that is not understood, or comes when there is too much to do.
    """
    asked = requests_of(body, self.limits)
    if not self.ready:
      raise RequestError(503, "the server is not ready", _RETRY)
    readings = [self.reading(one, f"requests[{at}]") for at, one in enumerate(asked)]
    withdrawn = self._withdrawn  # one set for all requests of a call
    questions, unknown = [], []
    for at, (one, reading) in enumerate(zip(asked, readings, strict=True)):
      try:
        question, more = self.asker.question(reading, one.wanted, withdrawn)
      except (TypeError, ValueError) as error:
        raise RequestError(422, f"requests[{at}]: {error}") from None
      questions.append(question)
      unknown.append(more)
    found = await self._found(questions)
    answers = [
      self.asker.answer(reading, result, one.wanted.k, more)
      for one, reading, result, more in zip(asked, readings, found, unknown, strict=True)
    ]
    self.metrics.count("answers", len(answers))
    self.metrics.count("unknown_items", sum(len(answer.unknown) for answer in answers))
    return {"results": [as_json(answer) for answer in answers]}

  def reading(self, asked: Asked, where: str) -> Reading:
    """The history that a request names, with what happened since the run was trained."""
    if asked.whom == "items":
      return self.asker.of_items(asked.value)
    if asked.whom == "titles":
      return self.asker.of_titles(asked.value)
    name = str(asked.value)
    since = self.store.items_of(name, self.limits.history)
    if name not in self.asker.user_of:
      if not since:
        raise RequestError(
          404, f"{where}.user is not known; ask by items or titles, [] for nobody's history"
        )
      return self.asker.of_items(since, asked.value)
    before, later = self.asker.of_user(name), self.asker.of_items(since)
    return before._replace(rows=before.rows + later.rows, unknown=later.unknown)

  async def _found(self, questions: Sequence[Question]) -> list[Any]:
    seconds = self.limits.answer_seconds
    try:
      futures = self.engine.submit(questions, seconds)
    except NotCompiledError as error:
      raise RequestError(422, str(error)) from None
    except (QueueFullError, StoppedError) as error:
      raise RequestError(503, str(error), _RETRY) from None
    waiting = asyncio.gather(*map(asyncio.wrap_future, futures))
    try:
      return await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
      raise RequestError(504, f"no answer within {seconds:g} seconds") from None
    finally:  # what is not begun is not searched: the others are late, or the caller is gone
      for future in futures:
        future.cancel()

  # POST /v1/events

  async def append(self, body: dict[str, Any]) -> dict[str, Any]:
    """Notes events; they are on the disk, and in the next answer, when this returns."""
    events = events_of(body, self.limits)
    await asyncio.to_thread(self.store.append, events)
    self.metrics.count("events", len(events))
    _, unknown = self.asker.rows_of("events", [event.item for event in events])
    return {"appended": len(events), "unknown": list(dict.fromkeys(unknown))}

  # /v1/items

  def items(self, query: str, limit: int) -> dict[str, Any]:
    """Items whose title holds a text, or whose id it is."""
    row = self.asker.row_of.get(query)
    rows = self.asker.titles.holding(query, limit)
    found = list(dict.fromkeys([*([] if row is None else [row]), *rows]))[:limit]
    return {"items": [self.described(row) for row in found]}

  def item(self, name: str) -> dict[str, Any]:
    """One item by its id."""
    return self.described(self.row(name))

  async def withdraw(self, name: str) -> dict[str, Any]:
    """Takes an item out of all answers from the next request on."""
    row = self.row(name)
    most = self.engine.search.most_listed() // 2
    if row not in self._withdrawn and len(self._withdrawn) >= most:
      raise RequestError(409, f"{most} items are withdrawn already, and no more can be filtered")
    return await asyncio.to_thread(self._withdraw, row, self.store.withdraw)

  async def bring_back(self, name: str) -> dict[str, Any]:
    """Puts a withdrawn item back into answers."""
    return await asyncio.to_thread(self._withdraw, self.row(name), self.store.bring_back)

  def _withdraw(self, row: int, change: Any) -> dict[str, Any]:
    with self._change:
      change(str(self.asker.described(row)[0]))
      self._withdrawn = self._rows_of_withdrawn()
    return self.described(row)

  @property
  def withdrawn(self) -> frozenset[int]:
    """Rows of the items that nobody gets now."""
    return self._withdrawn

  def _rows_of_withdrawn(self) -> frozenset[int]:
    return frozenset(self.asker.rows_of("withdrawn", self.store.withdrawn)[0])

  def row(self, name: str) -> int:
    """The row of an item's id; raises RequestError 404 where no item has it."""
    row = self.asker.row_of.get(name)
    if row is None:
      raise RequestError(404, "no item has this id")
    return row

  def described(self, row: int) -> dict[str, Any]:
    """An item as HTTP gives it."""
    original, title = self.asker.described(row)
    semantic_id = list(self.asker.ids.get_semantic_id(row))
    in_stock = row not in self._withdrawn
    return {"id": original, "title": title, "semantic_id": semantic_id, "in_stock": in_stock}


def as_json(answer: Answer) -> dict[str, Any]:
  """An answer as HTTP gives it."""
  items = [{**item._asdict(), "semantic_id": list(item.semantic_id)} for item in answer.items]
  return {
    "items": items,
    "user": answer.user,
    "unknown": list(answer.unknown),
    "ambiguous": {title: list(ids) for title, ids in answer.ambiguous.items()},
    "taken_for": dict(answer.taken_for),
    "read": answer.read,
  }
