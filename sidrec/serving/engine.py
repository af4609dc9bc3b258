"""One thread that searches for whatever is queued, through shapes that are compiled ahead.

It never waits for a batch to fill: when the device is free, it takes what is there, up to the
largest batch that this fills. On a CPU larger batches gain little, and waiting only adds to every
answer.
"""

import collections
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from sidrec.search.buckets import BucketSearch, Found
from sidrec.search.questions import Question


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
  ):
    """Takes how many requests may wait, and who hears of the size of each batch."""
    self._most_waiting, self._observe_batch = most_waiting, observe_batch
    self._jobs: collections.deque[_Job] = collections.deque()
    self._change = threading.Condition()
    self._accepts = True
    self._thread = threading.Thread(target=self._work, name="sidrec engine", daemon=True)

  def start(self) -> None:
    """Starts to answer."""
    self._thread.start()

  def stop(self) -> None:
    """Takes no more requests, answers those that wait, and ends."""
    with self._change:
      self._accepts = False
      self._change.notify()
    if self._thread.is_alive():
      self._thread.join()

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
      now = time.monotonic()
      batch = [job for job in batch if job.future.set_running_or_notify_cancel()]
      for job in [job for job in batch if job.until < now]:
        job.future.set_exception(TimeoutError("nobody waits for this answer any more"))
      if in_time := [job for job in batch if job.until >= now]:
        self._answer(in_time)

  def _next(self) -> list[_Job]:
    """What waits and fits one batch with the one that waits longest; nothing at the end."""
    with self._change:
      while not self._jobs and self._accepts:
        self._change.wait()
      if not self._jobs:
        return []
      search, allows = self._jobs[0].search, self._jobs[0].question.allows
      alike = [job for job in self._jobs if job.search is search and job.question.allows == allows][
        : search.batches[-1]
      ]
      batch = alike[: search.batch_of([job.question for job in alike])]
      taken = {id(job) for job in batch}
      self._jobs = collections.deque(job for job in self._jobs if id(job) not in taken)
      return batch

  def _answer(self, batch: Sequence[_Job]) -> None:
    self._observe_batch(len(batch))
    try:
      found: Sequence[Found] = batch[0].search.find([job.question for job in batch])
    except Exception as error:  # whoever waits has to hear of it
      for job in batch:
        job.future.set_exception(error)
      return
    for job, result in zip(batch, found, strict=True):
      job.future.set_result(result)
