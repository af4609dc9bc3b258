"""How often XLA compiled anything in this process, also behind one's back."""

import threading
from typing import Any

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


class Compilations:
  """Counts from when it was made; a program found in the compilation cache counts, too."""

  def __init__(self) -> None:
    """Starts at 0."""
    self.count = 0
    self._lock = threading.Lock()
    jax.monitoring.register_event_duration_secs_listener(self._heard)

  def _heard(self, event: str, duration_secs: float, **more: Any) -> None:
    del duration_secs, more
    if event == _EVENT:
      with self._lock:
        self.count += 1
