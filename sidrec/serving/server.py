"""Uvicorn with what it lacks: limits on a request's head, and a stop that drains."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Generator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sidrec.serving.service import Service

_MOST_HEAD = 65536  # bytes of a request's first line and headers
_FAREWELL = 0.5  # seconds in which answers still ask clients to go elsewhere


def limited_protocol(seconds: float) -> type[asyncio.Protocol]:
  """HTTP/1.1 that closes connections whose request does not say whole, in time, what it is.

  Args:
    seconds: for a request's head.
  """

  class LimitedProtocol(HttpToolsProtocol):
    """HttpToolsProtocol with a clock from the first byte of a request's head to its last.

    The parser keeps a head of any length, so its bytes are counted, too.
    """

    _clock: asyncio.TimerHandle | None = None
    _in_head, _head_bytes = False, 0

    def connection_made(self, transport: Any) -> None:
      super().connection_made(transport)
      self._watch()

    def on_message_begin(self) -> None:
      self._in_head, self._head_bytes = True, 0
      super().on_message_begin()

    def on_headers_complete(self) -> None:
      self._in_head = False
      super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
      super().data_received(data)
      self._head_bytes += len(data) if self._in_head else 0
      if self._head_bytes > _MOST_HEAD:
        self._refuse("431 Request Header Fields Too Large", "the head of the request is too large")
      self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
      self._stop()
      super().connection_lost(exc)

    def _watch(self) -> None:
      """Runs the clock while no request is under way; the body has a limit of its own."""
      if self.cycle is not None and not self.cycle.response_complete:
        self._stop()
      elif self._clock is None:
        self._clock = self.loop.call_later(seconds, self._late)

    def _stop(self) -> None:
      if self._clock is not None:
        self._clock.cancel()
        self._clock = None

    def _late(self) -> None:
      self._clock = None
      if self.transport.is_closing() or (self.cycle and not self.cycle.response_complete):
        return
      self._refuse("408 Request Timeout", "the head of the request took too long")

    def send_400_response(self, msg: str) -> None:
      self._refuse("400 Bad Request", "the request is no HTTP/1.1")

    def _refuse(self, status: str, sentence: str) -> None:
      words = f'{{"error":"{sentence}"}}'
      head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
      self.transport.write(f"{head}Content-Length: {len(words)}\r\n\r\n{words}".encode())
      self.transport.close()

  return LimitedProtocol


def new_event_loop() -> asyncio.AbstractEventLoop:
  """uvloop's, which takes half of asyncio's time for a request, where there is one."""
  try:
    import uvloop
  except ModuleNotFoundError:  # not on Windows
    return asyncio.new_event_loop()
  return uvloop.new_event_loop()


class Server(uvicorn.Server):
  """Serves until SIGTERM or SIGINT, then answers what it has accepted, and returns."""

  def __init__(self, door: ASGIApp, service: Service, host: str, port: int):
    """Takes the application and where to listen; port 0 for any that is free."""
    limits = service.limits
    super().__init__(
      uvicorn.Config(
        door,
        host=host,
        port=port,
        http=limited_protocol(limits.read_seconds),
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=max(1, int(limits.read_seconds)),
        timeout_graceful_shutdown=int(limits.drain_seconds),
      )
    )
    self._service = service

  @contextlib.contextmanager
  def capture_signals(self) -> Generator[None]:
    """Stops at the first signal, and leaves the process to end with status 0."""
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
      loop.add_signal_handler(number, self.drain)
    try:
      yield
    finally:
      for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)

  def drain(self) -> None:
    """Says that it is not ready, asks clients to connect elsewhere, and soon listens no more."""
    if self._service.draining:
      return
    self._service.draining = True
    asyncio.get_running_loop().call_later(_FAREWELL, self._end)

  def _end(self) -> None:
    self.should_exit = True

  async def shutdown(self, sockets: Any = None) -> None:
    """Listens no more, answers who has connected already, and lets go of the others."""
    for server in self.servers:
      server.close()
    if self._service.draining:
      await asyncio.sleep(_FAREWELL)
    await super().shutdown(sockets)

  async def startup(self, sockets: Any = None) -> None:
    """Listens, then compiles while /readyz says that it does, and says where it listens."""
    await super().startup(sockets)
    if not self.started:
      return
    host, port = self.servers[0].sockets[0].getsockname()[:2]
    print(f"serving on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    self._starting = asyncio.create_task(self._start())

  async def _start(self) -> None:
    try:
      await asyncio.to_thread(self._service.start)
    except BaseException:
      self.should_exit = True
      raise
    if not self._service.draining:
      print(f"ready after {self._service.compilations.count} compilations", flush=True)

  async def result(self) -> None:
    """Raises what went wrong at the start, if anything did."""
    if self._starting.done():
      self._starting.result()
