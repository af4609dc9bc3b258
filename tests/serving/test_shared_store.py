"""Several servers on one store: what one is told, the others know; and a store that goes."""

import dataclasses
import re
import threading
import time
import uuid

import pytest

pytest.importorskip("redis")

from live_shop import Numbers, open_shop_on

from sidrec.serving.open_store import open_store
from sidrec.serving.store import StoreError
from sidrec.serving.store_sqlite import SQLiteStore


@pytest.fixture
def compiled(served):
  """A started catalogue that never changes, whose programs others take."""
  return served[0].catalogue


@pytest.fixture
def open_one(run, compiled, redis_server):
  """Opens servers of one store, whose followers look when a test says so."""
  shops, place = [], f"{redis_server.url}?name={uuid.uuid4().hex}"

  def open_it(**options):
    options = {"new_ids": Numbers(run), "room": 20, "run": run, "store": place, **options}
    store = options.pop("store")
    shop = open_shop_on(
      open_store("", store) if isinstance(store, str) else store,
      options.pop("run"),
      compiled,
      **options,
    )
    if shop.service._follower is not None:
      shop.service._follower._stopped.set()
    shops.append(shop)
    return shop

  yield open_it
  for shop in shops:
    shop.service.stop()


def gauge(shop, name):
  """What /metrics says; None where it says nothing."""
  text = shop.client.call("GET", "/metrics").text
  found = re.search(rf"^sidrec_{name} (.*)$", text, re.MULTILINE)
  return found and float(found[1])


def follow(*shops):
  for shop in shops:
    shop.service.catalogue.follow()


def test_answers_are_those_of_a_store_in_a_file(open_one, tmp_path):
  shops = open_one(), open_one(store=SQLiteStore(tmp_path / "events.sqlite"))
  calls = [
    ("POST", "/v1/recommend", {"json": {"requests": [{"user": "new"}]}}),
    ("POST", "/v1/events", {"json": {"events": [{"user": 3, "item": 7, "time": 5}]}}),
    ("POST", "/v1/events", {"json": {"events": [{"user": "new", "item": "x"}]}}),
    ("POST", "/v1/events", {"json": {"events": [{"user": "new", "item": 9}] * 3}}),
    ("POST", "/v1/events", {"json": {"events": []}}),
    ("DELETE", "/v1/items/4", {}),
    ("DELETE", "/v1/items/nothing", {}),
    (
      "POST",
      "/v1/recommend",
      {"json": {"requests": [{"user": 3}, {"user": "new"}, {"items": [1]}]}},
    ),
    ("POST", "/v1/explain", {"json": {"user": "new"}}),
    ("PUT", "/v1/items/4", {}),
    ("GET", "/v1/items/4", {}),
    ("GET", "/v1/catalogue", {}),
  ]
  for method, path, options in calls:
    a, b = (shop.client.call(method, path, **options) for shop in shops)
    assert (a.status_code, a.json()) == (b.status_code, b.json()), path
    assert a.status_code in (200, 404, 422)
  for body in ({"add": [{"id": 99}], "remove": [3]}, {"remove": [5, 6]}, {"add": [{"id": 3}]}):
    a, b = (shop.change(**body) for shop in shops)
    assert a == b
  assert len({shop.roll_back().text for shop in shops}) == 1
  assert [gauge(shop, "store_reached") for shop in shops] == [1, None]


def test_events_at_one_server_are_in_the_next_answer_of_another(open_one):
  a, b = open_one(), open_one()
  before = b.ids(user=3)
  assert (
    a.client.call("POST", "/v1/events", json={"events": [{"user": 3, "item": 9}] * 4}).status_code
    == 200
  )
  assert b.ids(user=3) == a.ids(user=3) != before


def test_withdrawals_reach_other_servers(open_one):
  a, b = open_one(), open_one()
  best = b.ids(items=[1])[0]
  assert a.client.call("DELETE", f"/v1/items/{best}").status_code == 200
  assert best not in a.ids(items=[1])
  follow(b)
  assert best not in b.ids(items=[1])
  assert b.now["withdrawn"] == 1
  assert b.client.call("PUT", f"/v1/items/{best}").status_code == 200
  follow(a)
  assert a.ids(items=[1])[0] == b.ids(items=[1])[0] == best


def test_followers_look_by_themselves(open_one):
  a, b = open_one(), open_one()
  b.service._follower._stopped.clear()
  b.service._follower.start()
  a.client.call("DELETE", "/v1/items/4")
  a.change(add=[{"id": 99}])
  until = time.monotonic() + 20
  while b.now != a.now and time.monotonic() < until:
    time.sleep(0.05)
  assert b.now == a.now
  assert a.now["withdrawn"] == 1


def test_a_change_at_one_server_is_made_by_all(open_one):
  a, b, c = open_one(), open_one(new_ids=None), open_one()
  first = a.now
  made = a.change(add=[{"id": 99, "title": "New"}], remove=[3])
  assert b.now == first  # until it looks, and each answer names its version
  assert b.client.recommend({"items": [1]}).json()["catalogue"] == first["version"]
  compilations = b.service.compilations.count
  follow(b)
  assert b.now == a.now
  assert b.client.call("GET", "/v1/items/99").json() == a.client.call("GET", "/v1/items/99").json()
  assert b.ids(items=[1], k=20) == a.ids(items=[1], k=20)
  assert b.service.compilations.count == compilations
  assert b.change(remove=[5])["previous"] == [made["version"], first["version"]]
  follow(a, c)
  assert a.now == b.now == c.now
  assert c.roll_back().json()["version"] == made["version"]
  follow(a, b)
  assert a.now == b.now == c.now
  late = open_one()
  assert late.now == {**a.now, "room": late.now["room"]}


def test_a_change_behind_another_servers_is_refused(open_one):
  a, b = open_one(), open_one()
  made = a.change(remove=[3])
  b.refused(409, "another server changed the catalogue; look again", remove=[4])
  assert b.service.store.changes[0].version == made["version"]
  response = b.roll_back()
  assert (response.status_code, response.json()["error"]) == (
    409,
    "there is no version before this one",
  )
  follow(b)
  b.change(remove=[4])
  a.refused(409, "another server changed", remove=[5])
  assert a.roll_back().status_code == 409


def test_changes_at_the_same_time_make_one_history(open_one):
  shops = [open_one(), open_one()]

  def change_often(shop, numbers):
    for number in numbers:
      while True:
        response = shop.post(remove=[number])
        if response.status_code == 200:
          break
        assert response.status_code == 409, response.text
        follow(shop)

  threads = [
    threading.Thread(target=change_often, args=(shop, range(3 + at, 9, 2)))
    for at, shop in enumerate(shops)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  follow(*shops)
  assert shops[0].now == shops[1].now
  assert shops[0].now["removed"] == 6
  assert len(shops[0].service.store.changes) == 6


def test_another_run_takes_the_store_over_and_older_servers_say_so(open_one, run, capfd):
  old = open_one()
  old.change(add=[{"id": 99, "title": "Kept"}], remove=[4])
  version = old.now["version"]
  another = dataclasses.replace(run, params={**run.params, "start": run.params["start"] + 1})
  new = open_one(run=another)
  assert new.client.call("GET", "/v1/items/99").json()["title"] == "Kept"
  follow(old, old)
  assert old.now["version"] == version
  assert old.ids(items=[1])
  said = capfd.readouterr().err
  assert said.count("a server with another run has written its changes there") == 1
  assert [gauge(shop, "behind") for shop in (old, new)] == [1, 0]
  old.refused(409, "another server made changes that this one cannot take over", remove=[5])
  new.change(remove=[5])


def test_changes_that_do_not_lead_to_their_version_are_not_followed(open_one, capfd):
  a, b = open_one(), open_one()
  a.change(remove=[3])
  store, version = a.service.store, b.now["version"]
  wrong = store.changes[0]._replace(version="0123456789ab")
  store.replace_changes([wrong], store.turns.changes)
  follow(b, b)
  assert b.now["version"] == version
  assert capfd.readouterr().err.count("and not to 0123456789ab") == 1


def test_a_store_that_goes_and_comes_back(open_one, monkeypatch, tmp_path, capfd):
  from redis_server import RedisServer

  server = RedisServer(tmp_path)
  shop = open_one(store=server.url)
  assert (
    shop.client.call("POST", "/v1/events", json={"events": [{"user": 3, "item": 9}]}).status_code
    == 200
  )
  answers = shop.ids(user=3), shop.ids(items=[1])
  server.kill()
  for method, path, options in (
    ("POST", "/v1/events", {"json": {"events": [{"user": 3, "item": 9}]}}),
    ("POST", "/v1/recommend", {"json": {"requests": [{"user": 3}]}}),
    ("POST", "/v1/explain", {"json": {"user": 3}}),
    ("DELETE", "/v1/items/4", {}),
    ("PUT", "/v1/items/4", {}),
    ("POST", "/v1/catalogue", {"json": {"base": shop.now["version"], "remove": [4]}}),
  ):
    response = shop.client.call(method, path, **options)
    assert response.status_code == 503, path
    assert response.json() == {
      "error": "the store of events and changes does not answer; ask again later"
    }
    assert response.headers["retry-after"] == "1"
  assert shop.ids(items=[1]) == answers[1]
  with pytest.raises(StoreError):
    follow(shop)
  shop.service._follower._stopped.clear()
  shop.service._follower.start()
  wait_until(lambda: gauge(shop, "store_reached") == 0)
  server.start()
  assert (shop.ids(user=3), shop.ids(items=[1])) == answers
  assert shop.client.call("DELETE", "/v1/items/4").status_code == 200
  wait_until(lambda: gauge(shop, "store_reached") == 1)
  shop.service._follower.stop()
  assert capfd.readouterr().err.count("store: ") == 2  # it went, it came
  server.kill()


def wait_until(holds):
  until = time.monotonic() + 20
  while not holds():
    assert time.monotonic() < until
    time.sleep(0.05)


def test_a_store_that_hangs_holds_up_no_other_request(open_one, monkeypatch):
  shop = open_one()
  let_go, store = threading.Event(), shop.service.store
  monkeypatch.setattr(type(store), "events_of_each", lambda *_: let_go.wait(20) and {})
  monkeypatch.setattr(
    shop.service, "limits", dataclasses.replace(shop.service.limits, store_seconds=0.3)
  )

  def ask(request):
    return "POST", "/v1/recommend", {"json": {"requests": [request]}}

  began = time.monotonic()
  found = shop.client.together(*[ask({"user": 3})] * 40, ask({"items": [1]}))
  assert [one.status_code for one in found] == [503] * 40 + [200]
  assert time.monotonic() - began < 20
  let_go.set()
