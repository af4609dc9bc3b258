"""A service with a catalogue that changes, and a client of it; nothing is compiled for it."""

from http_client import Client

import sidrec
from sidrec.serving.app import make_app
from sidrec.serving.service import Service


class Numbers:
  """Gives new items the six IDs that the run leaves free, one after another."""

  vectors_NxF = None

  def __init__(self, run):
    ids = run.ids
    self.ids = sidrec.SemanticIDManager.from_codes(ids.codes, 6, generation_method="radix")

  def warm_up(self):
    pass

  def check(self, items):
    if "nameless" in items.titles_N.tolist():
      raise ValueError("an item is nameless; give it a name")

  def inputs(self, items):
    if "broken" in items.titles_N.tolist():
      raise ValueError("there is no file /srv/secret/vectors.npy")


class Shop:
  """A service with a catalogue that changes, and a client of it."""

  def __init__(self, service, client):
    self.service, self.client = service, client

  @property
  def now(self):
    return self.client.call("GET", "/v1/catalogue").json()

  def post(self, base=None, path="/v1/catalogue", **body):
    body["base"] = self.now["version"] if base is None else base
    return self.client.call("POST", path, json=body)

  def change(self, **body):
    response = self.post(**body)
    assert response.status_code == 200, response.text
    return response.json()

  def roll_back(self, base=None):
    return self.post(base, "/v1/catalogue/rollback")

  def refused(self, status, words, **body):
    """Asserts that a change is refused, and that the version before answers."""
    before, stored = self.now, self.service.store.changes
    response = self.post(**body)
    assert (response.status_code, self.now) == (status, before), response.text
    assert words in response.json()["error"]
    assert self.service.store.changes == stored
    assert self.ids(items=[1])

  def ids(self, **request):
    response = self.client.recommend(request)
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json()["results"][0]["items"]]


def open_shop_on(store, run, compiled, **options):
  """A shop whose programs are those of a started catalogue."""
  service = Service(run, store, **options)
  mine, like = service.catalogue.now.snapshot.search, compiled.now.snapshot.search
  mine._compiled, mine._lock, mine.batches = like._compiled, like._lock, like.batches
  service.catalogue._validator = compiled._validator
  service.start()
  return Shop(service, Client(make_app(service)))
