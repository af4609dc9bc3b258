"""Bodies are read strictly."""

import json

import pytest
from hypothesis import given, settings
from json_bodies import BODIES

from sidrec.serving.bodies import RequestError, events_of, parsed, requests_of
from sidrec.serving.settings import Limits

LIMITS = Limits(requests=3, history=4, events=3, listed=5, text=8)


def refusal(read, body):
  with pytest.raises(RequestError) as raised:
    read(parsed(body if isinstance(body, bytes) else json.dumps(body).encode()), LIMITS)
  assert "\n" not in raised.value.sentence
  return raised.value.status, raised.value.sentence


@pytest.mark.parametrize(
  ("body", "words"),
  [
    (b"", "no JSON"),
    (b"{", "no JSON"),
    (b"\xff\xfe", "not UTF-8"),
    (b'{"requests": NaN}', "NaN is no JSON"),
    (b'{"requests": [], "requests": []}', "given twice"),
    (b"[" * 100_000, "too deeply"),
    (b'{"requests": [{"user": ' + b"9" * 5000 + b"}]}", "cannot be read"),
  ],
)
def test_what_is_no_json(body, words):
  status, sentence = refusal(requests_of, body)
  assert (status, words in sentence) == (400, True), sentence


@pytest.mark.parametrize(
  ("body", "words"),
  [
    ([], "the body is no object"),
    ({}, "requests is no list"),
    ({"requests": [], "more": 1}, "the body has 'more'"),
    ({"requests": [{"items": []}] * 4}, "requests holds 4; give at most 3"),
    ({"requests": [3]}, r"requests[0] is no object"),
    ({"requests": [{}]}, "needs exactly one of user, items, titles"),
    ({"requests": [{"user": 1, "items": []}]}, "needs exactly one of"),
    ({"requests": [{"user": True}]}, "requests[0].user is neither text nor a whole number"),
    ({"requests": [{"user": 1.5}]}, "neither text nor"),
    ({"requests": [{"user": None}]}, "neither text nor"),
    ({"requests": [{"user": ""}]}, "has 0 characters"),
    ({"requests": [{"user": "123456789"}]}, "has 9 characters; give 1 to 8"),
    ({"requests": [{"user": "\ud800"}]}, "characters that no text has"),
    ({"requests": [{"user": "a\0"}]}, "characters that no text has"),
    ({"requests": [{"user": 10**30}]}, "too large for an id"),
    ({"requests": [{"items": [1, [2]]}]}, "requests[0].items[1] is neither"),
    ({"requests": [{"items": {}}]}, "requests[0].items is no list"),
    ({"requests": [{"items": [1] * 5}]}, "holds 5; give at most 4"),
    ({"requests": [{"titles": [3]}]}, "requests[0].titles[0] is neither"),
    ({"requests": [{"items": [], "k": 0}]}, "k is 0"),
    ({"requests": [{"items": [], "k": True}]}, "k is no whole number"),
    ({"requests": [{"items": [], "k": 2.0}]}, "k is no whole number"),
    ({"requests": [{"items": [], "exclude_seen": 1}]}, "exclude_seen is 1"),
    ({"requests": [{"items": [], "forbidden": None}]}, "forbidden is no list"),
    ({"requests": [{"items": [], "forbidden": [1] * 6}]}, "holds 6; give at most 5"),
    ({"requests": [{"items": [], "temperature": 0}]}, "temperature is 0"),
    ({"requests": [{"items": [], "temperature": 10**400}]}, "temperature is"),
    ({"requests": [{"items": [], "temperature": "1"}]}, "temperature is '1'"),
    ({"requests": [{"items": [], "explain": True}]}, "requests[0] has 'explain'"),
  ],
)
def test_requests_that_make_no_sense(body, words):
  status, sentence = refusal(requests_of, body)
  assert (status, words in sentence) == (422, True), sentence


@pytest.mark.parametrize(
  ("event", "words"),
  [
    ({"user": 1}, "events[0].item is neither"),
    ({"user": 1, "item": 2, "time": "now"}, "time is no number"),
    ({"user": 1, "item": 2, "time": -1}, "time is no number"),
    ({"user": 1, "item": 2, "time": True}, "time is no number"),
    ({"user": 1, "item": 2, "rating": "good"}, "events[0].rating is no number"),
    ({"user": 1, "item": 2, "rating": 10**400}, "events[0].rating is no number"),
  ],
)
def test_events_that_make_no_sense(event, words):
  status, sentence = refusal(events_of, {"events": [event]})
  assert (status, words in sentence) == (422, True), sentence


def test_what_is_understood():
  asked = requests_of(
    {"requests": [{"user": 7, "k": 3}, {"items": ["a", 2], "allowed": None}, {"titles": []}]},
    LIMITS,
  )
  assert [(one.whom, one.value) for one in asked] == [
    ("user", 7),
    ("items", ["a", 2]),
    ("titles", []),
  ]
  assert (asked[0].wanted.k, asked[1].wanted.allowed) == (3, None)
  (event,) = events_of({"events": [{"user": 7, "item": "a", "time": 5}]}, LIMITS)
  assert event == ("7", "a", 5.0, None, None)
  (event,) = events_of({"events": [{"user": 7, "item": "a", "time": 5, "action": "buy"}]}, LIMITS)
  assert event.action == "buy"


@settings(max_examples=150)
@given(BODIES)
def test_nothing_else_than_a_refusal_comes_of_a_wrong_body(body):
  encoded, statuses = json.dumps(body).encode(), []
  for read in (requests_of, events_of):
    try:
      read(parsed(encoded), LIMITS)
    except RequestError as error:
      statuses.append(error.status)
  assert all(400 <= status < 500 for status in statuses)
