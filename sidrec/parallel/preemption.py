"""SIGTERM and SIGINT: training ends after the steps that are running, anything else at once.

Preemption, a scheduler's time limit and a person's Ctrl-C all come as one of these signals.
"""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGTERM, signal.SIGINT)
_SAME = 2.0  # seconds in which more signals are the same wish: launchers often send several
_PATIENCE = 3.0  # seconds that a wait for the device may keep the main thread from a signal


class Stopped(BaseException):
  """A signal ended the run. `status` is what the process should exit with, as shells have it."""

  def __init__(self, number: int, what: str = ""):
    """`what`: the rest of the sentence that starts with the signal's name."""
    super().__init__(f"stopped by {signal.Signals(number).name}{what}")
    self.status = 128 + number


class _State:
  """Signals are the whole process's, and so is this."""

  training = False
  asked = 0  # the signal that came while training, or 0
  handled = 0  # signals that the main thread has seen
  last = float("-inf")  # when it saw the last one


def obey(end: Callable[[str, int], Any]) -> None:
  """From now on, the two signals raise `Stopped`, or wait for `while_training` to be read.

  Args:
    end: (sentence, status) → never returns; called in a thread where the main one is not to be
      had, in a long wait for the device or a compilation.
  """
  wakes, waker = socket.socketpair()
  waker.setblocking(False)
  for number in _NUMBERS:
    signal.signal(number, _handle)
  signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
  threading.Thread(target=_watch, args=(wakes, waker, end), daemon=True).start()


@contextlib.contextmanager
def while_training() -> Iterator[Callable[[], int]]:
  """While it lasts, a first signal is only noted; gives a function that returns it, or 0.

  Raises:
    Stopped: at the end, if a signal came that training did not take notice of any more; and at
      once, at a second signal some seconds later.
  """
  _State.training = True
  try:
    yield lambda: _State.asked
  finally:
    _State.training = False
    asked, _State.asked = _State.asked, 0
  if asked:
    raise Stopped(asked)


def _handle(number: int, frame: FrameType | None) -> None:
  del frame
  _State.handled += 1
  before, _State.last = _State.last, time.monotonic()
  if _State.last - before < _SAME:
    return
  if not _State.training or _State.asked:
    raise Stopped(number)
  _State.asked = number


def _watch(wakes: socket.socket, waker: socket.socket, end: Callable[[str, int], Any]) -> None:
  del waker  # which lives as long as this thread
  seen = 0
  while True:
    number = wakes.recv(1)[0]
    if number in _NUMBERS:
      seen += 1
      time.sleep(_PATIENCE)
      if _State.handled < seen and not _State.training:
        stopped = Stopped(number)
        end(f"sidrec: {stopped}", stopped.status)
