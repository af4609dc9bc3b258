"""What a server does, without HTTP: recommend, note events, find items, change the catalogue."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sidrec.api import TrainedRun
from sidrec.data.inputs import known_inputs
from sidrec.data.user_attributes import Attribute
from sidrec.run.ask import Asker
from sidrec.run.reading import Reading, followed_by
from sidrec.run.settings import ServingConfig
from sidrec.search.buckets import BucketSearch, NotCompiledError
from sidrec.search.questions import Question
from sidrec.serving.answers import as_json, described
from sidrec.serving.bodies import (
  Asked,
  RequestError,
  change_of,
  events_of,
  requests_of,
  rollback_of,
)
from sidrec.serving.catalogue import Catalogue, Now
from sidrec.serving.compilations import Compilations
from sidrec.serving.engine import Engine, QueueFullError, StoppedError
from sidrec.serving.explain import Explaining
from sidrec.serving.follow import Follower
from sidrec.serving.metrics import Gauges, Metrics
from sidrec.serving.placement import NewIDs
from sidrec.serving.settings import Limits
from sidrec.serving.store import Event, Store, StoreError

_RETRY = {"Retry-After": "1"}
_STORE_THREADS = 16  # that may wait for a shared store
T = TypeVar("T")


class Service:
  """A run, what happened since it was trained, and an engine that searches."""

  def __init__(
    self,
    run: TrainedRun,
    store: Store,
    limits: Limits | None = None,
    new_ids: NewIDs | None = None,
    room: int | None = None,
    serving: ServingConfig | None = None,
  ):
    """Takes the run and its store.

    Args:
      run: what is served.
      store: what happened since.
      limits: what clients may ask.
      new_ids: what gives new items IDs; without, none can be added.
      room: for how many new items nothing has to be compiled; `usual_room` by default.
      serving: how new items are ranked; what the run's settings say by default.

    Raises:
      ValueError: if the store's changes of the catalogue do not fit the run.
    """
    self.limits = limits or Limits()
    self.store, self.dataset = store, run.dataset  # what the run was trained on
    room = usual_room(run.dataset.items.num_items) if room is None else room
    self.catalogue = Catalogue(run, store, new_ids, room, serving)
    self.compilations = Compilations()
    self.metrics = Metrics(
      {
        "queue": ("Requests that wait for the device.", lambda: self.engine.waiting),
        "compilations": ("Programs that XLA compiled or loaded.", lambda: self.compilations.count),
        "ready": ("1 while requests are welcome.", lambda: float(self.ready and not self.draining)),
        "withdrawn_items": ("Items out of stock.", lambda: len(self.catalogue.now.withdrawn)),
        "items": ("Items of the catalogue.", lambda: self.catalogue.now.snapshot.num_items),
        "room": ("New items before a compilation.", lambda: self.catalogue.room),
      },
      lambda: self.catalogue.now.snapshot.version,
    )
    self.engine = Engine(self.limits.waiting, self.metrics.batch)
    self.explaining = Explaining(self)
    self._threads = ThreadPoolExecutor(_STORE_THREADS, "sidrec store")
    self._follower = Follower(self.catalogue) if store.shared else None
    if self._follower is not None:
      self.metrics.add_gauges(store_gauges(self._follower, self.catalogue))
    self.before_ready: list[Callable[[], None]] = [self.explaining.start]  # in this order
    self.ready = False  # everything is compiled
    self.draining = False  # the process will end: answers ask clients to connect elsewhere

  @property
  def asker(self) -> Asker:
    """Ids and titles of the catalogue that answers now."""
    return self.catalogue.now.snapshot.asker

  @property
  def attributes(self) -> tuple[Attribute, ...]:
    """What the model reads of users, with what its training met."""
    inputs = self.asker.model.config.inputs
    return known_inputs(inputs).known if inputs.user_attributes else ()

  def start(self) -> None:
    """Compiles everything, and is ready; takes a while."""
    self.catalogue.start()
    self.engine.start()
    for prepare in self.before_ready:
      prepare()
    if self._follower is not None:
      self.catalogue.follow()  # what was written while all was compiled
      self._follower.start()
    self.ready = True

  def stop(self) -> None:
    """Answers what waits, and closes the store."""
    self.ready = False
    self.engine.stop()
    self.explaining.stop()
    if self._follower is not None:
      self._follower.stop()
    self._threads.shutdown()
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
    since = await self.since(asked)
    snapshot, withdrawn = self.catalogue.now  # one version for all requests of a call
    asker = snapshot.asker
    readings, questions, unknown = [], [], []
    for at, one in enumerate(asked):
      try:
        reading = self.reading(asker, one, f"requests[{at}]", since)
        question, more = asker.question(reading, one.wanted, withdrawn)
      except (TypeError, ValueError) as error:
        raise RequestError(422, f"requests[{at}]: {error}") from None
      readings.append(reading)
      questions.append(question)
      unknown.append(more)
    found = await self._found(snapshot.search, questions)
    answers = [
      asker.answer(reading, result, one.wanted.k, more, question.request_time)
      for one, reading, question, result, more in zip(
        asked, readings, questions, found, unknown, strict=True
      )
    ]
    self.metrics.count("answers", len(answers))
    self.metrics.count("unknown_items", sum(len(answer.unknown) for answer in answers))
    results = [as_json(answer) for answer in answers]
    return {"catalogue": snapshot.version, "results": results}

  async def since(self, asked: Sequence[Asked]) -> dict[str, list[Event]]:
    """What happened since the run was trained to the users that requests name.

    Raises:
      StoreError: if the store cannot be reached.
    """
    names = list(dict.fromkeys(str(one.value) for one in asked if one.whom == "user"))
    if not names:
      return {}
    if not self.store.shared:  # at once, without a thread
      return self.store.events_of_each(names, self.limits.history)
    return await self._stored(self.store.events_of_each, names, self.limits.history)

  async def _stored(self, call: Callable[..., T], *args: Any) -> T:
    """Calls the store in a thread; raises StoreError if it is not done in time."""
    waiting = asyncio.get_running_loop().run_in_executor(self._threads, call, *args)
    if not self.store.shared:
      return await waiting
    try:
      return await asyncio.wait_for(waiting, self.limits.store_seconds)
    except TimeoutError:
      raise StoreError(f"no answer within {self.limits.store_seconds:g} seconds") from None

  def reading(
    self, asker: Asker, asked: Asked, where: str, since_by_user: dict[str, list[Event]]
  ) -> Reading:
    """The history that a request names, with what happened since the run was trained.

    Raises:
      RequestError: for a user who is not known.
      TypeError, ValueError: as `Asker.reading` does.
    """
    if asked.whom != "user":
      return asker.reading(asked.whom, asked.value, asked.wanted)
    name = str(asked.value)
    since = since_by_user[name]
    if name in asker.user_of:
      before = asker.of_user(name, asked.wanted.attributes)
    elif since:
      before = asker.of_nobody(asked.value, asked.wanted.attributes)
    else:
      raise RequestError(
        404, f"{where}.user is not known; ask by items or titles, [] for nobody's history"
      )
    if not since:
      return before
    inputs = asker.model.config.inputs
    later = asker.of_items(
      [event.item for event in since],
      times=[event.time for event in since] if inputs.times else None,
      ratings=[event.rating for event in since] if inputs.rating else None,
      actions=[asker.known_action(event.action) for event in since] if inputs.actions else None,
    )
    return followed_by(before, later)

  async def _found(self, search: BucketSearch, questions: Sequence[Question]) -> list[Any]:
    seconds = self.limits.answer_seconds
    try:
      futures = self.engine.submit(search, questions, seconds)
    except NotCompiledError as error:
      raise RequestError(422, str(error)) from None
    except (QueueFullError, StoppedError) as error:
      raise RequestError(503, str(error), _RETRY) from None
    try:
      async with asyncio.timeout(seconds):
        return await asyncio.gather(*map(asyncio.wrap_future, futures))
    except TimeoutError:
      raise RequestError(504, f"no answer within {seconds:g} seconds") from None
    finally:  # what is not begun is not searched: the others are late, or the caller is gone
      for future in futures:
        future.cancel()

  # POST /v1/events

  async def append(self, body: dict[str, Any]) -> dict[str, Any]:
    """Notes events; they are on the disk, and in the next answer, when this returns."""
    events = events_of(body, self.limits)
    await self._stored(self.store.append, events)
    self.metrics.count("events", len(events))
    _, unknown = self.asker.rows_of("events", [event.item for event in events])
    noted = {"appended": len(events), "unknown": list(dict.fromkeys(unknown))}
    if not self.asker.model.config.inputs.actions:
      return noted
    actions = dict.fromkeys(event.action for event in events)
    strange = [name for name in actions if name and self.asker.known_action(name) is None]
    return {**noted, "unknown_actions": strange}

  # /v1/items

  def items(self, query: str, limit: int) -> dict[str, Any]:
    """Items whose title holds a text, or whose id it is."""
    now = self.catalogue.now
    asker, among_N = now.snapshot.asker, now.snapshot.state.among_N
    row, removed = now.snapshot.row(query), int((~among_N).sum())
    rows = [at for at in asker.titles.holding(query, limit + removed) if among_N[at]]
    found = list(dict.fromkeys([*([] if row is None else [row]), *rows]))[:limit]
    return {"items": [described(now, row) for row in found]}

  def item(self, name: str) -> dict[str, Any]:
    """One item by its id."""
    now = self.catalogue.now
    return described(now, row_of(now, name))

  async def withdraw(self, name: str) -> dict[str, Any]:
    """Takes an item out of all answers from the next request on."""
    row_of(self.catalogue.now, name)
    await self._stored(self.catalogue.withdraw, name)
    return self.item(name)

  async def bring_back(self, name: str) -> dict[str, Any]:
    """Puts a withdrawn item back into answers."""
    row_of(self.catalogue.now, name)
    await self._stored(self.catalogue.bring_back, name)
    return self.item(name)

  # /v1/catalogue

  async def change(self, body: dict[str, Any]) -> dict[str, Any]:
    """Adds and removes items; answers that begin later are of the new version.

    Raises:
      RequestError: as `Catalogue.change` does, and 503 before the server is ready.
    """
    return await self._changed(self.catalogue.change, change_of(body, self.limits))

  async def roll_back(self, body: dict[str, Any]) -> dict[str, Any]:
    """Goes back to the version before."""
    return await self._changed(self.catalogue.roll_back, rollback_of(body, self.limits))

  async def _changed(self, change: Callable[[Any], dict[str, Any]], wanted: Any) -> dict[str, Any]:
    if not self.ready:
      raise RequestError(503, "the server is not ready", _RETRY)
    made = await asyncio.to_thread(change, wanted)
    self.metrics.count("catalogue_changes")
    return made


def store_gauges(follower: Follower, catalogue: Catalogue) -> Gauges:
  """What /metrics says about a shared store."""
  return {
    "store_reached": ("1 while the shared store answers.", lambda: float(follower.reached)),
    "behind": (
      "1 if other servers made changes that this one cannot make.",
      lambda: float(catalogue.behind),
    ),
  }


def usual_room(num_items: int) -> int:
  """New items that a catalogue of this size has room for: a twentieth, but at least 256."""
  return max(256, num_items // 20)


def row_of(now: Now, name: str) -> int:
  """The row of an item's id; raises RequestError 404 where the catalogue has no such item."""
  row = now.snapshot.row(name)
  if row is None:
    raise RequestError(404, "no item has this id")
  return row
