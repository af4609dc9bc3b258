"""POST /v1/explain: one request, searched in a thread of its own, so that others need not wait."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sidrec.run.answers import Wanted
from sidrec.run.ask import NOBODY
from sidrec.run.explanations import Explainer
from sidrec.run.reading import Reading
from sidrec.search.questions import Question
from sidrec.serving.answers import as_plain
from sidrec.serving.bodies import Asked, RequestError, request_of
from sidrec.serving.catalogue import Now
from sidrec.serving.snapshot import Snapshot

if TYPE_CHECKING:
  from sidrec.serving.service import Service

EXPLAINED = 10  # results of which it is said what history items add to them


class Explaining:
  """Explains searches of a service, one after the other; a few may wait."""

  def __init__(self, service: "Service"):
    """Takes the service, whose catalogue is read anew for each request."""
    self._service = service
    self._explainer: tuple[Snapshot, Explainer] | None = None
    self._pool = ThreadPoolExecutor(1, "sidrec explain")
    self._waiting, self._count = 0, threading.Lock()

  def explainer(self, snapshot: Snapshot) -> Explainer:
    """That of a version of the catalogue; the newest one is kept."""
    kept = self._explainer
    if kept is None or kept[0] is not snapshot:
      kept = (snapshot, Explainer(snapshot.asker, snapshot.state.among_N))
      self._explainer = kept
    return kept[1]

  def start(self) -> None:
    """Compiles both functions; nothing is compiled after that, until the room is used up."""
    now = self._service.catalogue.now
    self._explain(now, now.snapshot.asker.of_nobody(NOBODY), Wanted(k=1))

  def stop(self) -> None:
    """Ends the thread."""
    self._pool.shutdown(cancel_futures=True)

  async def read(self, now: Now, body: dict[str, Any]) -> tuple[Asked, Reading, Question]:
    """What the request in a body asks for, of a version of the catalogue.

    Raises:
      RequestError: for a request that is not understood, or that comes too early.
    """
    service = self._service
    asked = request_of(body, service.limits)
    if not service.ready:
      raise RequestError(503, "the server is not ready", {"Retry-After": "1"})
    since = await service.since([asked])
    try:
      reading = service.reading(now.snapshot.asker, asked, "request", since)
      explainer = self.explainer(now.snapshot)
      question, _ = explainer.question(reading, asked.wanted, now.withdrawn)
    except (TypeError, ValueError) as error:
      raise RequestError(422, f"request: {error}") from None
    return asked, reading, question

  async def explain(self, body: dict[str, Any]) -> dict[str, Any]:
    """The explanation of the request in a body, as JSON.

    Raises:
      RequestError: for a request that is not understood, or comes when there is too much to do.
    """
    service, limits = self._service, self._service.limits
    now = service.catalogue.now  # one version for the whole request
    asked, reading, _ = await self.read(now, body)
    if self._waiting >= limits.explaining:
      raise RequestError(
        503, f"{self._waiting} explanations are asked for already", {"Retry-After": "1"}
      )
    self._wait(1)
    future = self._pool.submit(self._explain, now, reading, asked.wanted)
    future.add_done_callback(lambda _: self._wait(-1))
    try:
      found = await asyncio.wait_for(asyncio.wrap_future(future), limits.answer_seconds)
    except TimeoutError:
      raise RequestError(504, f"no answer within {limits.answer_seconds:g} seconds") from None
    service.metrics.count("explanations")
    return found

  def _wait(self, more: int) -> None:
    with self._count:
      self._waiting += more

  def _explain(self, now: Now, reading: Reading, wanted: Wanted) -> dict[str, Any]:
    search = now.snapshot.search
    found = self.explainer(now.snapshot).explain(
      search.model,
      search.params,
      search.trie,
      reading,
      wanted,
      now.withdrawn,
      new=search.new,
      explained=EXPLAINED,
    )
    return {"catalogue": now.snapshot.version, **as_plain(found)}
