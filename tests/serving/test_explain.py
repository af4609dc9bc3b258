"""Explanations over HTTP, and what the explorer's page asks for."""

import dataclasses
import json
import re
import threading

import jax
import numpy as np
import pytest
from explorer_run import make_extras
from hypothesis import given, settings
from json_bodies import BODIES
from tiny import ROWS

from sidrec.data.dataset import held_out_view, training_view
from sidrec.evaluation.baselines import best_item_knn, popularity
from sidrec.search import exact
from sidrec.serving.answers import as_plain
from sidrec.serving.app import make_app
from sidrec.serving.explore import Explorer, Extras
from sidrec.serving.others import Heard, _scores_of
from sidrec.serving.settings import Limits


@pytest.fixture(scope="module")
def explored(served):
  """(explorer, client) of a server with a page."""
  service, client = served
  explorer = Explorer(service, make_extras())
  return explorer, type(client)(make_app(service, explorer=explorer))


def explain(client, **request):
  response = client.call("POST", "/v1/explain", json=request)
  assert response.status_code == 200, response.text
  return response.json()


def close(one, other):
  """Asserts equality, numbers but for rounding."""
  if isinstance(other, dict):
    assert [*one] == [*other]
    for name in other:
      close(one[name], other[name])
  elif isinstance(other, list):
    assert len(one) == len(other)
    for mine, its in zip(one, other, strict=True):
      close(mine, its)
  elif isinstance(other, float):
    assert one == pytest.approx(other, abs=1e-4)
  else:
    assert one == other


REQUESTS = [
  {"user": 7, "k": 5},
  {"items": [1, "2", 99], "temperature": 2.5, "exclude_seen": False},
  {"titles": ["thing 3", "no such"], "k": 20},
  {"items": [], "allowed": [3, 5, 9], "forbidden": [5]},
  {"items": list(range(25))},
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_explanations_are_those_of_the_library_and_their_lists_those_of_recommend(
  served, run, request_
):
  service, client = served
  before = service.compilations.count
  found = explain(client, **request_)
  compiled = service.compilations.count - before
  version, search = found.pop("catalogue"), service.catalogue.now.snapshot.search
  # For these it is compiled already.
  placed = dataclasses.replace(run, model=search.model, params=search.params, trie=search.trie)
  expected = as_plain(placed.explain(**request_))
  for item in expected["history"]:
    del item["added"][10:]  # a server says it of ten results
  close(found, expected)
  close(found["answer"], as_plain(run.recommend(**request_)))
  assert compiled == 0
  assert version == client.recommend({"items": [1]}).json()["catalogue"]


def test_items_that_are_removed_are_gone_from_all_of_it(explored, run):
  explorer, client = explored
  asked = {"items": [1], "exclude_seen": False}
  before = explain(client, **asked)
  best = before["answer"]["items"][0]
  code = best["semantic_id"][0]
  compiled = explorer._service.compilations.count
  body = {"base": before["catalogue"], "remove": [best["id"]]}
  made = client.call("POST", "/v1/catalogue", json=body).json()
  after = explain(client, **asked)
  assert after["catalogue"] == made["version"] != before["catalogue"]
  assert explorer._service.compilations.count == compiled
  assert best["id"] not in [item["id"] for item in after["answer"]["items"]]
  assert client.call("GET", "/v1/codes").json()["items"] == 29
  members = client.call("GET", f"/v1/codes/{code}").json()["members"]
  assert best["id"] not in [item["id"] for item in members]
  assert client.call("GET", f"/v1/neighbours/{best['id']}").status_code == 404
  near = client.call("GET", "/v1/neighbours/1").json()
  assert best["id"] not in [item["id"] for item in near["by_vector"] + near["by_prefix"]]
  lists = client.call("POST", "/v1/baselines", json={"items": [], "k": 20}).json()["systems"]
  assert all(best["id"] not in [item["id"] for item in one["items"]] for one in lists)
  rolled = client.call("POST", "/v1/catalogue/rollback", json={"base": made["version"]}).json()
  assert rolled["version"] == before["catalogue"]
  assert explain(client, **asked) == before


def test_levels_say_what_filters_remove_and_what_prefixes_mean(served, run):
  codes = run.ids.codes
  best = explain(served[1], items=[1], exclude_seen=False)["answer"]["items"][0]
  cluster = np.flatnonzero(codes[:, 0] == best["semantic_id"][0]).tolist()
  found = explain(served[1], items=[1], exclude_seen=False, forbidden=cluster)
  first, last = found["levels"]
  assert [prefix["codes"] for prefix in first["removed"]] == [best["semantic_id"][:1]]
  assert first["removed_probability"] == pytest.approx(first["removed"][0]["probability"])
  assert first["kept_probability"] + first["removed_probability"] == pytest.approx(1, abs=1e-4)
  assert first["num_removed"] == 1
  assert last["num_removed"] == 0
  popular = np.bincount([item for row in ROWS for item in row[:-2]], minlength=30)
  for prefix in first["kept"]:
    below = np.flatnonzero(codes[:, 0] == prefix["codes"][0])
    assert prefix["items"] == len(below)
    order = below[np.argsort(-popular[below], kind="stable")]
    assert [item["id"] for item in prefix["examples"]] == order[:3].tolist()
    named = {mark["name"] for mark in prefix["categories"]}
    assert named <= {name for row in below for name in run.dataset.items.categories_of(row)}


def test_what_happened_since_the_training_counts(served, run):
  _, client = served
  client.call("POST", "/v1/events", json={"events": [{"user": 21, "item": 4}]})
  found = explain(client, user=21)
  assert [item["id"] for item in found["history"]] == [*ROWS[21], 4][-6:]
  best = found["answer"]["items"][0]["id"]
  client.call("DELETE", f"/v1/items/{best}")
  after = explain(client, user=21)
  client.call("PUT", f"/v1/items/{best}")
  assert best not in [item["id"] for item in after["answer"]["items"]]
  removed = [item["id"] for prefix in after["levels"][-1]["removed"] for item in prefix["examples"]]
  assert best in removed


def test_the_library_explains_one_history_at_a_time(run):
  for wrong in ({"users": [1]}, {"items": [1], "user": 1}, {}, {"items": [1], "draw": 3}):
    with pytest.raises(TypeError, match=r"explain takes one of|no option"):
      run.explain(**wrong)
  with pytest.raises(ValueError, match="finds at most 20 items"):
    run.explain(items=[1], k=21)


@pytest.mark.parametrize(
  ("body", "status", "words"),
  [
    ({}, 422, "request needs exactly one of user, items, titles"),
    ({"requests": []}, 422, "request has 'requests'"),
    ({"items": [1], "k": 21}, 422, "at most 20"),
    ({"items": ["x"] * 1001}, 422, "give at most 1000"),
    ({"items": [1], "temperature": 0}, 422, "0.01 to 100"),
    ({"user": "nobody"}, 404, "request.user is not known"),
  ],
)
def test_what_is_refused(served, body, status, words):
  response = served[1].call("POST", "/v1/explain", json=body)
  assert (response.status_code, words in response.json()["error"]) == (status, True), response.text


def test_too_many_are_refused_and_late_ones_given_up(served, monkeypatch):
  service, client = served
  gate, inner = threading.Event(), service.explaining._explain
  monkeypatch.setattr(service.explaining, "_explain", lambda *a: gate.wait(30) and inner(*a))
  monkeypatch.setattr(service, "limits", Limits(explaining=3, answer_seconds=0.3))
  call = ("POST", "/v1/explain", {"json": {"items": [1]}})
  statuses = sorted(answer.status_code for answer in client.together(*[call] * 5))
  assert statuses == [503, 503, 504, 504, 504]
  gate.set()
  monkeypatch.undo()
  assert explain(client, items=[1])["history"][0]["id"] == 1
  assert service.explaining._waiting == 0


@settings(max_examples=15)
@given(BODIES)
def test_no_body_breaks_it(explored, body):
  for path in ("/v1/explain", "/v1/baselines"):
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    response = explored[1].call("POST", path, content=content, headers=headers)
    assert response.status_code in (200, 400, 404, 422), response.text


def test_codes_are_walked_from_the_root_to_an_item(explored, run):
  _, client = explored
  root = client.call("GET", "/v1/codes").json()
  assert (root["items"], root["children_in_all"]) == (30, 5)
  assert sum(child["items"] for child in root["children"]) == 30
  child = root["children"][0]["codes"]
  below = client.call("GET", f"/v1/codes/{child[0]}").json()
  members = [item["id"] for item in below["members"]]
  assert sorted(members) == np.flatnonzero(run.ids.codes[:, 0] == child[0]).tolist()
  leaf = client.call("GET", "/v1/codes/" + "/".join(map(str, run.ids.codes[7]))).json()
  assert (leaf["children"], [item["id"] for item in leaf["members"]]) == ([], [7])
  for path, status in (("9", 404), ("1/2/3", 422), ("x", 422), ("1//2", 422), ("-1", 422)):
    assert client.call("GET", f"/v1/codes/{path}").status_code == status, path


def test_neighbours_share_prefixes_and_have_similar_vectors(explored, run):
  explorer, client = explored
  found = client.call("GET", "/v1/neighbours/8").json()
  codes, vectors = run.ids.codes, explorer._vectors_NxF
  assert [prefix["codes"] for prefix in found["codes"]] == [
    codes[8][:1].tolist(),
    codes[8].tolist(),
  ]
  shared = {item["id"] for item in found["by_prefix"]}
  assert shared == {*np.flatnonzero(codes[:, 0] == codes[8, 0]).tolist()} - {8}
  unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  nearest = np.argsort(-(unit @ unit[8]))
  assert [item["id"] for item in found["by_vector"]] == nearest[1:13].tolist()
  assert (found["item"]["title"], found["item"]["categories"]) == ("Thing 8 (1988)", ["c"])
  assert client.call("GET", "/v1/neighbours/none").status_code == 404
  without = Explorer(explorer._service, Extras(None, "none", None))
  assert without.neighbours("8")["by_vector"] is None
  assert without.map() == {"state": "none"}


def test_the_map_is_made_once_and_names_every_item(explored, run):
  explorer, client = explored
  client.call("GET", "/v1/map")
  explorer._map.wait()
  found = client.call("GET", "/v1/map").json()
  assert found["state"] == "ready"
  assert sorted(found["items"]) == [*range(30)]
  assert {*np.ravel(found["places"])} <= {*range(1001)}
  for item, codes in zip(found["items"], found["codes"], strict=True):
    assert codes == run.ids.codes[item].tolist()


def test_others_are_ranked_as_in_the_evaluation_and_filtered(explored, run):
  explorer, client = explored
  history = ROWS[3]
  found = client.call("POST", "/v1/baselines", json={"items": history, "k": 6, "forbidden": [9]})
  lists = {system["name"]: system for system in found.json()["systems"]}
  training = training_view(run.dataset.histories)
  banned = [*history, 9]
  for name, score in (
    ("item-kNN", best_item_knn(training, held_out_view(run.dataset.histories, "valid"), 30)[0]),
    ("most popular", popularity(training, 30)),
  ):
    scores = _scores_of(score, Heard(tuple(history), None)).copy()
    scores[banned] = -np.inf
    order = [row for row in np.argsort(-scores, kind="stable") if np.isfinite(scores[row])]
    assert [item["id"] for item in lists[name]["items"]] == order[:6]
  model, params = explorer._others._sasrec
  padded = np.full((1, 8), -1, np.int32)
  padded[0, : len(history[-8:])] = history[-8:]
  ranked = jax.jit(lambda *args: exact.recommend(model, *args[:2], 6, args[2]))
  best = ranked(params, padded, np.array([banned], np.int32))
  assert [item["id"] for item in lists["SASRec"]["items"]] == best.item_BxK[0].tolist()
  allowed = client.call("POST", "/v1/baselines", json={"items": [], "allowed": [3]}).json()
  assert [item["id"] for item in allowed["systems"][1]["items"]] == [3]
  without = Explorer(explorer._service, make_extras(sasrec="this run has none"))
  asked = {"items": [1], "k": 3}
  response = type(client)(make_app(explorer._service, explorer=without)).call(
    "POST", "/v1/baselines", json=asked
  )
  sasrec = response.json()["systems"][1]
  assert (sasrec["missing"], sasrec["items"]) == ("this run has none", [])


def test_the_page_is_open_its_data_want_the_token_and_nothing_else_is_loaded(explored):
  explorer, client = explored
  locked = type(client)(make_app(explorer._service, "secret-secret-secret", explorer))
  page = locked.call("GET", "/")
  assert page.status_code == 200
  assert "default-src 'self'" in page.headers["content-security-policy"]
  for path in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
    assert locked.call("GET", path).status_code == 200
  for path in ("/v1/about", "/v1/codes", "/v1/codes/1", "/v1/map", "/v1/neighbours/1"):
    assert locked.call("GET", path).status_code == 401, path
  assert client.call("GET", "/", headers={"Host": "evil.example"}).status_code == 421


def test_calls_are_counted_by_route(explored):
  _, client = explored
  before = client.call("GET", "/metrics").text
  explain(client, items=[1])
  for path in ("/v1/codes/1", "/v1/neighbours/1", "/v1/about", "/v1/catalogue", "/"):
    client.call("GET", path)
  after = client.call("GET", "/metrics").text
  for route in ("explain", "codes/{path}", "neighbours/{id}", "about", "catalogue"):
    line = f'sidrec_http_requests_total{{route="/v1/{route}",status="200"}}'
    counts = [re.search(rf"{re.escape(line)} (\d+)", text) for text in (before, after)]
    assert int(counts[1][1]) == (int(counts[0][1]) if counts[0] else 0) + 1, route


def test_a_server_without_an_explorer_has_no_page(served):
  _, client = served
  for path in ("/", "/explorer/app.js", "/v1/about", "/v1/codes"):
    assert client.call("GET", path).status_code == 404
  assert "/v1/codes" not in client.call("GET", "/openapi.json").json()["paths"]


def test_one_that_is_read_only_changes_nothing(explored):
  explorer, client = explored
  service = explorer._service
  reading = type(client)(make_app(service, None, Explorer(service, make_extras(), read_only=True)))
  assert reading.call("POST", "/v1/events", json={"events": []}).status_code in (404, 405)
  assert reading.call("DELETE", "/v1/items/1").status_code == 405
  assert reading.call("GET", "/v1/about").json()["read_only"] is True
  paths = reading.call("GET", "/openapi.json").json()["paths"]
  assert "/v1/events" not in paths
  assert [*paths["/v1/items/{id}"]] == ["parameters", "get"]


def test_the_document_has_every_route_and_answers_have_its_properties(explored):
  _, client = explored
  said = client.call("GET", "/openapi.json").json()
  schemas = said["components"]["schemas"]
  assert {*re.findall(r"#/components/schemas/(\w+)", json.dumps(said))} == {*schemas}
  answers = {
    ("post", "/v1/explain"): explain(client, items=[1, 2]),
    ("post", "/v1/baselines"): client.call("POST", "/v1/baselines", json={"items": [1]}).json(),
    ("get", "/v1/about"): client.call("GET", "/v1/about").json(),
    ("get", "/v1/codes"): client.call("GET", "/v1/codes").json(),
    ("get", "/v1/codes/{path}"): client.call("GET", "/v1/codes/1").json(),
    ("get", "/v1/neighbours/{id}"): client.call("GET", "/v1/neighbours/1").json(),
    ("get", "/v1/items"): client.call("GET", "/v1/items?query=thing").json(),
    ("get", "/v1/items/{id}"): client.call("GET", "/v1/items/1").json(),
    ("get", "/v1/map"): client.call("GET", "/v1/map").json(),
  }
  for (method, path), answer in answers.items():
    content = said["paths"][path][method]["responses"]["200"]["content"]
    fits(answer, content["application/json"]["schema"], schemas)


def fits(value, schema, schemas):
  """Asserts that an answer has the properties of a schema, and no others."""
  if "$ref" in schema:
    schema = schemas[schema["$ref"].rpartition("/")[2]]
  if "anyOf" in schema:
    if value is not None:
      fits(value, schema["anyOf"][0], schemas)
  elif isinstance(value, dict) and "properties" in schema:
    assert {*schema["required"]} <= {*value} <= {*schema["properties"]}
    for name, part in value.items():
      fits(part, schema["properties"][name], schemas)
  elif isinstance(value, list):
    assert schema["type"] == "array"
    for part in value:
      fits(part, schema["items"], schemas)
