"""A run whose models read times and ratings: trained, evaluated, asked; logs without them."""

import dataclasses
import json
import time

import numpy as np
import polars as pl
import pytest
from tiny import ROWS, make_dataset, protocol_of_run, tiny_config

import sidrec
from sidrec.evaluation import report
from sidrec.evaluation.protocol import describe
from sidrec.run import recommend
from sidrec.run.load import load_recommender
from sidrec.run.recommend import Request
from sidrec.run.stages import run_to

START = 1_300_000_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run whose recommender reads the request's time."""
  folder = tmp_path_factory.mktemp("timed")
  config = tiny_config(folder)
  lines = ["user_id,item_id,timestamp,stars"]
  for user, row in enumerate(ROWS):
    lines += [f"{user},{item},{START + 3600 * t * t},{1 + item % 5}" for t, item in enumerate(row)]
  (folder / "tiny.csv").write_text("\n".join(lines) + "\n")
  config.data.table.columns.rating = "stars"
  titles = ["item_id,title", *(f"{item},Title {item}" for item in range(30))]
  (folder / "items.csv").write_text("\n".join(titles) + "\n")
  config.data.table.items_path = str(folder / "items.csv")
  config.data.table.item_columns.update(categories="")
  config.model.inputs.update(gap=True, time_bias=True, rating=True, request_time="known")
  config.train.update(steps=2, validate_every=2)
  run_to("train", config, folder)
  return config, folder


def test_results_name_what_models_know_of_the_request(tmp_path):
  config, dataset = tiny_config(tmp_path), make_dataset()
  config.model.inputs.update(gap=True, request_time="known")
  config.sasrec.model.inputs.update(time_bias=True, request_time="unknown")
  config.sasrec.enabled = True
  protocol = protocol_of_run(config, dataset)
  flat = " ".join(describe(protocol).split())
  assert "sidrec: request_time=known (the target's time, as in serving); " in flat
  assert "sasrec: request_time=unknown (the history's own times)" in flat
  report.write_evaluation(tmp_path / "known.json", protocol, {})
  stored = report.read_evaluation(tmp_path / "known.json")["protocol"]
  assert stored["request_time"] == protocol.request_time
  config.model.inputs.gap = config.sasrec.model.inputs.time_bias = False
  protocol = protocol_of_run(config, dataset)
  assert "request_time" not in describe(protocol)
  report.write_evaluation(tmp_path / "off.json", protocol, {})
  assert "request_time" not in (tmp_path / "off.json").read_text()


def test_the_library_gives_what_the_run_evaluates(run):
  config, folder = run
  trained = sidrec.load(folder)
  histories = recommend.histories_before(trained.dataset.histories, "test")
  recommender = load_recommender(config, folder)
  found = recommender.recommend_users(recommender.params, histories, np.arange(3))
  rows = [histories.of(user).tolist() for user in range(3)]
  times = [[START + 3600 * t * t for t in range(7)]] * 3
  stars = [[1 + trained.dataset.items.ids_N[item] % 5 for item in row] for row in rows]
  events = sidrec.Events.of(rows, times, stars, START + 3600 * 49)
  alone = trained.recommend_rows(events, 5)
  np.testing.assert_array_equal(alone.item_BxK, found.item_BxK[:, :5])
  with pytest.raises(ValueError, match="the model reads times and the histories have none"):
    trained.recommend_rows(rows, 5)


def test_requests_name_their_time(run, capsys):
  config, folder = run
  recommend.answer(config, folder, Request(user=["3"], request_time=START + 10**6))
  text = capsys.readouterr().out
  assert "asked at 2011-03-24T20:53:20; the last event of the data set is of 2011-03-15" in text
  recommend.answer(config, folder, Request(user=["3"]))
  assert "asked at 20" in capsys.readouterr().out  # now
  recommend.show_first_users(config, folder, 1)
  assert "asked at 2011-03-15" in capsys.readouterr().out
  recommend.answer(config, folder, Request(user=["3"], split="test"))
  assert "asked at" not in capsys.readouterr().out
  for request, message in [
    (Request(user=["3"], split="test", request_time=5), "--split=test asks at the target's time"),
    (Request(items=["3,4"]), "this model reads times .*, such as --times="),
    (Request(history=["title"], times=["5"]), "this model reads ratings .*, such as --ratings="),
    (Request(user=["3"], times=["5"]), "--times goes with --items or --history"),
    (Request(items=["3"], times=["5"], ratings=[" "]), "--ratings is empty"),
    (Request(items=["3,4"], times=["5"], ratings=["1,2"]), "1 times are given for 2 items"),
    (Request(items=["3"], times=["now"], ratings=["1"]), "--times holds 'now', which is no number"),
    (Request(items=["3,4"], times=["5,"], ratings=["1,2"]), "--times holds '', which is no number"),
    (Request(items=["3,4"], times=["6,5"], ratings=["1,2"]), "times of history 0 decrease"),
    (Request(items=["3"], times=["nan"], ratings=["1"]), "times hold nan; give seconds since 1970"),
    (Request(items=["3"], times=["5"], ratings=["77"]), "a rating is 77"),
    (Request(items=["3"], times=["9"], ratings=["1"], request_time=5), "before its newest event"),
    (
      Request(history=["Title 3, Unknown (1900), Title 4"], times=["5,6"], ratings=["1,2"]),
      "a title in --history was left out",
    ),
    (Request(user=["3"], request_time=5), "before its newest event"),
  ]:
    with pytest.raises(ValueError, match=message):
      recommend.answer(config, folder, request)


def test_the_command_line_gives_times_and_ratings(run, trained, tmp_path, capsys):
  config, folder = run
  given = {"times": ["1300000000,1300000900", "1300003600.5"], "ratings": ["4,", "2"]}
  lists, expected = (
    [],
    trained.recommend(
      items=[3, 7, 1],
      times=[START, START + 900, START + 3600],
      ratings=[4, None, 2],
      request_time=START + 9999,
      k=5,
    ),
  )
  for asked in ({"items": ["3,7,1"]}, {"history": ["Title 3, Title 7", "Title 1"]}):
    output = str(tmp_path / "list.jsonl")
    request = Request(**asked, **given, count=5, output=output, request_time=START + 9999)
    recommend.answer(config, folder, request)
    text = capsys.readouterr().out
    assert "asked at 2011-03-13T09:53:19; the last event of the history is of 2011-03-13T08" in text
    lists.append(json.loads((tmp_path / "list.jsonl").read_text()))
  for found in lists:
    assert found["items"] == expected.ids
    scores = [item.score for item in expected.items]
    np.testing.assert_allclose(found["scores"], scores, atol=2e-5)
  recommend.answer(config, folder, Request(items=["3"], times=["4000000000"], ratings=["nan"]))
  assert "asked at 2096-10-02T07:06:40" in capsys.readouterr().out  # a clock that is ahead


def test_a_model_of_items_alone_takes_no_times(tmp_path):
  request = Request(items=["3"], times=["5"])
  with pytest.raises(ValueError, match="--times is given, and this model reads no times"):
    recommend.answer(tiny_config(tmp_path), tmp_path, request)


@pytest.fixture(scope="module")
def trained(run):
  return sidrec.load(run[1])


def context(row):
  """Times and ratings of a history, as the run's log has them."""
  return {
    "times": [START + 3600 * t * t for t in range(len(row))],
    "ratings": [1 + item % 5 for item in row],
  }


def test_requests_by_ids_give_what_arrays_of_rows_give(trained):
  ids_N, row_of = trained.dataset.items.ids_N, trained.asker.row_of
  asked, now = [[3, 7, 1], [], ROWS[5]], START + 10**6
  events = sidrec.Events.of(
    [[row_of[str(item)] for item in ids] for ids in asked],
    [context(ids)["times"] for ids in asked],
    [context(ids)["ratings"] for ids in asked],
    now,
  )
  seen = [sorted({row_of[str(item)] for item in ids}) for ids in asked]
  expected = trained.recommend_rows(events, 5, sidrec.Filters(sidrec.padded_lists(seen)))
  many = trained.recommend(
    histories=asked,
    times=[context(ids)["times"] for ids in asked],
    ratings=[context(ids)["ratings"] for ids in asked],
    request_time=now,
    k=5,
  )
  for b, ids in enumerate(asked):
    alone = trained.recommend(items=ids, **context(ids), request_time=now, k=5)
    titles = trained.recommend(
      titles=trained.dataset.items.titles_N[events.item_BxS[b, : len(ids)]].tolist(),
      **context(ids),
      request_time=now,
      k=5,
    )
    for answer in (alone, titles, many[b]):
      assert not answer.unknown
      assert answer.ids == ids_N[expected.item_BxK[b]].tolist()
      scores = [item.score for item in answer.items]
      np.testing.assert_allclose(scores, expected.score_BxK[b], rtol=1e-5)
      assert answer.asked_at == now


def test_a_user_of_the_run_and_a_table_bring_their_own_times(trained):
  row, now = ROWS[4], START + 10**6
  expected = trained.recommend(items=row, **context(row), request_time=now)
  table = pl.DataFrame({"user": [4] * len(row), "item": row, **context(row)})
  table = table.rename({"times": "time", "ratings": "rating"})
  moments = table.with_columns(pl.from_epoch("time"))
  found = [trained.recommend(user=4, request_time=now)]
  found += trained.recommend(users=[4], request_time=now)
  found += trained.recommend(
    histories=table.sample(fraction=1.0, shuffle=True, seed=1), request_time=now
  )
  found += trained.recommend(histories=moments, request_time=now)
  for answer in found:
    assert (answer.ids, answer.user) == (expected.ids, 4)
    np.testing.assert_allclose(
      [x.score for x in answer.items], [x.score for x in expected.items], rtol=1e-5
    )


def test_times_ratings_and_the_moment_count(trained):
  row, now = ROWS[4], START + 10**6
  base = {**context(row), "request_time": now}
  score = lambda **other: trained.recommend(items=row, **(base | other)).items[0].score
  assert score() == score()
  for other in (
    {"times": [START + 10 * t for t in range(len(row))]},
    {"ratings": [None] * len(row)},
    {"request_time": now + 10**8},
  ):
    assert score(**other) != score()


def test_an_unknown_item_takes_its_time_along(trained):
  row, now = ROWS[4], START + 10**6
  known = context(row)
  times, ratings = [known["times"][0], *known["times"]], [5, *known["ratings"]]
  answer = trained.recommend(items=["none", *row], times=times, ratings=ratings, request_time=now)
  assert answer.unknown == ("none",)
  expected = trained.recommend(items=row, **known, request_time=now)
  assert [x.score for x in answer.items] == [x.score for x in expected.items]


def test_the_moment_is_now_unless_it_is_given(trained):
  before = int(time.time())
  answer = trained.recommend(items=[1], times=[START], ratings=[3])
  assert before <= answer.asked_at <= time.time()
  ahead = before + 10**5  # a client's clock
  assert trained.recommend(items=[1], times=[ahead], ratings=[3]).asked_at == ahead


@pytest.mark.parametrize(
  ("request_", "message"),
  [
    ({"items": [1, 2]}, "this model reads times .*; give times, one for each item"),
    ({"items": [1], "times": [START]}, "reads ratings .*; give ratings, one for each item"),
    ({"items": [1, 2], "times": [START], "ratings": [1, 1]}, "1 times are given for 2 items"),
    ({"items": [1, 2], "times": [START, 5], "ratings": [1, 1]}, "times of history 0 decrease"),
    ({"items": [1], "times": [START], "ratings": [99]}, "a rating is 99"),
    ({"items": [1], "times": [START], "ratings": [1], "request_time": 5}, "before its newest"),
    ({"items": [1], "times": [-1], "ratings": [1]}, "times hold -1; give seconds since 1970"),
    ({"user": 4, "times": [START]}, "a user of the run has their own"),
    ({"items": [1], "times": [10**400], "ratings": [1]}, "times hold inf; give seconds since 1970"),
    ({"items": [1], "times": [START], "ratings": [-(10**400)]}, "ratings hold -inf; give numbers"),
    ({"histories": [[1], [2]], "times": [[START]]}, "1 lists of times are given for 2 histories"),
  ],
)
def test_what_cannot_be_is_refused(trained, request_, message):
  with pytest.raises(ValueError, match=message):
    trained.recommend(**request_)


def test_wrong_types_are_refused(trained):
  for other in ({"times": ["soon"]}, {"times": [True]}, {"request_time": 1.5}):
    with pytest.raises(TypeError):
      trained.recommend(**{"items": [1], "times": [START], "ratings": [1]} | other)


def without(at, **lists):
  return {
    name: [x for place, x in enumerate(values) if place != at] for name, values in lists.items()
  }


def test_explanations_are_of_the_list_of_recommend(trained):
  now = START + 10**6
  for request_ in (
    {"items": ROWS[5], **context(ROWS[5])},
    {"titles": ["Title 3", "none", "Title 7"], **context([3, 1, 7])},
    {"user": 4},
    {"items": []},
  ):
    options = {**request_, "request_time": now, "k": 8, "forbidden": [11]}
    found, expected = trained.explain(**options).answer, trained.recommend(**options)
    assert found.ids == expected.ids
    scores = [[item.score for item in answer.items] for answer in (found, expected)]
    np.testing.assert_allclose(*scores, atol=1e-5)
    parts = [dataclasses.replace(answer, items=()) for answer in (found, expected)]
    assert parts[0] == parts[1]
  before = int(time.time())
  assert before <= trained.explain(items=[]).answer.asked_at <= time.time()


@pytest.mark.parametrize("count", [3, 8, 11])  # of a model that reads 8
def test_what_an_item_adds_is_by_the_times_and_ratings_of_the_others(trained, count):
  items = [*ROWS[5], 1, 2, 3][:count]
  lists, options = context(items), {"request_time": START + 10**6, "k": 20, "exclude_seen": False}
  explained = trained.explain(items=items, **lists, **options)
  read = items[-8:]
  assert [item.id for item in explained.history] == read
  scores = {item.id: item.score for item in explained.answer.items}
  compared = 0
  for at, item in enumerate(explained.history, count - len(read)):
    shorter = trained.recommend(**without(at, items=items, **lists), **options)
    alone = {found.id: found.score for found in shorter.items}
    for added, result in zip(item.added, explained.answer.items, strict=True):
      if result.id in alone:
        assert added == pytest.approx(scores[result.id] - alone[result.id], abs=2e-5)
        compared += abs(added) > 1e-4
  assert compared > len(read)


@pytest.mark.parametrize(
  ("request_", "message"),
  [
    ({"items": [1, 2]}, "this model reads times .*; give times, one for each item"),
    ({"items": [1], "times": [START], "ratings": [99]}, "a rating is 99"),
    ({"items": [1], "times": [START], "ratings": [1], "request_time": 5}, "before its newest"),
    ({"user": 4, "times": [START]}, "a user of the run has their own"),
    # The oldest is read where another is left out.
    ({"items": ROWS[5] + [1], "times": [9, *range(8)], "ratings": [1] * 9}, "times of history"),
  ],
)
def test_what_cannot_be_explained_is_refused(trained, request_, message):
  with pytest.raises(ValueError, match=message):
    trained.explain(**request_)
