"""What is known of users through every stage, to what a library, a command and a server answer."""

import json

import numpy as np
import polars as pl
import pytest
from attributed import NAMES, known_of, make_config, table
from http_client import Client
from tiny import ROWS

import sidrec
from sidrec.export import consumer_events
from sidrec.export.bundle import _reads
from sidrec.run import recommend
from sidrec.run.prepare import PREPARE, load_prepared
from sidrec.run.recommend import Request
from sidrec.run.settings import run_config
from sidrec.run.stage import find
from sidrec.run.stages import run_to
from sidrec.run.train import KNOWN
from sidrec.serving.app import make_app
from sidrec.serving.service import Service
from sidrec.serving.store_sqlite import SQLiteStore
from sidrec.update.update import update


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("attributes")
  config = make_config(folder)
  return config, folder, run_to("train", config, folder)


@pytest.fixture(scope="module")
def trained(run):
  return sidrec.load(run[1])


def scores(answer):
  return [item.score for item in answer.items]


def test_the_run_keeps_what_training_met(run, trained):
  content = json.loads(run[2]["train"].file(KNOWN).read_text())
  assert content == [
    {"name": "job", "values": ["baker", "cook"], "edges": []},
    {"name": "age", "values": None, "edges": [30.0, 40.0, 50.0]},
  ]
  table_XxD = np.asarray(trained.params["inputs"]["user_attribute"])
  assert table_XxD.shape == (3 + 5, 8)
  assert [attribute.name for attribute in trained.model.config.inputs.known] == [*NAMES]
  assert trained.config.model.inputs.user_attributes == NAMES


@pytest.mark.parametrize("user", [7, 5, 59])
def test_requests_give_attributes_and_users_have_theirs(trained, user):
  """User 5 lacks an age and has no job, and the table lacks user 59."""
  row, known = ROWS[user], {} if user == 59 else known_of(user)
  expected = trained.recommend(user=user)
  for request in (
    {"items": row, "attributes": known},
    {"titles": [], "attributes": known} if not row else {"items": row, "attributes": {**known}},
    {"histories": [row], "attributes": [known]},
  ):
    answer = trained.recommend(**request)
    answer = answer[0] if isinstance(answer, list) else answer
    assert answer.ids == expected.ids
    np.testing.assert_allclose(scores(answer), scores(expected), atol=1e-5)
  frame = pl.DataFrame({"user": [user] * len(row), "item": row, "time": range(len(row))})
  (of_table,) = trained.recommend(histories=frame)
  np.testing.assert_allclose(scores(of_table), scores(expected), atol=1e-5)
  rows = [trained.asker.row_of[str(item)] for item in row]
  inputs = trained.model.config.inputs
  events = sidrec.Events.of([rows], attributes=[known], inputs=inputs)
  found = trained.recommend_rows(events, 5, sidrec.Filters(np.array([rows], np.int32)))
  assert trained.dataset.items.ids_N[found.item_BxK[0]].tolist() == expected.ids[:5]
  assert trained.explain(user=user).answer.ids == expected.ids


def test_attributes_change_scores_and_what_is_not_said_is_unknown(trained):
  row = ROWS[7]
  of_cook = trained.recommend(items=row, attributes={"job": "cook", "age": 30})
  of_baker = trained.recommend(items=row, attributes={"job": "baker", "age": 30})
  assert np.abs(np.subtract(scores(of_cook), scores(of_baker))).max() > 1e-4
  unknown = trained.recommend(items=row)
  assert np.abs(np.subtract(scores(of_cook), scores(unknown))).max() > 1e-4
  for said in ({}, {"job": None}, {"job": "pope", "age": float("nan")}, {"age": None, "job": ""}):
    assert scores(trained.recommend(items=row, attributes=said)) == scores(unknown)
  # Nobody's history is empty for all, and who they are still counts.
  nobody = [trained.recommend(items=[], attributes={"job": name}) for name in ("cook", "baker")]
  assert np.abs(np.subtract(*map(scores, nobody))).max() > 1e-4


@pytest.mark.parametrize(
  ("request_", "message"),
  [
    ({"items": [1], "attributes": {"wage": 3}}, "reads no attribute 'wage' of users; there are"),
    ({"items": [1], "attributes": {"age": "old"}}, "attribute 'age' is 'old'; give a number"),
    ({"items": [1], "attributes": ["cook"]}, "attributes are a list; give names and values"),
    ({"user": 5, "attributes": {"job": "cook"}}, "a user of the run has their own"),
    ({"histories": [[1], [2]], "attributes": [{}]}, "1 lists of attributes are given for 2"),
  ],
)
def test_requests_that_cannot_be(trained, request_, message):
  with pytest.raises((ValueError, TypeError), match=message):
    trained.recommend(**request_)


def test_arrays_have_to_say_it(trained):
  with pytest.raises(ValueError, match="the model reads users' attributes and the histories have"):
    trained.recommend_rows([[1, 2]], 5)
  frame = pl.DataFrame({"user": [1], "item": [1], "time": [1]})
  with pytest.raises(ValueError, match="a table says nothing of its users"):
    trained.recommend(histories=frame, attributes=[{"job": "cook"}])


def test_the_command_line(run, trained, tmp_path):
  config, folder, _ = run
  output = str(tmp_path / "list.jsonl")

  def found(**request):
    recommend.answer(config, folder, Request(count=5, output=output, **request))
    return json.loads((tmp_path / "list.jsonl").read_text())

  said = found(items=["3,7,1"], attributes=["job=cook", "age=41"])
  expected = trained.recommend(items=[3, 7, 1], attributes={"job": "cook", "age": 41}, k=5)
  assert said["items"] == expected.ids
  np.testing.assert_allclose(said["scores"], scores(expected), atol=1e-4)
  np.testing.assert_allclose(
    found(items=["3,7,1"])["scores"], scores(trained.recommend(items=[3, 7, 1], k=5)), atol=1e-4
  )
  np.testing.assert_allclose(
    found(user=["7"])["scores"], scores(trained.recommend(user=7, k=5)), atol=1e-4
  )
  for request, message in (
    ({"items": ["3"], "attributes": ["wage=3"]}, "--attributes holds 'wage=3'; give NAME=VALUE"),
    ({"items": ["3"], "attributes": ["cook"]}, "--attributes holds 'cook'; give NAME=VALUE"),
    ({"items": ["3"], "attributes": ["age=old"]}, "--attributes holds 'old', which is no number"),
    ({"user": ["7"], "attributes": ["job=cook"]}, "users have attributes of their own"),
  ):
    with pytest.raises(ValueError, match=message):
      found(**request)


def test_a_server_answers_as_the_library_does(trained, tmp_path):
  service = Service(trained, SQLiteStore(tmp_path / "events.sqlite"), room=2)
  service.catalogue.now.snapshot.search.batches = (1, 4)
  service.before_ready.clear()
  service.start()
  client = Client(make_app(service))
  events = [{"user": "new", "item": ROWS[3][0]}, {"user": 7, "item": ROWS[3][1]}]
  client.call("POST", "/v1/events", json={"events": events})
  said = {"job": "cook", "age": 30}
  new, old = [ROWS[3][0]], [*ROWS[7], ROWS[3][1]]
  asked = {
    "of items": ({"items": ROWS[7], "attributes": said}, {"items": ROWS[7], "attributes": said}),
    "said nothing of": ({"items": ROWS[7]}, {"items": ROWS[7]}),
    "new": ({"user": "new", "attributes": said}, {"items": new, "attributes": said}),
    "of the run": ({"user": 7}, {"items": old, "attributes": known_of(7)}),
  }
  results = client.recommend(*(request for request, _ in asked.values())).json()["results"]
  for (_, same), result in zip(asked.values(), results, strict=True):
    expected = trained.recommend(**same)
    assert [item["id"] for item in result["items"]] == expected.ids
    np.testing.assert_allclose([x["score"] for x in result["items"]], scores(expected), atol=1e-4)
  for request, message in (
    ({"items": [3], "attributes": {"wage": 1}}, "reads no attribute 'wage' of users"),
    ({"items": [3], "attributes": {"job": ["cook"]}}, "attributes.job is neither text nor a whole"),
    ({"items": [3], "attributes": ["cook"]}, "attributes is no object"),
    ({"user": 7, "attributes": said}, "a user of the run has their own"),
  ):
    response = client.recommend(request)
    assert response.status_code == 422
    assert message in response.text
  service.stop()


def test_a_bundle_numbers_values_as_the_run_does(trained):
  manifest = {"reads": json.loads(json.dumps(_reads(trained.model))), "history_length": 8}
  given = [known_of(user) for user in range(59)]
  (user_BxX,) = consumer_events.columns(manifest, [[]] * 59, (59, 8), attributes=given)
  own = [trained.asker.of_user(user).attributes for user in range(59)]
  assert user_BxX.tolist() == [list(one) for one in own]


def test_other_columns_make_another_data_set(run):
  config = run[0].copy_and_resolve_references()
  config.data.table.user_columns.numbers = ()
  with pytest.raises(ValueError, match="'prepare' that was made from something else"):
    find(PREPARE, run_config(config), run[1])


def test_what_the_data_lack_is_refused(run, tmp_path):
  config = run[0].copy_and_resolve_references()
  config.model.inputs.user_attributes = ("job", "wage")
  with pytest.raises(
    ValueError, match=r"attribute 'wage' \(inputs.user_attributes\), and the data"
  ):
    run_to("train", config, tmp_path)
  config.sasrec.model.inputs.user_attributes = ("job",)
  with pytest.raises(ValueError, match="SASRec reads nothing of users"):
    run_to("train", config, tmp_path)


def test_a_model_that_reads_nothing_of_users_says_so(tmp_path):
  config = make_config(tmp_path)
  config.model.inputs.user_attributes = ()
  config.train.update(steps=2, steps_per_call=2, validate_every=2)
  run_to("train", config, tmp_path / "run")
  bare = sidrec.load(tmp_path / "run")
  assert "inputs" not in bare.params
  assert not list((tmp_path / "run").rglob(KNOWN))
  with pytest.raises(ValueError, match="attributes are given, and this model reads nothing of u"):
    bare.recommend(items=[1], attributes={"job": "cook"})
  request = Request(items=["1"], attributes=["job=cook"])
  with pytest.raises(ValueError, match="this model reads no attributes"):
    recommend.answer(config, tmp_path / "run", request)


@pytest.mark.slow
def test_an_update_takes_in_new_users_with_theirs(tmp_path):
  config = make_config(tmp_path)
  workdir = tmp_path / "run"
  before = run_to("train", config, workdir)
  log = (tmp_path / "tiny.csv").read_text()
  more = "".join(f"100,{item},{100 + at}\n" for at, item in enumerate(ROWS[8][:5]))
  (tmp_path / "tiny.csv").write_text(log + more)
  (tmp_path / "users.csv").write_text(table() + "100,pilot,33\n")
  config.nightly.update(steps_share=1.0, max_worse=10.0)
  chain = update(config, workdir)
  assert load_prepared(chain).users["job"].tolist()[-1] == "pilot"
  assert chain["train"].file(KNOWN).read_text() == before["train"].file(KNOWN).read_text()
  updated = sidrec.load(workdir)
  # The pilot's job is none that the training from zero met.
  assert updated.asker.of_user(100).attributes == (0, 2)
  same = updated.recommend(items=ROWS[8][:5], attributes={"age": 33})
  np.testing.assert_allclose(scores(updated.recommend(user=100)), scores(same), atol=1e-5)
