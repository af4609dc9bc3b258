"""A served run that reads times, ratings and the moment of the request."""

import dataclasses
import time

import jax
import numpy as np
import pytest
from explorer_run import make_extras, make_sasrec
from http_client import Client
from timed_run import NOW, SEEN
from tiny import ROWS, make_dataset

from sidrec.data.events import Events
from sidrec.data.inputs import InputsConfig
from sidrec.search import exact
from sidrec.serving.answers import as_json, as_plain
from sidrec.serving.app import make_app
from sidrec.serving.explore import Explorer
from sidrec.serving.others import Others


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
    ratings=[*run.dataset.histories.rating_T[9 * 8 : 10 * 8].tolist(), None, 4],
    request_time=NOW,
  )
  assert [item["id"] for item in known["items"]] == expected.ids
  expected = run.recommend(items=[4], times=[NOW - 9], ratings=[2], request_time=NOW)
  assert [item["id"] for item in new["items"]] == expected.ids
  assert new["user"] == "new"
  response = client.recommend({"user": "new", "times": [1]})
  assert response.status_code == 422
  assert "times, ratings and actions go with items or titles" in response.json()["error"]


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
    ({"items": [1], "times": [5], "ratings": [10**400]}, "requests[1].ratings[0] is no number"),
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


EXPLAINED = [
  {"user": 7, "k": 5},
  {"items": [3, 8], "times": [NOW - 500, NOW - 3], "ratings": [4, None]},
  {"items": [], "temperature": 0.5},
]


@pytest.mark.parametrize("request_", EXPLAINED)
def test_explanations_are_those_of_the_library_with_the_list_of_recommend(timed, request_):
  run, service, client = timed
  asked, before = {**request_, "request_time": NOW}, service.compilations.count
  found = client.call("POST", "/v1/explain", json=asked).json()
  assert service.compilations.count == before
  same(found["answer"], run.recommend(**asked))
  search = service.catalogue.now.snapshot.search
  placed = dataclasses.replace(run, model=search.model, params=search.params, trie=search.trie)
  expected = as_plain(placed.explain(**asked))  # these are compiled already
  assert len(found["levels"]) == 2
  for mine, its in zip(found["history"], expected["history"], strict=True):
    assert mine["id"] == its["id"]
    np.testing.assert_allclose(mine["added"], its["added"], atol=1e-4)


def test_an_explanation_is_asked_for_now_or_says_what_it_lacks(timed):
  _, _, client = timed
  explain = lambda **request: client.call("POST", "/v1/explain", json=request)
  assert abs(explain(user=3).json()["answer"]["asked_at"] - time.time()) < 60
  unread = {"items": ROWS[3][:7], "times": [9, *range(6)], "ratings": [None] * 7}
  for request_, sentence in (
    ({"items": [1]}, "request: this model reads times (model.inputs); give times"),
    ({"items": [1], "times": [5], "ratings": [77]}, "request: a rating is 77"),
    ({"user": 3, "request_time": 1}, "before its newest event"),
    ({"user": 3, "times": [1]}, "a user of the run has their own"),
    (unread, "times of history"),  # the first is read where another is left out
  ):
    response = explain(**request_)
    assert (response.status_code, sentence in response.json()["error"]) == (422, True), (
      response.text
    )
  assert client.recommend(unread).status_code == 200


def test_sasrec_reads_the_same_events(timed):
  _, service, _ = timed
  inputs = InputsConfig(gap=True, rating=True, request_time="known")
  explorer = Explorer(service, make_extras(sasrec=make_sasrec(30, inputs)))
  client, (model, params) = Client(make_app(service, explorer=explorer)), explorer._others._sasrec
  explorer._others.start()
  before = service.compilations.count
  asked = {"items": [3, 8], "times": [NOW - 500, NOW - 3], "ratings": [4, None]}

  def lists(**changes):
    body = {**asked, "request_time": NOW, "k": 6, **changes}
    systems = client.call("POST", "/v1/baselines", json=body).json()["systems"]
    return {one["name"]: [item["id"] for item in one["items"]] for one in systems}

  found, filled = lists(), lambda *some: np.array([[*some, *[0] * 6]])
  assert service.compilations.count == before
  items = np.array([[3, 8, *[-1] * 6]])
  events = Events.of(items, filled(NOW - 500, NOW - 3), filled(4, np.nan).astype(np.float32), NOW)
  ranked = jax.jit(lambda *args: exact.recommend(model, *args[:2], 6, args[2]))
  best = ranked(params, events, np.array([[3, 8]], np.int32))
  assert found["SASRec"] == best.item_BxK[0].tolist()
  for changes in ({"ratings": [1, 5]}, {"times": [5, NOW - 3]}, {"request_time": NOW + 10**7}):
    other = lists(**changes)
    assert other["SASRec"] != found["SASRec"]
    assert other["item-kNN"] == found["item-kNN"]
  assert len(lists(items=[], times=[], ratings=[])["SASRec"]) == 6
  user = client.call("POST", "/v1/baselines", json={"user": 7, "k": 6}).json()["systems"]
  assert len(user[1]["items"]) == 6
  late = {"items": ROWS[3], "times": [9, *range(7)], "ratings": [1] * 8}  # it reads all of these
  assert client.call("POST", "/v1/baselines", json=late).status_code == 422


def test_sasrec_that_reads_more_than_requests_give_is_missing():
  gap, rating = {"gap": True}, {"rating": True}
  for reads, given, what in (
    (gap, rating, "times"),
    (rating, gap, "ratings"),
    ({**gap, "request_time": "known"}, gap, "the request's time"),
  ):
    sasrec = make_sasrec(30, InputsConfig(**reads))
    others = Others(make_dataset(), sasrec, InputsConfig(**given))
    assert others._sasrec == f"this run's SASRec reads {what}, and requests have none"
    assert Others(make_dataset(), sasrec, InputsConfig(**reads))._sasrec is sasrec


def test_the_page_hears_what_is_read(timed, served):
  about = lambda service: Explorer(service, make_extras()).about()["inputs"]
  no_actions = {"actions": []}
  assert about(timed[1]) == {"times": True, "request_time": True, "ratings": SEEN, **no_actions}
  assert about(served[0]) == {"times": False, "request_time": False, "ratings": [], **no_actions}


def test_new_items_are_found_with_times_too(timed):
  """A change of the catalogue is checked by searches, which need times as requests do."""
  _, _, client = timed
  version = client.call("GET", "/v1/catalogue").json()["version"]
  response = client.call("POST", "/v1/catalogue", json={"remove": [11], "base": version})
  assert response.status_code == 200, response.text
  (result,) = client.recommend({"user": 3, "k": 10}).json()["results"]
  assert 11 not in [item["id"] for item in result["items"]]
  assert np.isfinite([item["score"] for item in result["items"]]).all()
  base = {"base": response.json()["version"]}
  assert client.call("POST", "/v1/catalogue/rollback", json=base).json()["version"] == version
