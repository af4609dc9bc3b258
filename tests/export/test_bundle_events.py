"""Bundles of models that read times, ratings and actions."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from export_run import make_run
from tiny import ROWS, make_histories

from sidrec.data.events import Events
from sidrec.data.inputs import InputsConfig, KnownInputs
from sidrec.data.user_attributes import Attribute
from sidrec.export import consumer_events
from sidrec.export.agreement import _events, _questions
from sidrec.export.bundle import _reads
from sidrec.export.programs import Searched, Widths, columns_read, exported, widths_of
from sidrec.models.settings import RecommenderConfig
from sidrec.search.questions import histories_of
from sidrec.search.settings import SearchConfig

NOW = 1_300_000_000
ALL = InputsConfig(gap=True, time_bias=True, rating=True, request_time="known", rating_step=0.5)
ACTIONS = InputsConfig(rating=True, actions=("view", "buy"))
EARLIER = InputsConfig(earlier=5)
KNOWN = (Attribute("job", ("baker", "cook")), Attribute("age", None, (20.0, 30.5)))
USERS = KnownInputs(rating=True, user_attributes=("job", "age"), known=KNOWN)
KINDS = [ALL, InputsConfig(gap=True), InputsConfig(rating=True), ACTIONS, EARLIER, USERS]


def model_of(inputs):
  """What is asked of a model here; no parameters are made."""
  return SimpleNamespace(
    config=RecommenderConfig(history_length=6, inputs=inputs, repeats=inputs.earlier > 0)
  )


def manifest_of(model):
  return {"reads": _reads(model), "history_length": model.config.history_length}


@pytest.mark.parametrize("inputs", KINDS)
def test_arrays_are_those_of_the_run(inputs):
  model, histories = model_of(inputs), make_histories(ROWS)
  search = SimpleNamespace(model=model, num_items=30, search_config=SearchConfig())
  widths = Widths(9, 64, False)  # more than the model reads
  questions = _questions(np.random.default_rng(3), widths, search, histories)
  expected = histories_of(questions, 6, 6, model.config)
  assert isinstance(expected, Events)
  rows, names = [q.history_S.tolist() for q in questions], [*columns_read(model)]
  found = consumer_events.columns(manifest_of(model), rows, (6, 6), **_events(questions, inputs))
  assert names == [name for name in Events._fields[1:] if getattr(expected, name) is not None]
  for name, array in zip(names, found, strict=True):
    np.testing.assert_array_equal(array, getattr(expected, name))
    assert array.dtype == getattr(expected, name).dtype


@pytest.mark.parametrize(
  ("events", "message"),
  [
    ({"ratings": [[5]]}, "this model reads times; give a list for each history"),
    ({"times": [[5]]}, "this model reads ratings; give a list"),
    ({"times": [[5, 6]], "ratings": [[5]]}, "times are lists of other lengths"),
    ({"times": [[math.nan]], "ratings": [[5]]}, "give seconds since 1970"),
    ({"times": [[5]], "ratings": [[5.2]]}, "a rating is 5.2; give a multiple of 0.5 from 0 to 7"),
    ({"times": [[5]], "ratings": [[math.inf]]}, "a rating is inf"),
    ({"times": [[5]], "ratings": [[1]], "request_times": [4]}, "a history that ends before"),
    ({"times": [[5]], "ratings": [[1]], "request_times": [5.5]}, "give whole seconds"),
    ({"times": [[5]], "ratings": [[1]], "request_times": [2**40]}, "at most 68 years"),
  ],
)
def test_what_cannot_be_is_refused(events, message):
  manifest = manifest_of(model_of(ALL))
  with pytest.raises(ValueError, match=message):
    consumer_events.columns(manifest, [[3]], (4, 6), **events)
  with pytest.raises(ValueError, match="times decrease"):
    consumer_events.columns(manifest, [[3, 4]], (4, 6), times=[[6, 5]], ratings=[[1, None]])
  with pytest.raises(TypeError, match="stars"):
    consumer_events.columns(manifest, [[3]], (4, 6), stars=[[1]])


def test_actions_that_a_bundle_does_not_know_are_refused():
  manifest = manifest_of(model_of(ACTIONS))
  with pytest.raises(ValueError, match="an action is 'bye'; there are view, buy, and None"):
    consumer_events.columns(manifest, [[3]], (4, 6), ratings=[[None]], actions=[["bye"]])
  with pytest.raises(ValueError, match="this model reads actions; give a list for each history"):
    consumer_events.columns(manifest, [[3]], (4, 6), ratings=[[None]])
  with pytest.raises(ValueError, match="this model reads no actions; leave them out"):
    consumer_events.columns(
      manifest_of(model_of(ALL)), [[3]], (4, 6), times=[[5]], ratings=[[1]], actions=[["buy"]]
    )


def test_attributes_of_users_are_read_as_the_run_reads_them():
  manifest = json.loads(json.dumps(manifest_of(model_of(USERS))))
  given = [
    {"job": "cook", "age": 20}, {"job": "pope", "age": 19.9}, {"age": 30.5}, {"age": math.nan},
    None, {"age": 10**400, "job": 10**400}, {"age": -1e300},
  ]  # fmt: skip
  found = consumer_events.columns(manifest, [[]] * 7, (8, 6), ratings=[[]] * 7, attributes=given)[
    -1
  ]
  assert found.tolist() == [[2, 2], [0, 1], [0, 3], *[[0, 0]] * 5]
  assert found[:7].tolist() == [list(USERS.given_user(one)) for one in given]
  for wrong, message in (
    ({"wage": 3}, "reads no attribute 'wage'; there are job, age"),
    ({"age": "old"}, "attribute 'age' is 'old'; give a number"),
    ({"job": True}, "attribute 'job' is True; give text"),
  ):
    with pytest.raises(ValueError, match=message):
      consumer_events.columns(manifest, [[3]], (4, 6), ratings=[[1]], attributes=[wrong])
  manifest = manifest_of(model_of(ACTIONS))
  with pytest.raises(ValueError, match="reads nothing of users; leave attributes out"):
    consumer_events.columns(manifest, [[]], (4, 6), ratings=[[]], actions=[[]], attributes=[{}])


def test_a_program_takes_them_for_any_number_of_requests():
  pytest.importorskip("flatbuffers")
  run = make_run(inputs=ALL)
  searched = Searched(run.model, run.params, run.trie, run.search)
  program = jax.export.deserialize(bytearray(exported(searched, widths_of(searched)[0], "x")))
  assert [str(x) for x in program.in_avals[-4:]] == [
    "float32[b]",
    "int32[b,6]",
    "int32[b,6]",
    "float32[b,6]",
  ]


@pytest.mark.slow
@pytest.mark.parametrize("inputs", KINDS)
def test_without_sidrec_it_answers_as_the_run_does(tmp_path, inputs):
  pytest.importorskip("flatbuffers")
  run = make_run(inputs=inputs, repeats=inputs.earlier > 0)
  run.export(tmp_path / "bundle")
  histories = [ROWS[n % 60][: n % 9] for n in range(20)]
  histories[0] = ROWS[1] + ROWS[2]  # more than is read
  times = [[NOW + 5000 * n * n for n, _ in enumerate(row)] for row in histories]
  ratings = [[None if item % 4 == 0 else item % 5 for item in row] for row in histories]
  given = {"times": times} if inputs.times else {}
  given |= {"ratings": ratings} if inputs.rating else {}
  actions = [[(None, "view", "buy")[item % 3] for item in row] for row in histories]
  given |= {"actions": actions} if inputs.actions else {}
  users = [{"job": (None, "cook", "pope")[n % 3], "age": 5 * n} for n in range(20)]
  given |= {"attributes": users} if inputs.user_attributes else {}
  at = {"request_times": [NOW + 10**6] * 20} if inputs.asks else {}
  alone = [sys.executable, Path(__file__).with_name("alone.py"), tmp_path / "bundle"]
  done = subprocess.run(
    alone,
    input=json.dumps([{"histories": histories, "k": 7, **given, **at}]),
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, "PYTHONPATH": ""},
  )
  assert not done.returncode, done.stderr
  (answers,) = json.loads(done.stdout)
  asked = {"request_time": NOW + 10**6} if inputs.asks else {}
  expected = run.recommend(histories=histories, k=7, **given, **asked)
  assert [[item["id"] for item in found] for found in answers] == [a.ids for a in expected]
  for found, answer in zip(answers, expected, strict=True):
    scores = [item.score for item in answer.items]
    np.testing.assert_allclose([item["score"] for item in found], scores, rtol=1e-4)
