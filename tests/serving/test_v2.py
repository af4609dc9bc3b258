"""The Open Inference Protocol: the same answers in tensors."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from json_bodies import JSON

from sidrec.serving.v2 import MISSING

INFER = "/v2/models/sidrec/infer"


def tensor(name, shape, data, datatype="BYTES", **more):
  return {"name": name, "datatype": datatype, "shape": shape, "data": data, **more}


def inferred(client, *inputs, **more):
  return client.call("POST", INFER, json={"inputs": list(inputs), **more})


def outputs(response):
  assert response.status_code == 200, response.text
  return {one["name"]: one for one in response.json()["outputs"]}


def rows(output):
  count, width = output["shape"]
  return [output["data"][at * width : (at + 1) * width] for at in range(count)]


def answers(client, *requests):
  return client.recommend(*requests).json()


@pytest.mark.parametrize(
  ("given_tensor", "requests"),
  [
    (tensor("items", [2, 3], ["1", "2", "3", "4", "", ""]), [[1, 2, 3], [4]]),
    (tensor("items", [2, 3], [[1, 2, 3], [4, -1, -1]], "INT64"), [[1, 2, 3], [4]]),
    (tensor("items", [1, 0], []), [[]]),
  ],
)
def test_tensors_of_items_get_the_answers_of_lists(served, given_tensor, requests):
  _, client = served
  response = inferred(client, given_tensor, id="a1", parameters={"k": 5, "temperature": 2.0})
  found = outputs(response)
  expected = answers(client, *({"items": items, "k": 5, "temperature": 2.0} for items in requests))
  assert response.json()["parameters"] == {"catalogue": expected["catalogue"]}
  assert (response.json()["id"], response.json()["model_name"]) == ("a1", "sidrec")
  lists = [result["items"] for result in expected["results"]]
  assert rows(found["ids"]) == [[str(item["id"]) for item in items] for items in lists]
  assert rows(found["titles"]) == [[item["title"] for item in items] for items in lists]
  for mine, items in zip(rows(found["scores"]), lists, strict=True):
    assert mine == pytest.approx([item["score"] for item in items], abs=1e-4)
  assert found["count"] == {
    **{"name": "count", "datatype": "INT64"},
    **{"shape": [len(lists)], "data": [5] * len(lists)},
  }


def test_users_titles_and_lists(served):
  _, client = served
  found = outputs(inferred(client, tensor("user", [2, 1], [3, 4], "INT64")))
  expected = answers(client, {"user": 3}, {"user": 4})["results"]
  assert rows(found["ids"]) == [[str(item["id"]) for item in one["items"]] for one in expected]
  found = outputs(
    inferred(
      client,
      tensor("titles", [2, 1], ["Twin", "thing 3"]),
      tensor("allowed", [2, 3], [5, 6, 7, 8, -1, -1], "INT64"),
      tensor("forbidden", [2, 1], [5, -1], "INT64"),
      outputs=[{"name": "ids"}, {"name": "scores"}],
    )
  )
  assert [*found] == ["ids", "scores"]
  assert [{*row} for row in rows(found["ids"])] == [{"6", "7"}, {"8", ""}]
  assert rows(found["ids"])[1] == ["8", ""]
  assert rows(found["scores"])[1][1] == MISSING


def test_categories(served):
  client = served[1]
  found = inferred(
    client,
    tensor("items", [2, 1], ["7", "7"]),
    tensor("categories", [2, 2], ["a", "b", "", ""]),
    tensor("forbidden_categories", [2, 1], ["b", ""]),
  )
  by_list = {"items": ["7"], "categories": ["a", "b"], "forbidden_categories": ["b"]}
  expected = answers(client, by_list, {"items": ["7"]})["results"]
  found = outputs(found)
  for mine, count, its in zip(rows(found["ids"]), found["count"]["data"], expected, strict=True):
    assert mine[:count] == [str(item["id"]) for item in its["items"]]


def test_metadata_and_health(served, monkeypatch):
  service, client = served
  assert client.call("GET", "/v2").json()["name"] == "sidrec"
  assert client.call("GET", "/v2/health/live").json() == {"live": True}
  assert client.call("GET", "/v2/health/ready").json() == {"ready": True}
  ready = client.call("GET", "/v2/models/sidrec/ready").json()
  assert ready == {"name": "sidrec", "ready": True}
  described = client.call("GET", "/v2/models/sidrec").json()
  assert [one["name"] for one in described["outputs"]] == ["ids", "titles", "scores", "count"]
  assert described["parameters"] == {"most_results": 20}
  assert client.call("GET", "/v2/models/other").status_code == 404
  monkeypatch.setattr(service, "draining", True)
  assert client.call("GET", "/v2/health/ready").status_code == 503
  assert client.call("GET", "/v2/models/sidrec/ready").status_code == 503


ITEMS = tensor("items", [1, 1], ["1"])


@pytest.mark.parametrize(
  ("body", "words"),
  [
    ({}, "inputs is no list"),
    ({"inputs": []}, "exactly one of user, items, titles"),
    ({"inputs": [ITEMS, tensor("user", [1], ["3"])]}, "exactly one of user, items, titles"),
    ({"inputs": [ITEMS, ITEMS]}, "each given once"),
    ({"inputs": [tensor("age", [1], ["1"])]}, "inputs[0].name is none of"),
    ({"inputs": [tensor("items", [1], ["1"])]}, "has 1 dimensions and not 2"),
    ({"inputs": [tensor("items", [1, 2], ["1"])]}, "holds 1 values, and its shape 2"),
    ({"inputs": [tensor("items", [1, -1], ["1"])]}, "shape is no list of whole numbers"),
    ({"inputs": [tensor("items", [1, 1], [1])]}, "holds other values than BYTES"),
    ({"inputs": [tensor("items", [1, 1], [True], "INT64")]}, "holds other values than INT64"),
    ({"inputs": [tensor("items", [1, 1], [1.0], "FP32")]}, "neither BYTES nor, for ids, INT64"),
    ({"inputs": [tensor("titles", [1, 1], [1], "INT64")]}, "neither BYTES nor, for ids, INT64"),
    ({"inputs": [tensor("items", [2, 1], [["1"], "2"])]}, "mixes values and lists"),
    ({"inputs": [tensor("items", [1, 1], [[["1"]]])]}, "nested too deeply"),
    ({"inputs": [tensor("items", [65, 0], [])]}, "give at most 64"),
    ({"inputs": [{**ITEMS, "parameters": {"binary_data_size": 3}}]}, "no extension is known"),
    ({"inputs": [ITEMS, tensor("allowed", [2, 1], ["1", "2"])]}, "the number of requests"),
    ({"inputs": [ITEMS], "parameters": {"beams": 3}}, "there are k, exclude_seen, temperature"),
    ({"inputs": [ITEMS], "parameters": {"k": 99}}, "this run finds at most 20"),
    ({"inputs": [ITEMS], "outputs": [{"name": "logits"}]}, "none of ids, titles, scores, count"),
    ({"inputs": [ITEMS], "outputs": []}, "leave it out for all"),
    ({"inputs": [ITEMS], "id": 3}, "id is no text"),
    ({"inputs": [ITEMS], "more": 3}, "there are id, parameters, inputs, outputs"),
  ],
)
def test_what_makes_no_sense_is_refused(served, body, words):
  response = served[1].call("POST", INFER, json=body)
  assert response.status_code == 422, response.text
  assert words in response.json()["error"]


# Users' attributes.


LOWEST = -3.4028235e38  # the lowest float32, as programs write it that have no doubles


def test_attributes_get_the_answers_of_v1(attributed):
  run, _, client = attributed
  found = inferred(
    client,
    tensor("items", [4, 2], ["3", "7"] * 4),
    tensor("attributes.job", [4], ["cook", "baker", "", "pope"]),
    tensor("attributes.age", [4, 1], [30, MISSING, LOWEST, 41.5], "FP32"),
    parameters={"k": 5},
  )
  said = [{"job": "cook", "age": 30}, {"job": "baker"}, {}, {"job": "pope", "age": 41.5}]
  requests = [{"items": [3, 7], "attributes": one, "k": 5} for one in said]
  expected = answers(client, *requests)["results"]
  found = outputs(found)
  for ids, scores, its in zip(rows(found["ids"]), rows(found["scores"]), expected, strict=True):
    assert ids == [str(item["id"]) for item in its["items"]]
    assert scores == pytest.approx([item["score"] for item in its["items"]], abs=1e-4)
  mine = run.recommend(items=[3, 7], attributes=said[0], k=5)
  assert rows(found["ids"])[0] == [str(item) for item in mine.ids]
  lists = {str(scores) for scores in rows(found["scores"])}
  assert len(lists) == 4  # each of them counts


def test_who_says_nothing_is_answered_as_in_v1(attributed):
  _, _, client = attributed
  for given_tensor, request in (
    (tensor("items", [1, 2], ["3", "7"]), {"items": ["3", "7"]}),
    (tensor("user", [1], ["7"]), {"user": "7"}),
    (tensor("titles", [1, 1], ["title 3"]), {"titles": ["title 3"]}),
  ):
    found, expected = outputs(inferred(client, given_tensor)), answers(client, request)["results"]
    assert rows(found["ids"])[0] == [str(item["id"]) for item in expected[0]["items"]]
    scores = [item["score"] for item in expected[0]["items"]]
    assert rows(found["scores"])[0] == pytest.approx(scores, abs=1e-4)


def test_users_of_the_run_stand_among_others_and_keep_their_own(attributed):
  _, _, client = attributed
  events = [{"user": "new", "item": 4}]
  assert client.call("POST", "/v1/events", json={"events": events}).status_code == 200
  who = tensor("user", [2], ["7", "new"])
  found = outputs(inferred(client, who, tensor("attributes.job", [2], ["", "cook"])))
  requests = {"user": "7"}, {"user": "new", "attributes": {"job": "cook"}}
  expected = answers(client, *requests)["results"]
  assert rows(found["ids"]) == [[str(item["id"]) for item in one["items"]] for one in expected]
  unsaid = answers(client, {"user": "new"})["results"][0]
  assert unsaid["items"] != expected[1]["items"]
  refused = inferred(client, who, tensor("attributes.job", [2], ["baker", "cook"]))
  assert refused.status_code == 422
  assert "requests[0]: attributes go with items or titles" in refused.json()["error"]


def test_the_metadata_name_what_is_read_of_users(attributed, served):
  names = ("user", "items", "titles", "forbidden", "allowed", "categories", "forbidden_categories")
  described = attributed[2].call("GET", "/v2/models/sidrec").json()["inputs"]
  assert described[: len(names)] == served[1].call("GET", "/v2/models/sidrec").json()["inputs"]
  assert described[len(names) :] == [
    {"name": "attributes.job", "datatype": "BYTES", "shape": [-1]},
    {"name": "attributes.age", "datatype": "FP32", "shape": [-1]},
  ]
  schemas = attributed[2].call("GET", "/openapi.json").json()["components"]["schemas"]
  one = schemas["Inference"]["properties"]["inputs"]
  assert one["items"]["properties"]["name"]["enum"] == [*names, "attributes.job", "attributes.age"]
  assert one["items"]["properties"]["datatype"]["enum"] == ["BYTES", "INT64", "FP32"]
  assert one["maxItems"] == 7


@pytest.mark.parametrize(
  ("given_tensor", "words"),
  [
    (tensor("attributes.wage", [1], ["3"]), "attributes.job, attributes.age, each given once"),
    (tensor("attributes.age", [1], ["3"]), "datatype is not FP32, as attributes.age is"),
    (tensor("attributes.job", [1], [3], "INT64"), "datatype is not BYTES, as attributes.job is"),
    (tensor("attributes.job", [1, 2], ["cook", "x"]), "has 2 dimensions and not 1"),
    (tensor("attributes.job", [2], ["cook", "x"]), "the number of requests"),
    (tensor("attributes.age", [1], [True], "FP32"), "holds other values than FP32"),
    (tensor("attributes.age", [1], [None], "FP32"), "holds other values than FP32"),
    (tensor("attributes.job", [1], ["x" * 600]), "requests[0].attributes.job has 600 characters"),
  ],
)
def test_attributes_that_make_no_sense_are_refused(attributed, given_tensor, words):
  response = inferred(attributed[2], ITEMS, given_tensor)
  assert response.status_code == 422, response.text
  assert words in response.json()["error"]


def test_numbers_without_an_end_are_unknown_or_refused(attributed):
  client = attributed[2]
  unknown = outputs(inferred(client, ITEMS))
  for value in (10**400, -(10**400)):
    found = outputs(inferred(client, ITEMS, tensor("attributes.age", [1], [value], "FP32")))
    assert found["ids"] == unknown["ids"]
  content = json.dumps({"inputs": [ITEMS, tensor("attributes.age", [1], ["?"], "FP32")]})
  headers = {"Content-Type": "application/json"}
  for text, status in (("NaN", 400), ("1e999", 422)):
    body = content.replace('"?"', text).encode()
    assert client.call("POST", INFER, content=body, headers=headers).status_code == status


def test_a_model_that_reads_nothing_of_users_has_no_tensor_for_it(served):
  response = inferred(served[1], ITEMS, tensor("attributes.job", [1], ["cook"]))
  assert response.status_code == 422
  assert "inputs[1].name is none of user, items, titles" in response.json()["error"]


TENSOR = st.fixed_dictionaries(
  {
    "name": st.sampled_from(["items", "user", "titles", "allowed"]) | JSON,
    "datatype": st.sampled_from(["BYTES", "INT64"]) | JSON,
    "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
    "data": st.lists(st.integers() | st.text(max_size=3), max_size=4) | JSON,
  }
)


@settings(max_examples=60)
@given(st.lists(TENSOR, max_size=2) | JSON, JSON)
def test_no_tensor_breaks_the_server(served, inputs, more):
  content = json.dumps({"inputs": inputs, "parameters": more}).encode()
  headers = {"Content-Type": "application/json"}
  response = served[1].call("POST", INFER, content=content, headers=headers)
  assert response.status_code in (200, 400, 404, 422), response.text
