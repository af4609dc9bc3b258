"""Counters, gauges and histograms in Prometheus' text form."""

import bisect
import collections
import threading
from collections.abc import Callable, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
Gauges = dict[str, tuple[str, Callable[[], float]]]  # by name: what it says, and how to read it


class Histogram:
  """How often values were at most each bound."""

  def __init__(self, bounds: Sequence[float]):
    """Takes the bounds, in order; what is above them all is counted, too."""
    self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

  def add(self, value: float) -> None:
    """Counts a value."""
    self.counts[bisect.bisect_left(self.bounds, value)] += 1
    self.total += value

  def lines(self, name: str, label: str = "") -> list[str]:
    """As Prometheus reads it."""
    lines, below = [], 0
    for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
      below += count
      labels = ",".join(filter(None, (label, f'le="{bound}"')))
      lines.append(f"{name}_bucket{{{labels}}} {below}")
    braces = f"{{{label}}}" if label else ""
    return [*lines, f"{name}_sum{braces} {self.total:.6f}", f"{name}_count{braces} {below}"]


class Metrics:
  """What a server counts; of constant size, for routes and statuses are few."""

  def __init__(
    self,
    gauges: Gauges,
    catalogue: Callable[[], str] = lambda: "",
  ):
    """Takes gauges by name: what they say, and how to read them; and the catalogue's version."""
    self._gauges, self._catalogue, self._lock = gauges, catalogue, threading.Lock()
    self._requests: collections.Counter[tuple[str, int]] = collections.Counter()
    self._seconds: dict[str, Histogram] = {}
    self._batches = Histogram(SIZES)
    self._counters: collections.Counter[str] = collections.Counter(
      {"unknown_items": 0, "events": 0, "answers": 0, "explanations": 0}
    )

  def add_gauges(self, gauges: Gauges) -> None:
    """More of them."""
    self._gauges = {**self._gauges, **gauges}

  def answered(self, route: str, status: int, seconds: float) -> None:
    """Counts an answer to a call."""
    with self._lock:
      self._requests[route, status] += 1
      self._seconds.setdefault(route, Histogram(SECONDS)).add(seconds)

  def batch(self, size: int) -> None:
    """Counts a batch of the engine."""
    with self._lock:
      self._batches.add(size)

  def count(self, name: str, number: int = 1) -> None:
    """Adds to a counter."""
    with self._lock:
      self._counters[name] += number

  def text(self) -> str:
    """All of them."""
    lines = []

    def about(name: str, kind: str, words: str) -> None:
      lines.extend((f"# HELP {name} {words}", f"# TYPE {name} {kind}"))

    gauges = {name: (words, read()) for name, (words, read) in self._gauges.items()}
    with self._lock:
      about("sidrec_http_requests_total", "counter", "Calls by route and status.")
      for (route, status), number in sorted(self._requests.items()):
        lines.append(f'sidrec_http_requests_total{{route="{route}",status="{status}"}} {number}')
      about("sidrec_http_seconds", "histogram", "From the first byte of a call to its answer.")
      for route, histogram in sorted(self._seconds.items()):
        lines += histogram.lines("sidrec_http_seconds", f'route="{route}"')
      about("sidrec_batch_size", "histogram", "Requests searched side by side.")
      lines += self._batches.lines("sidrec_batch_size")
      for name, number in sorted(self._counters.items()):
        about(f"sidrec_{name}_total", "counter", f"{name.replace('_', ' ').capitalize()} so far.")
        lines.append(f"sidrec_{name}_total {number}")
    about("sidrec_catalogue", "gauge", "1 for the version of the catalogue that answers.")
    lines.append(f'sidrec_catalogue{{version="{self._catalogue()}"}} 1')
    for name, (words, value) in gauges.items():
      about(f"sidrec_{name}", "gauge", words)
      lines.append(f"sidrec_{name} {value:g}")
    return "\n".join(lines) + "\n"
