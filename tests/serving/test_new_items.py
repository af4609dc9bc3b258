"""New items of a served catalogue are ranked by similarity, in every way that they come and go."""

import numpy as np
import pytest
from live_shop import Numbers, open_shop_on

from sidrec.run.answers import Wanted
from sidrec.run.settings import ServingConfig
from sidrec.serving import validation
from sidrec.serving.__main__ import arguments, serving_of
from sidrec.serving.service import Service
from sidrec.serving.store_sqlite import SQLiteStore

WIDTH = 4
SHARE = 0.4


def vector_of(title):
  """A vector of a title: that of the item that it names ('like 7'), or one of its own."""
  words = title.split()
  row = int(words[1]) if len(words) == 2 and words[0] == "like" else None
  seed = 1000 + sum(map(ord, title)) if row is None else row
  return np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)


class Described(Numbers):
  """Gives IDs as `Numbers` does, and vectors by title; counts those that it makes."""

  def __init__(self, run):
    super().__init__(run)
    self.vectors_NxF = np.stack([vector_of(f"like {row}") for row in range(30)])
    self.made = []

  def inputs(self, items):
    super().inputs(items)
    self.made += items.titles_N.tolist()
    return np.stack([vector_of(title) for title in items.titles_N.tolist()])


SIMILAR = ServingConfig(new_share=SHARE)


@pytest.fixture(scope="module")
def compiled(run, tmp_path_factory):
  """A started catalogue whose programs, which know of new items, others take."""
  store = SQLiteStore(tmp_path_factory.mktemp("similar") / "events.sqlite")
  service = Service(run, store, new_ids=Described(run), room=20, serving=SIMILAR)
  service.catalogue.now.snapshot.search.batches = (1,)
  service.start()
  yield service.catalogue
  service.stop()


@pytest.fixture
def shop(run, compiled, tmp_path):
  """Opens a shop on a store; `open_shop()` again is a new start of the server."""
  services = []

  def open_shop(**options):
    if services:
      services.pop().stop()
    options = {"new_ids": Described(run), "room": 20, "serving": SIMILAR, **options}
    opened = open_shop_on(
      SQLiteStore(tmp_path / "events.sqlite"), options.pop("run", run), compiled, **options
    )
    services.append(opened.service)
    return opened

  yield open_shop
  for service in services:
    service.stop()


def scores(shop, **request):
  (result,) = shop.client.recommend({"k": 20, **request}).json()["results"]
  return {item["id"]: item["score"] for item in result["items"]}


def test_a_new_item_is_found_where_the_history_is_like_it(shop):
  open_shop = shop()
  before = open_shop.now
  assert (before["new"], before["new_items"]) == (0, "similarity")
  plain = scores(open_shop, items=[7])
  made = open_shop.change(add=[{"id": 99, "title": "like 7"}, {"id": 98, "title": "like 12"}])
  assert (made["compiled"], made["new"]) == (0, 2)
  assert before["room"] - 2 <= made["room"] <= before["room"]
  near, far = scores(open_shop, items=[7]), scores(open_shop, items=[7], forbidden=[99])
  assert list(near).index(99) <= 1
  assert near[99] > scores(open_shop, items=[12]).get(99, -np.inf) + 1
  assert list(near).index(99) < list(near).index(98) if 98 in near else True
  assert 99 not in far
  # Known items keep their order.
  assert [item for item in near if item < 90] == [item for item in plain if item in near]
  assert scores(open_shop, items=[12]).get(98, -np.inf) > scores(open_shop, items=[12]).get(
    99, -np.inf
  )


def test_without_new_items_answers_are_those_of_the_model(shop, run):
  open_shop = shop()
  for history in ([7], [1, 2, 3], []):
    answer = run.recommend(items=history, k=20)
    found = scores(open_shop, items=history)
    assert list(found) == answer.ids
    np.testing.assert_allclose([*found.values()], [x.score for x in answer.items], rtol=1e-4)


def test_it_is_the_search_of_both_tries(shop):
  """Over HTTP, in batches and under filters: what `new_items.search` finds uncompiled."""
  open_shop = shop()
  open_shop.change(add=[{"id": 99, "title": "like 7"}, {"id": 98, "title": "a"}], remove=[4, 5])
  search = open_shop.service.catalogue.now.snapshot.search
  asker = open_shop.service.catalogue.now.snapshot.asker
  assert float(search.new.share) == pytest.approx(SHARE)
  for request in (
    {"items": [7, 99]},
    {"items": [1], "temperature": 2.0},
    {"items": [7], "allowed": [99, 1, 2, 3]},
    {"items": [7, 98], "exclude_seen": False},
  ):
    wanted = Wanted(k=20, **{k: v for k, v in request.items() if k != "items"})
    question, _ = asker.question(asker.of_items(request["items"]), wanted)
    (expected,) = search.find([question])
    found = scores(open_shop, **request)
    assert [asker.described(row)[0] for row in expected.item_K] == list(found)


def test_versions_and_starts_have_the_same_answers(shop, run):
  open_shop = shop()
  answers = [scores(open_shop, items=[7])]
  open_shop.change(add=[{"id": 99, "title": "like 7"}])
  answers.append(scores(open_shop, items=[7]))
  open_shop.change(add=[{"id": 98, "title": "like 7"}], remove=[99])
  answers.append(scores(open_shop, items=[7]))
  assert 99 not in answers[-1]
  assert open_shop.roll_back().status_code == 200
  assert scores(open_shop, items=[7]) == answers[1]
  open_shop.change(add=[{"id": 97, "title": "like 3"}])
  last, version = scores(open_shop, items=[7]), open_shop.now["version"]
  source = Described(run)
  again = shop(new_ids=source)
  assert (again.now["version"], again.now["new"]) == (version, 2)
  assert source.made == ["like 7", "like 3"]  # all at once, and once
  found = scores(again, items=[7])
  assert list(found) == list(last)
  np.testing.assert_allclose([*found.values()], [*last.values()], rtol=1e-4, atol=1e-4)
  again.change(add=[{"id": 96, "title": "like 9"}])
  assert source.made[2:] == ["like 9"]
  again.client.call("DELETE", "/v1/items/99")
  assert 99 not in scores(again, items=[7])
  again.client.call("PUT", "/v1/items/99")
  assert 99 in scores(again, items=[7])


def test_a_row_that_is_used_again_has_the_vector_of_the_item_that_has_it_now(shop):
  open_shop = shop()
  catalogue = open_shop.service.catalogue
  open_shop.change(add=[{"id": name, "title": f"like {name}"} for name in range(40, 46)])
  assert open_shop.now["new"] == 6  # no ID is free
  row = catalogue.now.snapshot.row("40")
  open_shop.change(remove=[40])
  for _ in range(3):
    there = catalogue.now.snapshot.row("3") is not None
    open_shop.change(**({"remove": [3]} if there else {"add": [{"id": 3}]}))
  open_shop.change(add=[{"id": 50, "title": "like 7"}])
  snapshot = catalogue.now.snapshot
  assert snapshot.row("50") == row
  vector = np.asarray(snapshot.search.new.vectors.new_MxF[row - 30], np.float32)
  expected = vector_of("like 7")
  np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-3)
  found = scores(open_shop, items=[7])
  assert max(found.keys() & {*range(41, 46), 50}, key=found.get) == 50


def test_all_that_was_trained_may_go(shop):
  open_shop = shop()
  open_shop.change(add=[{"id": 99, "title": "like 7"}, {"id": 98, "title": "a"}])
  open_shop.change(remove=[*range(30)])
  assert sorted(scores(open_shop, items=[7])) == [98, 99]
  assert (
    open_shop.client.call("POST", "/v1/explain", json={"items": [7], "k": 2}).status_code == 200
  )
  open_shop.change(add=[{"id": name} for name in range(30)], remove=[98, 99])
  assert open_shop.now["new"] == 0


def test_an_explanation_is_of_the_answer(shop):
  open_shop = shop()
  open_shop.change(add=[{"id": 99, "title": "like 7"}, {"id": 98, "title": "like 12"}])
  request = {"items": [12, 7], "k": 10}
  (answer,) = open_shop.client.recommend(request).json()["results"]
  compiled = open_shop.service.compilations.count
  explained = open_shop.client.call("POST", "/v1/explain", json=request).json()
  assert open_shop.service.compilations.count == compiled
  ids = [item["id"] for item in answer["items"]]
  assert [item["id"] for item in explained["answer"]["items"]] == ids
  assert [item["score"] for item in explained["answer"]["items"]] == pytest.approx(
    [item["score"] for item in answer["items"]], rel=1e-3, abs=1e-3
  )
  by_12, by_7 = (item["added"] for item in explained["history"])
  assert np.isfinite([by_12, by_7]).all()
  assert by_7[ids.index(99)] > 1 > by_12[ids.index(99)]
  assert by_12[ids.index(98)] > 1 > by_7[ids.index(98)]


def test_a_wrong_ranking_of_new_items_is_noticed(shop, monkeypatch):
  open_shop = shop()
  open_shop.change(add=[{"id": 99, "title": "like 7"}, {"id": 98, "title": "like 12"}])
  catalogue = open_shop.service.catalogue
  snapshot = catalogue.now.snapshot
  find = snapshot.search.find

  def check(change):
    monkeypatch.setattr(snapshot.search, "find", lambda asked: [change(one) for one in find(asked)])
    catalogue._validator.check(snapshot)

  def of_new(found, step):
    score_K = found.score_K + step * (found.item_K == 31)
    order = np.argsort(-score_K, kind="stable")
    return found._replace(item_K=found.item_K[order], score_K=score_K[order])

  check(lambda found: found)
  with pytest.raises(validation.InvalidCatalogueError, match="from the likelihood"):
    check(lambda found: of_new(found, 3.0))
  moved = snapshot.search.new.trie
  monkeypatch.undo()
  object.__setattr__(
    snapshot.search, "new", snapshot.search.new._replace(trie=snapshot.search.trie)
  )
  with pytest.raises(validation.InvalidCatalogueError, match="leads to other items"):
    catalogue._validator.check(snapshot)
  snapshot.search.new = snapshot.search.new._replace(trie=moved)


def test_what_has_no_vectors_is_ranked_by_the_model(run, tmp_path):
  store = SQLiteStore(tmp_path / "events.sqlite")
  for new_ids, serving in (
    (Numbers(run), SIMILAR),
    (Described(run), ServingConfig(new_items="model")),
    (None, SIMILAR),
  ):
    service = Service(run, store, new_ids=new_ids, room=20, serving=serving)
    assert service.catalogue.described()["new_items"] == "model"
    assert service.catalogue.now.snapshot.search.new is None


def test_vectors_that_cannot_be_made_at_a_start_are_named(shop, run):
  open_shop = shop()
  open_shop.change(add=[{"id": 99, "title": "like 7"}])
  source = Described(run)
  source.inputs = lambda items: (_ for _ in ()).throw(OSError("the file is gone"))
  with pytest.raises(ValueError, match="vectors of new items cannot be made: the file is gone"):
    shop(new_ids=source)


def test_a_share_that_makes_no_sense_is_refused():
  for share in (0.0, 1.0, -0.1, float("nan")):
    with pytest.raises(ValueError, match=r"serving\.new_share is .*; give a number between"):
      ServingConfig(new_share=share)
  with pytest.raises(ValueError, match="new_items 'both'"):
    ServingConfig(new_items="both")


def test_the_command_line_changes_how_new_items_are_ranked(run):
  def serving(*flags):
    return serving_of(arguments(["--workdir=x", *flags]), run)

  assert serving() == run.config.serving == ServingConfig()
  assert serving("--new_share=0.1") == ServingConfig(new_share=0.1)
  assert serving("--new_items=model") == ServingConfig(new_items="model")
  assert serving("--largest_batch=4") == ServingConfig(largest_batch=4)
  with pytest.raises(ValueError, match="new_items 'modle'; did you mean 'model'"):
    serving("--new_items=modle")
