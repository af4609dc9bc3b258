"""SIGTERM and SIGINT: training ends after the steps that are running, anything else at once.

Preemption, a scheduler's time limit and a person's Ctrl-C all come as one of these signals. JAX's
preemption service is not used: it needs a cluster, knows no SIGINT, and takes SIGTERM away from
stages that do not train.
"""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_REPEATS = 2.0  # seconds in which more signals repeat the first: launchers often send several
_PATIENCE = 3.0  # seconds that a wait for the device may keep the main thread from a signal


class Stopped(BaseException):
  """A signal ended the run. `status` is the exit status of the process, by the shell's rule."""

  def __init__(self, number: int, what: str = ""):
    """`what`: the rest of the sentence that starts with the signal's name."""
    super().__init__(f"stopped by {signal.Signals(number).name}{what}")
    self.status = 128 + number


class _State:
  """Signals belong to the whole process, and so does this."""

  training = False
  pending = 0  # the signal that came during training, or 0
  handled = 0  # how many signals the main thread has handled
  last = float("-inf")  # when it handled the last one


def handle_signals(end: Callable[[str, int], Any]) -> None:
  """From now on, the two signals raise `Stopped`; in `while_training`, they wait to be read.

  Args:
    end: (message, status) → never returns; called in a thread where the main one cannot run
      Python, in a long wait for the device or a compilation.
  """
  wakes, waker = socket.socketpair()
  waker.setblocking(False)
  for number in _SIGNALS:
    signal.signal(number, _handle)
  signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
  threading.Thread(target=_watch, args=(wakes, waker, end), daemon=True).start()


@contextlib.contextmanager
def while_training() -> Iterator[Callable[[], int]]:
  """A block in which a first signal is only noted; gives a function that returns it, or 0.

  Raises:
    Stopped: at the end of the block, if a signal came that training did not read; and at
      once, at a second signal some seconds later.
  """
  _State.training = True
  try:
    yield lambda: _State.pending
  finally:
    _State.training = False
    pending, _State.pending = _State.pending, 0
  if pending:
    raise Stopped(pending)


def _handle(number: int, frame: FrameType | None) -> None:
  del frame
  _State.handled += 1
  before, _State.last = _State.last, time.monotonic()
  if _State.last - before < _REPEATS:
    return
  if not _State.training or _State.pending:
    raise Stopped(number)
  _State.pending = number


def _watch(wakes: socket.socket, waker: socket.socket, end: Callable[[str, int], Any]) -> None:
  del waker  # stays open as long as this thread runs
  seen = 0
  while True:
    number = wakes.recv(1)[0]
    if number in _SIGNALS:
      seen += 1
      time.sleep(_PATIENCE)
      if _State.handled < seen and not _State.training:
        stopped = Stopped(number)
        end(f"sidrec: {stopped}", stopped.status)
