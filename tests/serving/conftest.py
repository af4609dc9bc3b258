"""A small trained run behind a server, once for all tests of a process."""

import asyncio
import threading

import numpy as np
import pytest
from tiny import ROWS, make_dataset, make_items, tiny_config

import sidrec
from sidrec.data.dataset import TEXT

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

TITLES = [f"Thing {row} ({1980 + row})" for row in range(28)] + ["Twin", "twin"]


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
  """The folder of a trained run: 60 users, whose ids are numbers, and 30 items."""
  folder = tmp_path_factory.mktemp("served")
  config = tiny_config(folder)
  config.model.update(item_head=True, history_length=6)
  config.train.update(steps=2, steps_per_call=2, validate_every=2)
  items = make_items(list(range(30)))
  items = items._replace(titles_N=np.array(TITLES, TEXT))
  sidrec.fit(make_dataset(ROWS)._replace(items=items), folder, config=config)
  return folder


@pytest.fixture(scope="session")
def run(workdir):
  return sidrec.load(workdir)


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


@pytest.fixture(scope="session")
def served(run, tmp_path_factory):
  """(service, client) of a started service; tests leave no item withdrawn."""
  from sidrec.serving.app import make_app
  from sidrec.serving.service import Service
  from sidrec.serving.store import Store

  service = Service(run, Store(tmp_path_factory.mktemp("store") / "events.sqlite"))
  service.engine.search.batches = (1, 4)
  service.start()
  yield service, Client(make_app(service))
  service.stop()
