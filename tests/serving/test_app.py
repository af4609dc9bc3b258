"""The HTTP interface, without sockets: answers, events, items, limits, metrics."""

import asyncio
import dataclasses
import json
import re
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_bodies import BODIES, CHANGES
from tiny import ROWS

from sidrec.run.answers import Answer, Recommended
from sidrec.serving.answers import as_json
from sidrec.serving.app import make_app
from sidrec.serving.openapi import document
from sidrec.serving.openapi_explore import with_explain
from sidrec.serving.settings import Limits

TITLE = "Thing 3 (1983)"


def results(response):
  assert response.status_code == 200, response.text
  return response.json()["results"]


def ids(response):
  return [[item["id"] for item in result["items"]] for result in results(response)]


def test_http_answers_are_those_of_the_library(served, run):
  _, client = served
  asked = [
    {"user": 7, "k": 5},
    {"user": "7", "exclude_seen": False},
    {"items": [1, "2", 99], "temperature": 2.5},
    {"titles": ["thing 3", "TWIN", "no such"], "k": 20},
    {"items": [], "allowed": [3, 5, 9], "forbidden": [5]},
    {"items": list(range(25))},
  ]
  for request, result in zip(asked, results(client.recommend(*asked)), strict=True):
    expected = as_json(run.recommend(**request))
    for mine, its in zip(result.pop("items"), expected.pop("items"), strict=True):
      assert mine.pop("score") == pytest.approx(its.pop("score"), abs=1e-4)
      assert mine.pop("probability") == pytest.approx(its.pop("probability"), rel=1e-3)
      assert mine == its
    assert result == expected


def test_many_clients_at_once_get_each_their_own_answer_and_nothing_compiles(served, run):
  service, client = served
  before = service.compilations.count
  calls = [
    ("POST", "/v1/recommend", {"json": {"requests": [{"items": row[: at % 9], "k": 1 + at % 20}]}})
    for at, row in enumerate(ROWS)
  ]
  answers = client.together(*calls)
  compiled = service.compilations.count - before
  for (_, _, sent), answer in zip(calls, answers, strict=True):
    (request,) = sent["json"]["requests"]
    assert ids(answer) == [run.recommend(**request).ids]
  assert compiled == 0
  sizes = [int(n) for n in re.findall(r"sidrec_batch_size_bucket\{le=.1.\} (\d+)", metrics(client))]
  total = [int(n) for n in re.findall(r"sidrec_batch_size_count (\d+)", metrics(client))]
  assert sizes[0] < total[0]  # some were searched side by side


def metrics(client):
  return client.call("GET", "/metrics").text


def test_the_next_answer_knows_the_events_before_it(served, run):
  _, client = served
  row = ROWS[11]
  sent = {"events": [{"user": 11, "item": 20, "time": 5}, {"user": 11, "item": "gone"}]}
  appended = client.call("POST", "/v1/events", json=sent)
  assert appended.json() == {"appended": 2, "unknown": ["gone"]}
  (result,) = results(client.recommend({"user": 11}))
  assert [item["id"] for item in result["items"]] == run.recommend(items=[*row, 20]).ids
  assert (result["unknown"], result["user"]) == (["gone"], 11)
  assert client.recommend({"user": "somebody new"}).status_code == 404
  client.call("POST", "/v1/events", json={"events": [{"user": "somebody new", "item": 4}]})
  assert ids(client.recommend({"user": "somebody new"})) == [run.recommend(items=[4]).ids]


def test_withdrawn_items_are_in_no_answer(served):
  service, client = served
  best = ids(client.recommend({"items": [1]}))[0][0]
  path = f"/v1/items/{best}"
  assert client.call("GET", path).json()["in_stock"] is True
  assert client.call("DELETE", path).json()["in_stock"] is False
  for request in ({"items": [1]}, {"items": [1], "allowed": [best, 2], "exclude_seen": False}):
    (found,) = ids(client.recommend(request))
    assert best not in found
    assert found
  assert service.store.withdrawn == [str(best)]
  assert client.call("PUT", path).json()["in_stock"] is True
  assert ids(client.recommend({"items": [1]}))[0][0] == best
  assert client.call("DELETE", "/v1/items/nothing").status_code == 404


FILTERS = [
  ({"categories": ["a"]}, lambda item: item % 3 == 0),
  ({"categories": ["a", "c"], "forbidden": [0, 2]}, lambda i: i % 3 != 1 and i not in (0, 2)),
  ({"forbidden_categories": ["b"]}, lambda item: item % 3 != 1),
  ({"allowed": [3, 4, 5, 6], "categories": ["a", "b"]}, lambda item: item in (3, 4, 6)),
  ({"categories": ["a", "b"], "forbidden_categories": ["b"]}, lambda item: item % 3 == 0),
  ({"categories": ["a"], "forbidden_categories": ["a"]}, lambda item: False),
  ({"categories": None, "forbidden_categories": []}, lambda item: True),
]


def test_filters_by_category(served, run):
  """As the library gives them, and as the whole list without them says."""
  _, client = served
  whole = {item.id: item.score for item in run.recommend(items=[7], k=20).items}
  for options, allowed in FILTERS:
    request = {"items": [7], "k": 20, **options}
    (found,) = ids(client.recommend(request))
    expected = run.recommend(**request)
    assert found == expected.ids
    assert all(map(allowed, found))
    assert 7 not in found
    by_hand = sum(map(allowed, range(30))) - allowed(7)
    assert len(found) == min(20, by_hand)
    both = [item for item in whole if allowed(item)]
    if by_hand <= 20:  # beams lead to all that is allowed, so scores alone decide the order
      assert [item for item in found if item in whole] == both


def test_a_category_that_no_item_has_is_no_empty_list(served):
  _, client = served
  for name in ("categories", "forbidden_categories"):
    response = client.recommend({"items": [1]}, {"items": [1], name: ["a", "d"]})
    assert response.status_code == 422
    words = f"requests[1]: {name}: no item has the category 'd'"
    assert response.json()["error"].startswith(words)
  assert client.recommend({"items": [1], "categories": []}).status_code == 422
  assert client.recommend({"items": [1], "categories": [7]}).status_code == 422


def test_items_are_found_by_title_and_id(served):
  _, client = served

  def found(**query):
    response = client.call("GET", "/v1/items", params=query)
    return [item["id"] for item in response.json()["items"]]

  assert found(query="thing 1 (") == [1]
  assert found(query="THING", limit=3) == [0, 1, 2]
  assert found(query="1985)") == [5]
  assert found(query="7")[0] == 7
  assert found(query="zzz") == []
  item = client.call("GET", "/v1/items/3").json()
  assert (item["title"], item["categories"]) == (TITLE, ["a"])
  (listed,) = client.call("GET", "/v1/items", params={"query": TITLE}).json()["items"]
  assert listed == item
  for query in ({}, {"query": ""}, {"query": "a", "limit": "0"}, {"query": "a", "limit": "x"}):
    assert client.call("GET", "/v1/items", params=query).status_code == 422
  assert client.call("GET", "/v1/items?query=a&query=b").status_code == 422
  assert client.call("GET", "/v1/items?query=a&more=b").status_code == 422


@pytest.mark.parametrize(
  ("method", "path", "options", "status"),
  [
    ("POST", "/v1/recommend", {"content": b"{}"}, 415),
    ("POST", "/v1/recommend", {"json": {"requests": [{"items": [], "k": 21}]}}, 422),
    ("POST", "/v1/recommend", {"json": {"requests": [{"user": 1}] * 65}}, 422),
    ("POST", "/v1/recommend", {"json": ["x" * (1 << 20)]}, 413),
    ("GET", "/v1/recommend", {}, 405),
    ("GET", "/v1/nothing", {}, 404),
    ("GET", "/healthz", {"headers": {"Host": "evil.example"}}, 421),
    ("GET", "/healthz", {"headers": {"Host": "127.0.0.1:8000"}}, 200),
    ("GET", "/readyz", {}, 200),
  ],
)
def test_statuses(served, method, path, options, status):
  response = served[1].call(method, path, **options)
  assert response.status_code == status, response.text
  if status != 200:
    assert list(response.json()) == ["error"]
    assert "\n" not in response.json()["error"]


def test_a_token_opens_all_but_health(served):
  service, client = served
  locked = type(client)(make_app(service, "secret-secret-secret"))
  assert locked.call("GET", "/healthz").status_code == 200
  assert locked.call("GET", "/readyz").status_code == 200
  for sent in (None, "Bearer wrong", "secret-secret-secret", "Bearer secret-secret-secreté"):
    headers = {} if sent is None else {"Authorization": sent.encode("latin-1")}
    assert locked.call("GET", "/metrics", headers=headers).status_code == 401
  right = {"Authorization": "Bearer secret-secret-secret", "Host": "shop.example"}
  assert locked.call("GET", "/metrics", headers=right).status_code == 200


def asked_raw(app, chunks, headers=()):
  """The status of a POST whose body comes as these chunks, None for one that never comes."""
  sent, taken = [], []
  parts = list(chunks)

  async def receive():
    if parts[0] is None:
      await asyncio.sleep(60)
    taken.append(parts.pop(0))
    return {"type": "http.request", "body": taken[-1], "more_body": bool(parts)}

  async def send(message):
    sent.append(message)

  headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers]
  scope = {"type": "http", "method": "POST", "path": "/v1/recommend", "headers": headers}
  scope |= {"query_string": b"", "http_version": "1.1", "raw_path": b"/v1/recommend"}
  asyncio.run(app(scope, receive, send))
  return sent[0]["status"], dict(sent[0]["headers"]), len(taken)


def test_large_and_slow_bodies_are_not_read_to_their_end(served, monkeypatch):
  service, _ = served
  monkeypatch.setattr(service, "limits", Limits(body_bytes=1000, read_seconds=0.05))
  app = make_app(service)
  status, headers, taken = asked_raw(app, [b"x" * 400] * 50)
  assert (status, taken, headers[b"connection"]) == (413, 3, b"close")
  status, _, taken = asked_raw(app, [b"x"], [(b"content-length", b"50000000")])
  assert (status, taken) == (413, 0)
  assert asked_raw(app, [b"{", None])[0] == 408


def test_too_much_to_do_is_refused_and_late_answers_are_given_up(served, monkeypatch):
  service, client = served
  search = service.catalogue.now.snapshot.search
  gate, find = threading.Event(), search.find

  def slow(questions):
    assert gate.wait(30)
    return find(questions)

  monkeypatch.setattr(search, "find", slow)
  monkeypatch.setattr(service, "limits", Limits(answer_seconds=0.2))
  monkeypatch.setattr(service.engine, "_most_waiting", 3)
  call = ("POST", "/v1/recommend", {"json": {"requests": [{"items": [1]}]}})
  statuses = [answer.status_code for answer in client.together(*[call] * 9)]
  assert {*statuses} == {503, 504}
  assert client.call(*call[:2], **call[2]).status_code in (503, 504)
  busy = [answer for answer in client.together(*[call] * 9) if answer.status_code == 503]
  assert busy[0].headers["retry-after"] == "1"
  gate.set()
  monkeypatch.undo()
  assert ids(client.recommend({"items": [1]}))


def test_who_is_about_to_end_says_so_and_still_answers(served, monkeypatch):
  service, client = served
  assert "connection" not in client.call("GET", "/readyz").headers
  monkeypatch.setattr(service, "draining", True)
  assert client.call("GET", "/readyz").status_code == 503
  assert client.call("GET", "/healthz").status_code == 200
  answer = client.recommend({"items": [1]})
  assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_metrics_are_counted(served):
  _, client = served
  before = counted(client)
  client.recommend({"items": ["gone", 1]})
  client.call("GET", "/v1/items/5/../../x")
  client.call("POST", "/v1/events", json={"events": [{"user": 59, "item": 1}] * 3})
  after = counted(client)

  def more(name):
    return after[name] - before.get(name, 0)

  assert more('sidrec_http_requests_total{route="/v1/recommend",status="200"}') == 1
  assert more('sidrec_http_seconds_count{route="/v1/recommend"}') == 1
  assert more("sidrec_unknown_items_total") == 1
  assert more("sidrec_events_total") == 3
  assert more("sidrec_compilations") == 0
  assert after["sidrec_ready"] == 1


def counted(client):
  lines = [line for line in metrics(client).splitlines() if not line.startswith("#")]
  return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_nothing_says_where_the_server_keeps_things(served, tmp_path):
  service, client = served
  broken = dict.fromkeys(["items"], "x")
  answers = [
    client.call("POST", "/v1/recommend", json=broken),
    client.call("GET", "/v1/items/" + "x" * 99),
    client.call("GET", "/metrics"),
    client.call("GET", "/openapi.json"),
  ]

  def fail(*_):
    raise RuntimeError(f"cannot read {tmp_path}")

  item, service.item = service.item, fail
  answers.append(client.call("GET", "/v1/items/1"))
  service.item = item
  assert answers[-1].status_code == 500
  assert answers[-1].json() == {"error": "something went wrong in the server"}
  assert not [answer for answer in answers if str(tmp_path) in answer.text]


def test_the_document_names_every_route_and_its_schemas(served):
  service, client = served
  said = client.call("GET", "/openapi.json").json()
  assert said == json.loads(json.dumps(with_explain(document(service.limits, 20))))
  assert {*said["paths"]} == {
    *("/v1/recommend", "/v1/explain", "/v1/events", "/v1/items", "/v1/items/{id}"),
    *("/v1/catalogue", "/v1/catalogue/rollback"),
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/sidrec"),
    *("/v2/models/sidrec/ready", "/v2/models/sidrec/infer"),
    *("/healthz", "/readyz", "/metrics", "/openapi.json"),
  }
  used = {*re.findall(r"#/components/schemas/(\w+)", json.dumps(said))}
  assert used == {*said["components"]["schemas"]}


def test_answers_have_every_field_but_the_certificate_that_servers_search_without():
  answer = {*as_json(Answer(()))}
  assert answer == {field.name for field in dataclasses.fields(Answer)} - {"certified"}
  schemas = document(Limits(), 20)["components"]["schemas"]
  assert answer == {*schemas["Answer"]["properties"]}
  assert {*Recommended._fields} == {*schemas["Recommended"]["properties"]}


@settings(max_examples=60)
@given(BODIES, st.sampled_from(["/v1/recommend", "/v1/events"]))
def test_no_body_breaks_the_server(served, body, path):
  content = json.dumps(body).encode()
  response = served[1].call(
    "POST", path, content=content, headers={"Content-Type": "application/json"}
  )
  assert response.status_code in (200, 400, 404, 422), response.text


@settings(max_examples=60)
@given(CHANGES, st.sampled_from(["", "/rollback"]), st.booleans())
def test_no_change_breaks_the_server(served, change, path, from_base):
  service, client = served
  now = service.catalogue.described()
  if from_base:
    change = {**change, "base": now["version"], "remove": [*range(99)]}
  headers = {"Content-Type": "application/json"}
  content = json.dumps(change).encode()
  response = client.call("POST", f"/v1/catalogue{path}", content=content, headers=headers)
  assert response.status_code in (400, 409, 422), response.text
  assert service.catalogue.described() == now
