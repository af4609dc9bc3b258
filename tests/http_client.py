"""A client of an application, without sockets."""

import asyncio
import threading

import httpx


class Client:
  """Calls an application in its own thread's event loop, without sockets."""

  def __init__(self, app):
    self._loop = asyncio.new_event_loop()
    threading.Thread(target=self._loop.run_forever, daemon=True).start()
    self._http = httpx.AsyncClient(
      transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://localhost"
    )

  def together(self, *calls):
    """The answers to (method, path, options), asked for at the same time."""

    async def ask():
      made = [self._http.request(method, path, **options) for method, path, options in calls]
      return await asyncio.gather(*made)

    return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(120)

  def call(self, method, path, **options):
    return self.together((method, path, options))[0]

  def recommend(self, *requests):
    return self.call("POST", "/v1/recommend", json={"requests": list(requests)})
