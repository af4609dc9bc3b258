"""A small trained run behind a server, once for all tests of a process."""

import contextlib
import shutil

import numpy as np
import pytest
from tiny import all_codes, init_params, make_dataset, make_model, tiny_config

import sidrec
from sidrec.data.dataset import TEXT
from sidrec.run.settings import RunConfig
from sidrec.search.settings import SearchConfig

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"> & <b>bold</b>"
TITLES = [f"Thing {row} ({1980 + row})" for row in range(27)] + [HOSTILE, "Twin", "twin"]


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
  """The folder of a trained run."""
  folder = tmp_path_factory.mktemp("served")
  config = tiny_config(folder)
  config.train.update(steps=2, steps_per_call=2, validate_every=2)
  sidrec.fit(config, folder)
  return folder


@pytest.fixture(scope="session")
def run():
  """A run with random parameters: 60 users and 30 items, whose ids are numbers."""
  codes = all_codes(2, 6)[:30]
  model, trie, path = make_model(codes, history_length=6, item_head=True, followers=5)
  dataset = make_dataset()
  items = dataset.items._replace(titles_N=np.array(TITLES, TEXT))
  config = RunConfig(model=model.config, search=SearchConfig(beams=20, weights="fitted"))
  ids = sidrec.SemanticIDManager.from_codes(codes, 6)
  params = init_params(model, trie, path, scale=3.0)
  params["evidence_weight"] = np.array([0.5, 0.4, 0.3, 0.0], np.float32)
  return sidrec.TrainedRun(config, dataset._replace(items=items), ids, model, params, trie)


@contextlib.contextmanager
def started(run, folder, room):
  """(service, client) of a run, in programs for two sizes of batches."""
  from http_client import Client

  from sidrec.serving.app import make_app
  from sidrec.serving.service import Service
  from sidrec.serving.store_sqlite import SQLiteStore

  service = Service(run, SQLiteStore(folder / "events.sqlite"), room=room)
  service.catalogue.now.snapshot.search.batches = (1, 4)
  service.start()
  yield service, Client(make_app(service))
  service.stop()


@pytest.fixture(scope="session")
def served(run, tmp_path_factory):
  """(service, client) of a started service; tests leave no item withdrawn."""
  with started(run, tmp_path_factory.mktemp("store"), room=20) as service_and_client:
    yield service_and_client


@pytest.fixture(scope="session")
def timed(tmp_path_factory):
  """(run, service, client) of a run that reads times, ratings and the moment of the request."""
  from timed_run import make_timed_run

  run = make_timed_run()
  with started(run, tmp_path_factory.mktemp("timed"), room=2) as (service, client):
    yield run, service, client


@pytest.fixture(scope="session")
def attributed(tmp_path_factory):
  """(run, service, client) of a run that reads users' attributes."""
  from attributed import make_attributed_run

  run = make_attributed_run()
  with started(run, tmp_path_factory.mktemp("attributed"), room=2) as (service, client):
    yield run, service, client


@pytest.fixture(scope="session")
def browser():
  """Headless Chromium."""
  sync_api = pytest.importorskip("playwright.sync_api")
  chromium = shutil.which("chromium") or shutil.which("chromium-browser")
  if chromium is None:
    pytest.skip("there is no chromium; apt-get install chromium")
  with sync_api.sync_playwright() as playwright:
    started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    yield started
    started.close()


@pytest.fixture
def view(browser, address):
  """Opens the page at the `address` of the module; see `viewing`."""
  from explorer_page import viewing

  with viewing(browser, address) as open_page:
    yield open_page


@pytest.fixture
def compiled(served):
  """A started catalogue that never changes, whose programs others take."""
  return served[0].catalogue


@pytest.fixture
def shop(run, compiled, tmp_path):
  """Opens a shop on a store; `open_shop()` again is a new start of the server."""
  from live_shop import Numbers, open_shop_on

  from sidrec.serving.store_sqlite import SQLiteStore

  services = []

  def open_shop(**options):
    if services:
      services.pop().stop()
    options = {"new_ids": Numbers(run), "room": 20, **options}
    store = SQLiteStore(tmp_path / "events.sqlite")
    opened = open_shop_on(store, options.pop("run", run), compiled, **options)
    services.append(opened.service)
    return opened

  yield open_shop
  for service in services:
    service.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
  """A real server for all tests of a process, which give their stores names of their own."""
  pytest.importorskip("redis")
  from redis_server import RedisServer

  server = RedisServer(tmp_path_factory.mktemp("redis"))
  yield server
  server.kill()
