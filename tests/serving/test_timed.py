"""A served run that reads times, ratings and the moment of the request."""

import time

import numpy as np
import pytest
from http_client import Client
from tiny import ROWS, all_codes, init_params, make_dataset, make_model

import sidrec
from sidrec.data.events import InputsConfig
from sidrec.run.settings import RunConfig
from sidrec.search.settings import SearchConfig
from sidrec.serving.app import make_app
from sidrec.serving.service import Service, as_json
from sidrec.serving.store_sqlite import SQLiteStore

NOW = 1_300_000_000


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
  """(run, service, client); the run has random parameters."""
  codes = all_codes(2, 6)[:30]
  inputs = InputsConfig(gap=True, time_bias=True, rating=True, request_time="known")
  model, trie, path = make_model(codes, history_length=6, inputs=inputs)
  config = RunConfig(model=model.config, search=SearchConfig(beams=10))
  ids = sidrec.SemanticIDManager.from_codes(codes, 6)
  params = init_params(model, trie, path, scale=3.0)
  run = sidrec.TrainedRun(config, make_dataset(), ids, model, params, trie)
  service = Service(run, SQLiteStore(tmp_path_factory.mktemp("store") / "events.sqlite"), room=2)
  service.catalogue.now.snapshot.search.batches = (1, 4)
  service.start()
  yield run, service, Client(make_app(service))
  service.stop()


def same(result, answer):
  expected = as_json(answer)
  for mine, its in zip(result["items"], expected["items"], strict=True):
    assert mine["id"] == its["id"]
    assert mine["score"] == pytest.approx(its["score"], abs=1e-4)
  assert {**result, "items": []} == {**expected, "items": []}


def test_answers_are_those_of_the_library(timed):
  run, service, client = timed
  before = service.compilations.count
  asked = [
    {"user": 7, "request_time": NOW},
    {"items": [3, 8], "times": [NOW - 500, NOW - 3], "ratings": [4, None], "request_time": NOW},
    {"items": [], "request_time": NOW},
    {"titles": ["title 3"], "times": [NOW - 5.5], "ratings": [1], "request_time": NOW},
  ]
  response = client.recommend(*asked)
  assert response.status_code == 200, response.text
  assert service.compilations.count == before
  for request, result in zip(asked, response.json()["results"], strict=True):
    same(result, run.recommend(**request))
    assert result["asked_at"] == NOW


def test_events_bring_their_times_and_ratings_and_are_read_in_order(timed):
  run, _, client = timed
  events = [
    {"user": 9, "item": 5, "time": NOW - 60, "rating": 4},
    {"user": 9, "item": 2, "time": NOW - 90},  # came later, and happened before
    {"user": "new", "item": 4, "time": NOW - 9, "rating": 2},
  ]
  assert client.call("POST", "/v1/events", json={"events": events}).status_code == 200
  asked = [{"user": 9, "request_time": NOW}, {"user": "new", "request_time": NOW}]
  known, new = client.recommend(*asked).json()["results"]
  times = run.dataset.histories.time_T[9 * 8 : 10 * 8].tolist()
  expected = run.recommend(
    items=[*ROWS[9], 2, 5],
    times=[*times, NOW - 90, NOW - 60],
    ratings=[*[None] * 8, None, 4],
    request_time=NOW,
  )
  assert [item["id"] for item in known["items"]] == expected.ids
  expected = run.recommend(items=[4], times=[NOW - 9], ratings=[2], request_time=NOW)
  assert [item["id"] for item in new["items"]] == expected.ids
  assert new["user"] == "new"
  response = client.recommend({"user": "new", "times": [1]})
  assert response.status_code == 422
  assert "times and ratings go with items or titles" in response.json()["error"]


def test_a_request_is_made_now(timed):
  _, _, client = timed
  (result,) = client.recommend({"user": 3}).json()["results"]
  assert abs(result["asked_at"] - time.time()) < 60


@pytest.mark.parametrize(
  ("request_", "sentence"),
  [
    ({"items": [1]}, r"requests[1]: this model reads times (model.inputs); give times"),
    ({"items": [1], "times": [5, 6], "ratings": [1]}, "2 times are given for 1 items"),
    ({"items": [1, 2], "times": [6, 5], "ratings": [1, 1]}, "times of history 0 decrease"),
    ({"items": [1], "times": [5], "ratings": [77]}, "a rating is 77"),
    ({"items": [1], "times": [None], "ratings": [1]}, "requests[1].times[0] is no number"),
    ({"items": [1], "times": 5}, "requests[1].times is no list"),
    ({"user": 3, "request_time": 1}, "before its newest event"),
    ({"user": 3, "request_time": 1.5}, "requests[1].request_time is no whole number"),
    ({"user": 3, "times": [1]}, "a user of the run has their own"),
  ],
)
def test_what_cannot_be_is_refused_and_harms_nobody_else(timed, request_, sentence):
  _, _, client = timed
  response = client.recommend({"user": 3, "request_time": NOW}, request_)
  assert response.status_code == 422
  assert sentence in response.json()["error"]


def test_explanations_say_that_there_are_none(timed):
  _, _, client = timed
  response = client.call("POST", "/v1/explain", json={"user": 3})
  assert response.status_code == 422
  assert "searches are explained for items alone" in response.json()["error"]


def test_new_items_are_found_with_times_too(timed):
  """A change of the catalogue is checked by searches, which need times as requests do."""
  _, _, client = timed
  version = client.call("GET", "/v1/catalogue").json()["version"]
  response = client.call("POST", "/v1/catalogue", json={"remove": [11], "base": version})
  assert response.status_code == 200, response.text
  (result,) = client.recommend({"user": 3, "k": 10}).json()["results"]
  assert 11 not in [item["id"] for item in result["items"]]
  assert np.isfinite([item["score"] for item in result["items"]]).all()
