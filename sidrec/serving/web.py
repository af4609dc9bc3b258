"""The explorer over HTTP: its page, which any browser may load, and what the page asks for."""

import asyncio
from collections.abc import Callable
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sidrec.serving.bodies import parsed
from sidrec.serving.explore import Explorer

_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_HEADERS = {
  "Content-Security-Policy": (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
  ),
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "no-cache",
}


def page_files() -> dict[str, tuple[bytes, str]]:
  """The files of the page: path → (content, media type). They hold no data of the run."""
  folder = resources.files("sidrec.serving") / "web"
  files = {}
  for file in folder.iterdir():
    kind = _TYPES.get(file.name.rpartition(".")[2])
    if kind:
      path = "/" if file.name == "index.html" else f"/explorer/{file.name}"
      files[path] = (file.read_bytes(), kind)
  return files


def routes(explorer: Explorer, answer: Callable[[Any], Response]) -> list[Route]:
  """The routes of the explorer.

  Args:
    explorer: what answers.
    answer: makes a response of a value.
  """

  async def about(request: Request) -> Response:
    return answer(await asyncio.to_thread(explorer.about))

  async def codes(request: Request) -> Response:
    path = request.path_params.get("path", "")
    return answer(await asyncio.to_thread(explorer.codes, path))

  async def neighbours(request: Request) -> Response:
    return answer(await asyncio.to_thread(explorer.neighbours, request.path_params["id"]))

  async def item_map(request: Request) -> Response:
    return answer(await asyncio.to_thread(explorer.map))

  async def baselines(request: Request) -> Response:
    return answer(await explorer.baselines(parsed(await request.body())))

  return [
    Route("/v1/about", about, methods=["GET"]),
    Route("/v1/codes", codes, methods=["GET"]),
    Route("/v1/codes/{path:path}", codes, methods=["GET"]),
    Route("/v1/neighbours/{id:path}", neighbours, methods=["GET"]),
    Route("/v1/map", item_map, methods=["GET"]),
    Route("/v1/baselines", baselines, methods=["POST"]),
    *(_page(path, *file) for path, file in page_files().items()),
  ]


def _page(path: str, content: bytes, kind: str) -> Route:
  async def page(request: Request) -> Response:
    return Response(content, headers=_HEADERS, media_type=f"{kind}; charset=utf-8")

  return Route(path, page, methods=["GET"])
