"""Swaps under load, on servers that stand in for sidrec's: one is honest, one is not."""

import http.server
import json
import threading
import time

import pytest
from tiny import make_items

from sidrec.bench import serve_swaps
from sidrec.bench.serve_swaps import Absence, Answered, Swapping, new_items, room_for

ITEMS = make_items(list(range(30)))


class Shop:
  """A catalogue that recommends its first ten items."""

  def __init__(self, forgets):
    self.items, self.withdrawn, self.version = [str(x) for x in range(30)], set(), 0
    self.forgets = forgets  # takes nothing away, though it says so
    self.changes, self.asked = [], []

  def answer(self, method, path, body):
    if path == "/v1/recommend":
      self.asked.append(body["requests"][0])
      held = [x for x in self.items if x not in self.withdrawn][:10]
      return {"results": [{"items": [{"id": x} for x in held]}]}
    if path.startswith("/v1/items/"):
      item = path.rpartition("/")[2]
      (self.withdrawn.discard if method == "PUT" or self.forgets else self.withdrawn.add)(item)
      return {}
    if method == "POST":
      assert body["base"] == str(self.version)
      self.changes.append(body)
      self.version += 1
      known = set(self.items)
      assert set(body["remove"]) <= known
      assert not {str(x["id"]) for x in body["add"]} & known
      if not self.forgets:
        self.items = [x for x in self.items if x not in body["remove"]]
      self.items += [str(x["id"]) for x in body["add"]]
    return {"version": str(self.version), "compiled": 0}


@pytest.fixture(params=["honest", "forgets"])
def shop(request):
  shop = Shop(request.param == "forgets")

  class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self):
      length = int(self.headers.get("Content-Length") or 0)
      try:
        body = json.loads(self.rfile.read(length)) if length else None
        status, content = 200, shop.answer(self.command, self.path, body)
      except AssertionError:
        status, content = 409, {}
      text = json.dumps(content).encode()
      self.send_response(status)
      self.send_header("Content-Length", str(len(text)))
      self.end_headers()
      self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = handle_one

    def log_message(self, *args):
      pass

  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  shop.url = f"http://127.0.0.1:{server.server_address[1]}"
  yield shop
  server.shutdown()
  server.server_close()


def test_answers_with_items_that_are_gone_are_found(shop, monkeypatch):
  monkeypatch.setattr(serve_swaps, "EVERY", 0.05)
  monkeypatch.setattr(serve_swaps, "SHARE", 0.1)
  with Swapping(shop.url, ITEMS, [{"user": 1, "k": 10, "request_time": 9}]) as swapping:
    until = time.monotonic() + 20
    while len(swapping.seconds) < 1 + 4 * (not shop.forgets) and time.monotonic() < until:
      time.sleep(0.01)
    time.sleep(0.1)
  assert swapping.at_risk  # what went had been recommended
  assert shop.asked[0] == {"user": 1, "k": 10, "request_time": 9}
  first = shop.changes[0]
  assert (len(first["add"]), len(first["remove"])) == (3, 3)
  if shop.forgets:
    assert swapping.wrong
    return
  assert (swapping.wrong, swapping.errors) == (0, [])
  fourth = shop.changes[3]  # what went two changes before is back, and what came then is gone
  back = {str(x["id"]) for x in fourth["add"][3:]}
  assert back == set(shop.changes[1]["remove"][:3])
  assert {str(x["id"]) for x in shop.changes[1]["add"][:3]} <= set(fourth["remove"])


def test_only_answers_that_begin_and_end_while_an_item_is_gone_are_wrong():
  gone = Absence("a", since=1.0, until=2.0)
  answers = [(0.9, 1.5), (1.0, 2.0), (1.5, 2.1)]
  assert [gone.contradicts(Answered(*times, ("b", "a"))) for times in answers] == [
    *(False, True, False)
  ]
  assert not gone.contradicts(Answered(1.2, 1.3, ("b",)))


def test_new_items_are_described_as_those_of_the_run():
  first, second = new_items(ITEMS, 2, 31)
  assert first == {
    **{"id": 61, "title": "title 1 (33)", "categories": ["b"], "year": 1991.0},
  }
  assert second["id"] == 62
  assert room_for(10_000, 60.0) == 100 * 31
