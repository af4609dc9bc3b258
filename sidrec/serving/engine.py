"""Threads that search for whatever is queued, through shapes that are compiled ahead.

They never wait for a batch to fill: when the device is free, one takes what is there, up to the
largest batch that this fills. On a CPU larger batches gain little, and waiting only adds to every
answer.

While a batch is searched, another one starts only if it is a full one. Then the queue is longer
than a batch, and no core waits while the other batch is read, written or searched on one core
alone. A smaller one waits, because more will come and share its batch.
"""

import collections
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from sidrec.search.buckets import BucketSearch, Found
from sidrec.search.questions import Question

AT_ONCE = 2  # batches that are searched side by side


class QueueFullError(Exception):
  """More requests wait than may."""


class StoppedError(Exception):
  """The engine takes no more requests."""


class _Job(NamedTuple):
  search: BucketSearch  # of the version of the catalogue that the question was read with
  question: Question
  until: float  # time.monotonic() after which nobody waits for it
  future: Future


def compile_all(search: BucketSearch) -> int:
  """Compiles all shapes that are not compiled yet, and no others later: how many it were."""
  before = len(search.shapes)
  for shape in search.shapes_ahead():
    search.compile(shape)
  search.only_compiled = True
  return len(search.shapes) - before


class Engine:
  """Answers questions from many threads, each by a future.

  A question comes with its search. Those of one batch share it, so that a batch never mixes
  versions of a catalogue.
  """

  def __init__(
    self,
    most_waiting: int = 256,
    observe_batch: Callable[[int], None] = lambda size: None,
    at_once: int = AT_ONCE,
  ):
    """Takes how many requests may wait, who hears of each batch's size, and batches at once."""
    self._most_waiting, self._observe_batch = most_waiting, observe_batch
    self._jobs: collections.deque[_Job] = collections.deque()
    self._change = threading.Condition()
    self._accepts, self._searching = True, 0
    self._threads = [
      threading.Thread(target=self._work, name="sidrec engine", daemon=True) for _ in range(at_once)
    ]

  def start(self) -> None:
    """Starts to answer."""
    for thread in self._threads:
      thread.start()

  def stop(self) -> None:
    """Takes no more requests, answers those that wait, and ends."""
    with self._change:
      self._accepts = False
      self._change.notify_all()
    for thread in self._threads:
      if thread.is_alive():
        thread.join()

  @property
  def waiting(self) -> int:
    """Requests in the queue."""
    return len(self._jobs)

  def submit(
    self, search: BucketSearch, questions: Sequence[Question], seconds: float
  ) -> list[Future]:
    """Queues requests: all of them, or none.

    Args:
      search: what answers them.
      questions: the requests.
      seconds: after which nobody waits for the answers; what was not begun by then is dropped.

    Returns:
      A future of `Found` for each, or of TimeoutError. One that is cancelled costs no search.

    Raises:
      QueueFullError: if more than `most_waiting` would wait.
      StoppedError: after `stop`.
      NotCompiledError: for a request that no compiled shape holds.
    """
    until = time.monotonic() + seconds
    for question in questions:
      search.shape_for([question])
    jobs = [_Job(search, question, until, Future()) for question in questions]
    with self._change:
      if not self._accepts:
        raise StoppedError("the server is shutting down; ask another one")
      if len(self._jobs) + len(jobs) > self._most_waiting:
        raise QueueFullError(f"{len(self._jobs)} requests wait already; ask again in a second")
      self._jobs.extend(jobs)
      self._change.notify()
    return [job.future for job in jobs]

  def _work(self) -> None:
    while batch := self._next():
      try:
        self._answer(batch)
      finally:
        with self._change:
          self._searching -= 1
          self._change.notify()

  def _next(self) -> list[_Job]:
    """What waits and fits one batch with the one that waits longest; nothing at the end."""
    with self._change:
      while self._jobs or self._accepts:
        if batch := self._ready():
          taken = {id(job) for job in batch}
          self._jobs = collections.deque(job for job in self._jobs if id(job) not in taken)
          self._searching += 1
          return batch
        self._change.wait()
      return []

  def _ready(self) -> list[_Job]:
    """The first of what waits that fit one batch; nothing if it is too small to start now."""
    if not self._jobs:
      return []
    search, allows = self._jobs[0].search, self._jobs[0].question.allows
    least = search.batches[-1] if self._searching else 1
    if len(self._jobs) < least:  # a quick look, for each request
      return []
    alike = [job for job in self._jobs if job.search is search and job.question.allows == allows][
      : search.batches[-1]
    ]
    batch = alike[: search.batch_of([job.question for job in alike])]
    return batch if len(batch) >= least else []

  def _answer(self, batch: Sequence[_Job]) -> None:
    now = time.monotonic()
    batch = [job for job in batch if job.future.set_running_or_notify_cancel()]
    for job in [job for job in batch if job.until < now]:
      job.future.set_exception(TimeoutError("nobody waits for this answer any more"))
    if in_time := [job for job in batch if job.until >= now]:
      self._search(in_time)

  def _search(self, batch: Sequence[_Job]) -> None:
    self._observe_batch(len(batch))
    try:
      found: Sequence[Found] = batch[0].search.find([job.question for job in batch])
    except Exception as error:  # whoever waits has to hear of it
      for job in batch:
        job.future.set_exception(error)
      return
    for job, result in zip(batch, found, strict=True):
      job.future.set_result(result)
