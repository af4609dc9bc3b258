"""SIGTERM and SIGINT: training ends after the steps that are running, anything else at once.

Preemption, a scheduler's time limit and a person's Ctrl-C all come as one of these signals.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_asked: list[int] = []  # signals that came while training; signals are the whole process's
_training = False


class Stopped(BaseException):
  """A signal ended the run. `status` is what the process should exit with, as shells have it."""

  def __init__(self, number: int, what: str):
    """`what`: the rest of the sentence that starts with the signal's name."""
    super().__init__(f"stopped by {signal.Signals(number).name}{what}")
    self.status = 128 + number


@contextlib.contextmanager
def obeyed() -> Iterator[None]:
  """While it lasts, the two signals raise `Stopped`, or wait for `while_training` to be read."""
  before = {number: signal.signal(number, _handle) for number in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


@contextlib.contextmanager
def while_training() -> Iterator[Callable[[], int]]:
  """While it lasts, a first signal is only noted; gives a function that returns it, or 0.

  Raises:
    Stopped: at the end, if a signal came that training did not take notice of any more; and at
      once, at a second signal.
  """
  global _training
  _training = True
  try:
    yield lambda: _asked[0] if _asked else 0
  finally:
    _training = False
    asked = _asked.copy()
    _asked.clear()
  if asked:
    raise Stopped(asked[0], "")


def _handle(number: int, frame: FrameType | None) -> None:
  del frame
  if not _training or _asked:
    raise Stopped(number, "")
  _asked.append(number)
