"""What a store in Redis promises: which servers it takes, and what it does when they go."""

import threading
import uuid

import pytest

redis = pytest.importorskip("redis")

from redis_server import RedisServer  # noqa: E402

from sidrec.serving.open_store import open_store  # noqa: E402
from sidrec.serving.redis_place import parsed, unfit  # noqa: E402
from sidrec.serving.store import Event, StoreError  # noqa: E402

SECRET = "pa:ss/w@rd-7f3"


def test_places_are_read_and_shown_without_passwords(monkeypatch):
  place = parsed("rediss://shop:p%40ss%2F7@[::1]:7000/3?name=ml-1m&durable=false")
  assert (place.host, place.port, place.db, place.name) == ("::1", 7000, 3, "ml-1m")
  assert (place.tls, place.durable) == (True, False)
  assert (place.username, place.password) == ("shop", "p@ss/7")
  assert str(place) == "rediss://[::1]:7000/3?name=ml-1m"
  assert "p@ss" not in repr(place)
  assert str(parsed("redis://db")) == "redis://db:6379/0"
  assert parsed("redis://db").password is None
  monkeypatch.setenv("SIDREC_STORE_PASSWORD", "quiet")
  assert parsed("redis://db").password == "quiet"


@pytest.mark.parametrize(
  "url",
  [
    *(
      "redis://",
      "redis:///0",
      "redis://db:port/0",
      "redis://db/x",
      "redis://db/-1",
      "redis://db:0x",
    ),
    *("redis://db?name=a:b", "redis://db?name", "redis://db?nam=a", "redis://db?durable=maybe"),
    *(f"redis://:{SECRET}@db/0", f"redis://db/0?password={SECRET}", f"redis://db/0#{SECRET}"),
  ],
)
def test_what_is_no_place_is_refused_without_repeating_it(url):
  with pytest.raises(ValueError, match="store") as raised:
    parsed(url)
  assert SECRET[:5] not in str(raised.value)
  assert raised.value.__cause__ is None


DURABLE = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}


@pytest.mark.parametrize(
  ("settings", "words"),
  [
    ({}, ""),
    ({"maxmemory": "100", "maxmemory-policy": "volatile-lru"}, ""),
    ({"maxmemory": "0", "maxmemory-policy": "allkeys-lru"}, ""),
    ({"appendonly": "no"}, "has appendonly no"),
    ({"appendfsync": "everysec"}, "set appendfsync to always there"),
    ({"no-appendfsync-on-rewrite": "yes"}, "set no-appendfsync-on-rewrite to no there"),
    ({"maxmemory": "100", "maxmemory-policy": "allkeys-lru"}, "deletes events when its memory"),
  ],
)
def test_servers_that_may_lose_events_are_known(settings, words):
  found = unfit({**DURABLE, "maxmemory": "0", "maxmemory-policy": "noeviction", **settings})
  assert bool(found) == bool(words)
  assert words in found


@pytest.fixture
def place(redis_server):
  """Of a store that is empty."""
  return f"{redis_server.url}?name={uuid.uuid4().hex}"


def test_a_server_that_is_not_durable_is_refused_unless_one_accepts_it(redis_server, place, capsys):
  redis_server.client.config_set("appendfsync", "everysec")
  try:
    with pytest.raises(ValueError, match=r"has appendfsync everysec.*durable=false to live with"):
      open_store("", place)
    assert not redis_server.client.exists(f"sidrec:format:{place.split('=')[1]}")
    store = open_store("", f"{place}&durable=false")
    assert "may lose events that were acknowledged" in capsys.readouterr().err
    store.append([Event("anna", "lamp", 5.0)])
    store.close()
  finally:
    redis_server.client.config_set("appendfsync", "always")
  store = open_store("", place)
  assert store.num_events == 1
  assert capsys.readouterr().err == ""
  store.close()


def test_other_formats_are_refused(redis_server, place):
  redis_server.client.set(f"sidrec:format:{place.split('=')[1]}", "7")
  with pytest.raises(ValueError, match="has format 7, and this version of sidrec reads 1"):
    open_store("", place)


def test_names_keep_stores_apart(redis_server, place):
  stores = [open_store("", place), open_store("", f"{place}.2")]
  stores[0].append([Event("anna", "lamp", 5.0)])
  stores[0].withdraw("lamp")
  assert [(store.num_events, store.withdrawn) for store in stores] == [(1, ["lamp"]), (0, [])]
  for store in stores:
    store.close()


def test_appends_of_many_threads_are_all_kept_in_order(place):
  stores = [open_store("", place) for _ in range(2)]

  def append(store, user):
    for number in range(20):
      store.append([Event(user, str(number), 0.0), Event("all", str(number), 0.0)])

  threads = [
    threading.Thread(target=append, args=(store, f"{at} {thread}"))
    for at, store in enumerate(stores)
    for thread in range(2)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert (stores[0].num_events, len(stores[0].events_of("all", 999))) == (160, 80)
  for user in ("0 0", "0 1", "1 0", "1 1"):
    assert [event.item for event in stores[0].events_of(user, 99)] == [str(n) for n in range(20)]
  for store in stores:
    store.close()


@pytest.fixture
def own_server(tmp_path):
  """A server that a test may kill, with a password."""
  (tmp_path / "redis").mkdir()
  server = RedisServer(tmp_path / "redis", requirepass=SECRET)
  yield server
  server.kill()


def test_a_server_that_goes_and_comes_back(own_server, monkeypatch, tmp_path, capfd):
  monkeypatch.setenv("SIDREC_STORE_PASSWORD", "wrong-" + SECRET)
  with pytest.raises(StoreError, match="cannot be reached"):
    open_store("", own_server.url)
  monkeypatch.setenv("SIDREC_STORE_PASSWORD", SECRET)
  store = open_store("", own_server.url)
  store.append([Event("anna", "lamp", 5.0)])
  own_server.kill()
  said = []
  for call in (lambda: store.append([Event("anna", "sofa", 6.0)]), lambda: store.turns):
    with pytest.raises(StoreError, match="does not answer") as raised:
      call()
    said.append(str(raised.value))
  with pytest.raises(StoreError, match="cannot be reached") as raised:
    open_store("", own_server.url)
  own_server.start()
  store.append([Event("anna", "chair", 7.0)])
  assert [event.item for event in store.events_of("anna", 9)] == ["lamp", "chair"]

  own_server.kill()  # and comes back with less care
  own_server.settings["appendfsync"] = "everysec"
  own_server.start()
  with pytest.raises(StoreError, match="has appendfsync everysec"):
    store.append([Event("anna", "sofa", 8.0)])

  own_server.kill()  # and without its data
  own_server.settings["appendfsync"] = "always"
  (tmp_path / "empty").mkdir()
  own_server.start(tmp_path / "empty")
  for _ in range(2):
    with pytest.raises(StoreError, match="is not the store that this server began with"):
      store.append([Event("anna", "sofa", 8.0)])
  assert own_server.client.keys("sidrec:*") == []
  store.close()
  out = "".join([*said, str(raised.value), *capfd.readouterr()])
  assert SECRET not in out


def test_forgotten_users_are_in_no_file_of_the_server(own_server, monkeypatch):
  monkeypatch.setenv("SIDREC_STORE_PASSWORD", SECRET)
  own_server.client.config_set("save", "3600 1")
  store = open_store("", own_server.url)
  store.append([Event("anna-the-first", "lamp", 5.0), Event("bob-the-second", "lamp", 5.0)])
  own_server.client.save()

  def files():
    return b"".join(path.read_bytes() for path in own_server.folder.rglob("*") if path.is_file())

  assert b"anna-the-first" in files()
  assert store.forget(["anna-the-first"]) == 1
  assert b"anna-the-first" not in files()
  assert b"bob-the-second" in files()
  store.close()


def kill_during_appends(server, store, user, events_before_the_end):
  """Items whose append was acknowledged before the server was killed."""
  acknowledged = []
  try:
    for number in range(100_000):
      store.append([Event(user, str(number), 0.0)])
      acknowledged.append(str(number))
      if number == events_before_the_end:
        threading.Timer(0.001 * (number % 7), server.process.kill).start()
  except StoreError:
    server.kill()
  assert len(acknowledged) > events_before_the_end
  return acknowledged


@pytest.mark.parametrize(
  "tries", [pytest.param(2, id="two"), pytest.param(20, id="twenty", marks=pytest.mark.slow)]
)
def test_no_acknowledged_event_is_lost_when_the_server_is_killed(own_server, monkeypatch, tries):
  monkeypatch.setenv("SIDREC_STORE_PASSWORD", SECRET)
  store = open_store("", own_server.url)
  for at in range(tries):
    acknowledged = kill_during_appends(own_server, store, f"user {at}", 13 * at + 1)
    own_server.start()
    kept = [event.item for event in store.events_of(f"user {at}", 1_000_000)]
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) <= len(acknowledged) + 1
  store.close()
