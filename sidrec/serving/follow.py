"""A thread that takes over what other servers wrote to a shared store."""

import sys
import threading

from sidrec.core.printable import printable
from sidrec.serving.catalogue import Catalogue
from sidrec.serving.store import StoreError

SECONDS = 0.5  # between two looks


class Follower:
  """Looks at the store again and again, and says when it goes and when it is back."""

  def __init__(self, catalogue: Catalogue, seconds: float = SECONDS):
    """Takes the catalogue that follows the store."""
    self._catalogue, self._seconds = catalogue, seconds
    self._stopped = threading.Event()
    self._thread: threading.Thread | None = None
    self.reached = True  # whether the store answered the last time

  def start(self) -> None:
    """Begins."""
    self._thread = threading.Thread(target=self._run, name="sidrec follow", daemon=True)
    self._thread.start()

  def stop(self) -> None:
    """Ends; a change that is being taken over is finished first."""
    self._stopped.set()
    if self._thread is not None:
      self._thread.join()

  def _run(self) -> None:
    while not self._stopped.wait(self._seconds):
      try:
        self._catalogue.follow()
      except StoreError as error:
        self._note(False, str(error))
      except Exception as error:  # the thread goes on, whatever the store holds
        _say(f"cannot follow the store: {error!r}")
      else:
        self._note(True, "the store answers again")

  def _note(self, reached: bool, words: str) -> None:
    if reached != self.reached:
      self.reached = reached
      _say(words)


def _say(words: str) -> None:
  print(f"store: {printable(words, 2000)}", file=sys.stderr, flush=True)
