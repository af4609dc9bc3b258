"""A log with views, carts and purchases through every stage, to what a server answers."""

import json

import numpy as np
import pytest
from http_client import Client
from tiny import ROWS, protocol_of_run, tiny_config

import sidrec
from sidrec.data.dataset import held_out_view
from sidrec.evaluation.protocol import describe
from sidrec.run import recommend
from sidrec.run.evaluate import EVALUATE
from sidrec.run.prepare import load_prepared
from sidrec.run.recommend import Request
from sidrec.run.settings import run_config
from sidrec.run.stage import find
from sidrec.run.stages import run_to
from sidrec.serving.app import make_app
from sidrec.serving.service import Service
from sidrec.serving.store_sqlite import SQLiteStore
from sidrec.update.update import update

ACTIONS = ("buy", "cart", "view")


def action(user, time):
  """What a user did: some buy often, some never; '' is unknown."""
  if user % 6 == 0:
    return "view"
  return ("view", "buy", "cart", "", "buy", "view", "buy", "view")[(user + time) % 8]


def lines(more=()):
  rows = [(user, item, time) for user, row in enumerate(ROWS) for time, item in enumerate(row)]
  rows = [(*row, action(row[0], row[2])) for row in rows]
  return "\n".join(["u,item_id,t,kind", *(",".join(map(str, row)) for row in [*rows, *more])])


def make_config(folder):
  config = tiny_config(folder)
  (folder / "tiny.csv").write_text(lines() + "\n")
  config.data.table.columns.update(user="u", time="t", action="kind")
  config.model.inputs.actions = ACTIONS
  config.sasrec.enabled, config.sasrec.model.inputs.actions = True, ("buy",)
  config.train.update(steps=2, validate_every=2, targets=("buy",))
  config.sasrec.train.update(steps=2, validate_every=2)
  config.evaluation.search_cost.enabled = False
  return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("actions")
  config = make_config(folder)
  chain = run_to("evaluate", config, folder)
  return config, folder, chain


@pytest.fixture(scope="module")
def trained(run):
  return sidrec.load(run[1])


def buys(user):
  return [time for time in range(len(ROWS[user])) if action(user, time) == "buy"]


def test_each_evaluated_user_is_asked_for_a_purchase(run):
  _, folder, chain = run
  dataset = load_prepared(chain)
  ids_N, histories = dataset.items.ids_N, dataset.histories
  assert histories.actions == ACTIONS
  evaluated = [user for user in range(len(ROWS)) if len([t for t in buys(user) if t]) >= 2]
  assert 0 < len(evaluated) < len(ROWS)
  task = held_out_view(histories, "test")
  assert task.histories.user_ids_U.tolist() == evaluated
  assert ids_N[task.target_U].tolist() == [ROWS[user][buys(user)[-1]] for user in evaluated]
  content = json.loads((folder / "evaluation.json").read_text())
  assert content["protocol"]["num_users"] == len(evaluated)
  assert set(content["results"]) >= {"sidrec", "sasrec", "item-knn", "popular"}
  with np.load(folder / "per_user.npz") as arrays:
    assert arrays["sidrec/test/masked/ndcg@10"].shape == (len(evaluated),)
    assert arrays["users/test/target"].tolist() == task.target_U.tolist()


def test_the_protocol_says_what_is_asked_and_who_is_not(run):
  config, _, chain = run
  dataset = load_prepared(chain)
  protocol = protocol_of_run(config, dataset)
  text = " ".join(describe(protocol).split())
  assert "targets are the events of buy, " in text
  assert "users without enough targets train and are not evaluated" in text
  assert "seen is any event of the history, whatever its action: " in text


def test_output_of_other_targets_is_not_taken(run):
  config, folder, _ = run
  config = config.copy_and_resolve_references()
  config.train.targets = ("cart", "buy")
  message = r"'prepare' that was made from something else: targets was .*buy.* and is .*cart"
  with pytest.raises(ValueError, match=message):
    find(EVALUATE, run_config(config), folder)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"train.targets": ("bye",)}, "'bye', and the log has: buy, cart, view"),
    ({"model.inputs.actions": ("gift",)}, "config.model.inputs.actions names the action 'gift'"),
  ],
)
def test_names_that_the_log_lacks(run, tmp_path, change, message):
  config = run[0].copy_and_resolve_references()
  config.update_from_flattened_dict(change)
  with pytest.raises(ValueError, match=message):
    run_to("train", config, tmp_path)


def kinds(user):
  return [action(user, time) or None for time in range(len(ROWS[user]))]


def scores(answer):
  return [item.score for item in answer.items]


def test_requests_give_actions_and_users_have_theirs(trained):
  row = ROWS[5]
  expected = trained.recommend(user=5)
  for request in ({"items": row, "actions": kinds(5)}, {"histories": [row], "actions": [kinds(5)]}):
    answer = trained.recommend(**request)
    answer = answer[0] if isinstance(answer, list) else answer
    assert answer.ids == expected.ids
    np.testing.assert_allclose(scores(answer), scores(expected), atol=1e-5)
  rows = [trained.asker.row_of[str(item)] for item in row]
  inputs = trained.config.model.inputs
  events = sidrec.Events.of([rows], actions=[kinds(5)], inputs=inputs)
  found = trained.recommend_rows(events, 5, sidrec.Filters(np.array([rows], np.int32)))
  assert trained.dataset.items.ids_N[found.item_BxK[0]].tolist() == expected.ids[:5]
  assert scores(trained.recommend(items=row, actions=["view"] * len(row))) != scores(expected)
  assert trained.explain(user=5).answer.ids == expected.ids


@pytest.mark.parametrize(
  ("request_", "message"),
  [
    ({"items": [1]}, "this model reads actions .*; give actions, one for each item"),
    ({"items": [1], "actions": ["bye"]}, "knows no action 'bye'; there are buy, cart, view"),
    ({"items": [1], "actions": []}, "0 actions are given for 1 items"),
    ({"user": 5, "actions": ["buy"]}, "a user of the run has their own"),
  ],
)
def test_requests_that_cannot_be(trained, request_, message):
  with pytest.raises(ValueError, match=message):
    trained.recommend(**request_)


def test_the_command_line(run, trained, tmp_path):
  config, folder, _ = run
  output = str(tmp_path / "list.jsonl")
  request = Request(items=["3,7,1"], actions=["view,", "buy"], count=5, output=output)
  recommend.answer(config, folder, request)
  expected = trained.recommend(items=[3, 7, 1], actions=["view", None, "buy"], k=5)
  assert json.loads((tmp_path / "list.jsonl").read_text())["items"] == expected.ids
  for request, message in (
    (Request(items=["3"], actions=["bye"]), "--actions holds 'bye'; there are buy, cart, view"),
    (Request(items=["3"]), "this model reads actions .*, such as --actions=buy,cart,view"),
  ):
    with pytest.raises(ValueError, match=message):
      recommend.answer(config, folder, request)


def test_a_server_reads_actions_of_requests_and_of_events(trained, tmp_path):
  service = Service(trained, SQLiteStore(tmp_path / "events.sqlite"), room=2)
  service.catalogue.now.snapshot.search.batches = (1, 4)
  service.before_ready.clear()
  service.start()
  client = Client(make_app(service))
  events = [
    {"user": 5, "item": 2, "action": "cart"},
    {"user": 5, "item": 4},
    {"user": 5, "item": 6, "action": "wish"},
  ]
  noted = client.call("POST", "/v1/events", json={"events": events}).json()
  assert noted == {"appended": 3, "unknown": [], "unknown_actions": ["wish"]}
  row = [*ROWS[5], 2, 4, 6]
  expected = trained.recommend(items=row, actions=[*kinds(5), "cart", None, None])
  asked = [{"user": 5}, {"items": row, "actions": [*kinds(5), "cart", None, None]}]
  for result in client.recommend(*asked).json()["results"]:
    assert [item["id"] for item in result["items"]] == expected.ids
    found = [item["score"] for item in result["items"]]
    np.testing.assert_allclose(found, scores(expected), atol=1e-4)
  for actions, message in ((["bye"], "knows no action 'bye'"), ([7], "actions[0] is neither text")):
    response = client.recommend({"items": [3], "actions": actions})
    assert response.status_code == 422
    assert message in response.text
  service.stop()


@pytest.mark.slow
def test_an_update_takes_in_new_events_of_the_same_actions(run, tmp_path):
  config = make_config(tmp_path)
  config.sasrec.enabled = False
  workdir = tmp_path / "run"
  run_to("train", config, workdir)
  more = [(7, ROWS[8][0], 100, "buy"), (6, ROWS[8][1], 100, "view"), (7, ROWS[8][2], 101, "gift")]
  (tmp_path / "tiny.csv").write_text(lines(more) + "\n")
  config.nightly.update(steps_share=1.0, max_worse=10.0)
  chain = update(config, workdir)
  histories = load_prepared(chain).histories
  assert histories.actions == ("buy", "cart", "gift", "view")
  content = json.loads((workdir / "update.json").read_text())
  assert content["log"]["new events"] == 3
  # Of the new events user 7's purchase alone is a target.
  assert content["newest events"]["of so many"] == 1
