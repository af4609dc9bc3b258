"""The HTTP interface: routes, and what holds for all of them."""

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidrec.serving import v2
from sidrec.serving.bodies import RequestError, parsed
from sidrec.serving.explore import Explorer
from sidrec.serving.openapi import document
from sidrec.serving.openapi_explore import with_explain, with_explorer
from sidrec.serving.service import Service
from sidrec.serving.settings import Limits
from sidrec.serving.store import StoreError
from sidrec.serving.web import page_files
from sidrec.serving.web import routes as explorer_routes

_OPEN = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")  # without a token
_LONG = (  # what paths of metrics begin with, and how they are counted
  ("/v1/items/", "/v1/items/{id}"),
  ("/v1/codes/", "/v1/codes/{path}"),
  ("/v1/neighbours/", "/v1/neighbours/{id}"),
)
_LOCAL = ("localhost", "127.0.0.1", "[::1]", "::1")


class JSONText(Response):
  """JSON in ASCII, which holds whatever text there is."""

  media_type = "application/json"

  def render(self, content: Any) -> bytes:
    """The bytes of a value; numbers that JSON lacks are a mistake of ours."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def refused(error: RequestError) -> JSONText:
  """The answer to a request that was not granted."""
  return JSONText({"error": error.sentence}, error.status, error.headers)


def make_app(
  service: Service, token: str | None = None, explorer: Explorer | None = None
) -> ASGIApp:
  """The application.

  Args:
    service: what answers; `start` is called by whoever serves.
    token: what every request must bring; None for nothing, for servers on this machine alone.
    explorer: what answers the page at /; None for no page. One that is read only leaves out what
      changes anything: events, items that are withdrawn, and the catalogue.
  """
  door = Door(_routes(service, explorer), service, token)
  if explorer is not None:
    door.open_pages(page_files())
  return door


def _routes(service: Service, explorer: Explorer | None) -> Starlette:
  changes = explorer is None or not explorer.read_only
  routes = [
    *_recommending(service),
    *_items(service),
    *(_changing(service) if changes else []),
    *_watching(service, explorer),
    *_inference_protocol(service),
    *([] if explorer is None else explorer_routes(explorer, JSONText)),
  ]
  return Starlette(
    routes=routes,
    exception_handlers={
      RequestError: _refuse,
      StoreError: _no_store,
      404: lambda request, error: JSONText({"error": "there is no such path"}, 404),
      405: _no_method,
      500: lambda request, error: JSONText({"error": "something went wrong in the server"}, 500),
    },
  )


def _recommending(service: Service) -> list[Route]:
  async def recommend(request: Request) -> Response:
    return JSONText(await service.recommend(parsed(await request.body())))

  async def explain(request: Request) -> Response:
    return JSONText(await service.explaining.explain(parsed(await request.body())))

  return [
    Route("/v1/recommend", recommend, methods=["POST"]),
    Route("/v1/explain", explain, methods=["POST"]),
  ]


def _items(service: Service) -> list[Route]:
  async def items(request: Request) -> Response:
    query, limit = _query(request, service.limits)
    return JSONText(await asyncio.to_thread(service.items, query, limit))

  async def item(request: Request) -> Response:
    return JSONText(service.item(request.path_params["id"]))

  async def catalogue(request: Request) -> Response:
    return JSONText(service.catalogue.described())

  return [
    Route("/v1/items", items, methods=["GET"]),
    Route("/v1/items/{id:path}", item, methods=["GET"]),
    Route("/v1/catalogue", catalogue, methods=["GET"]),
  ]


def _changing(service: Service) -> list[Route]:
  async def events(request: Request) -> Response:
    return JSONText(await service.append(parsed(await request.body())))

  async def withdraw(request: Request) -> Response:
    return JSONText(await service.withdraw(request.path_params["id"]))

  async def bring_back(request: Request) -> Response:
    return JSONText(await service.bring_back(request.path_params["id"]))

  async def change(request: Request) -> Response:
    return JSONText(await service.change(parsed(await request.body())))

  async def roll_back(request: Request) -> Response:
    return JSONText(await service.roll_back(parsed(await request.body())))

  return [
    Route("/v1/events", events, methods=["POST"]),
    Route("/v1/items/{id:path}", withdraw, methods=["DELETE"]),
    Route("/v1/items/{id:path}", bring_back, methods=["PUT"]),
    Route("/v1/catalogue", change, methods=["POST"]),
    Route("/v1/catalogue/rollback", roll_back, methods=["POST"]),
  ]


def _watching(service: Service, explorer: Explorer | None) -> list[Route]:
  async def health(request: Request) -> Response:
    return JSONText({"status": "alive"})

  async def ready(request: Request) -> Response:
    _check_ready(service)
    return JSONText({"status": "ready"})

  async def metrics(request: Request) -> Response:
    return PlainTextResponse(
      service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8"
    )

  async def openapi(request: Request) -> Response:
    tensors = v2.datatypes(service.attributes)
    said = with_explain(document(service.limits, service.asker.search.beams, tensors))
    return JSONText(said if explorer is None else with_explorer(said, explorer))

  return [
    Route("/healthz", health),
    Route("/readyz", ready),
    Route("/metrics", metrics),
    Route("/openapi.json", openapi),
  ]


def _inference_protocol(service: Service) -> list[Route]:
  async def server(request: Request) -> Response:
    return JSONText(v2.server())

  async def live(request: Request) -> Response:
    return JSONText({"live": True})

  async def ready(request: Request) -> Response:
    _check_ready(service)
    return JSONText({"ready": True})

  async def model(request: Request) -> Response:
    return JSONText(v2.model(service.asker.search.beams, service.attributes))

  async def model_ready(request: Request) -> Response:
    _check_ready(service)
    return JSONText({"name": v2.MODEL, "ready": True})

  async def infer(request: Request) -> Response:
    body = parsed(await request.body())
    answers = await service.recommend(v2.to_requests(body, service.limits, service.attributes))
    return JSONText(v2.of_answers(body, answers))

  return [
    Route("/v2", server),
    Route("/v2/health/live", live),
    Route("/v2/health/ready", ready),
    Route(f"/v2/models/{v2.MODEL}", model),
    Route(f"/v2/models/{v2.MODEL}/ready", model_ready),
    Route(f"/v2/models/{v2.MODEL}/infer", infer, methods=["POST"]),
  ]


def _check_ready(service: Service) -> None:
  if service.draining or not service.ready:
    raise RequestError(503, "the server is not ready", {"Retry-After": "1"})


def _refuse(request: Request, error: Exception) -> Response:
  assert isinstance(error, RequestError)
  return refused(error)


def _no_store(request: Request, error: Exception) -> Response:
  sentence = "the store of events and changes does not answer; ask again later"
  return JSONText({"error": sentence}, 503, {"Retry-After": "1"})


def _no_method(request: Request, error: Exception) -> Response:
  headers = error.headers if isinstance(error, HTTPException) else None
  return JSONText({"error": "this path has no such method"}, 405, headers)


def _query(request: Request, limits: Limits) -> tuple[str, int]:
  names = [name for name, _ in request.query_params.multi_items()]
  if sorted(names) not in (["query"], ["limit", "query"]):
    raise RequestError(422, "give query, and limit if you like, once each")
  query, limit = request.query_params["query"], request.query_params.get("limit", "10")
  if not 1 <= len(query) <= limits.text:
    raise RequestError(422, f"query has {len(query)} characters; give 1 to {limits.text}")
  if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= limits.shown):
    raise RequestError(422, f"limit is no number from 1 to {limits.shown}")
  return query, int(limit)


class Door:
  """What every request passes: its size, its time, its token; and every answer is counted."""

  def __init__(self, app: ASGIApp, service: Service, token: str | None):
    """Takes what answers, and the token that requests must bring."""
    self._app, self._service, self._token = app, service, token
    self._routes = {
      *("/v1/recommend", "/v1/events", "/v1/items", "/v1/catalogue", "/v1/catalogue/rollback"),
      *("/v1/explain", "/v1/about", "/v1/codes", "/v1/map", "/v1/baselines"),
      *("/v2", "/v2/models/sidrec", "/v2/models/sidrec/ready", "/v2/models/sidrec/infer"),
      *("/metrics", "/openapi.json", *_OPEN),
    }
    self._open = {*_OPEN}

  def open_pages(self, paths: Iterable[str]) -> None:
    """Lets everybody have the files of a page, who then has to know the token for its data."""
    self._open |= {*paths}

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """One request."""
    if scope["type"] != "http":
      await self._app(scope, receive, send)
      return
    began, status = time.monotonic(), 500

    async def send_noting(message: Message) -> None:
      nonlocal status
      if message["type"] == "http.response.start":
        status = message["status"]
        headers = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
        if self._service.draining or status in (408, 413):
          headers.append((b"connection", b"close"))
        message = {**message, "headers": headers}
      await send(message)

    try:
      await self._answer(scope, receive, send_noting)
    finally:
      path = scope["path"]
      if path not in self._routes:
        path = next((route for start, route in _LONG if path.startswith(start)), "other")
      self._service.metrics.answered(path, status, time.monotonic() - began)

  async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
    try:
      self._admit(scope)
      body = await self._body(scope, receive)
      await self._app(scope, _replay(body, receive), send)
    except RequestError as error:
      await refused(error)(scope, receive, send)
    except _GoneError:
      return

  def _admit(self, scope: Scope) -> None:
    headers = dict(scope["headers"])
    if self._token is None:
      host = headers.get(b"host", b"").decode("latin-1")
      if (host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host) not in _LOCAL:
        raise RequestError(421, "this server answers to localhost alone")
    elif scope["path"] not in self._open:
      given = headers.get(b"authorization", b"")
      if not hmac.compare_digest(given, b"Bearer " + self._token.encode()):
        raise RequestError(
          401, "give the token: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"}
        )
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if scope["method"] == "POST" and kind != b"application/json":
      raise RequestError(415, "give the body as Content-Type: application/json")

  async def _body(self, scope: Scope, receive: Receive) -> bytes:
    """The body, as far as it may go; what is too large or too slow is not read to its end."""
    limits = self._service.limits
    too_large = RequestError(413, f"the body is larger than {limits.body_bytes} bytes")
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared[:18]) > limits.body_bytes:
      raise too_large
    body = bytearray()
    try:
      async with asyncio.timeout(limits.read_seconds):
        while True:
          message = await receive()
          if message["type"] == "http.disconnect":
            raise _GoneError
          body += message.get("body", b"")
          if len(body) > limits.body_bytes:
            raise too_large
          if not message.get("more_body", False):
            return bytes(body)
    except TimeoutError:
      raise RequestError(408, f"the body took more than {limits.read_seconds:g} s") from None


class _GoneError(Exception):
  """The client went away."""


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
  """Gives the body that was read, and then what follows it."""
  given = False

  async def again() -> Message:
    nonlocal given
    if given:
      return await receive()
    given = True
    return {"type": "http.request", "body": body, "more_body": False}

  return again
