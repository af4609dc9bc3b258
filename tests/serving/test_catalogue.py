"""The catalogue changes under traffic: whole versions, whatever comes or fails on the way."""

import dataclasses
import json
import threading

import jax
import numpy as np
import pytest
from live_shop import Numbers, Shop
from tiny import ROWS

from sidrec.catalogue.trie.resize import with_room, without_items
from sidrec.models.settings import CatalogueSizes
from sidrec.run.answers import Wanted
from sidrec.serving import catalogue as catalogue_lib
from sidrec.serving import snapshot as snapshot_lib
from sidrec.serving import validation
from sidrec.serving.app import make_app
from sidrec.serving.catalogue import KEPT
from sidrec.serving.service import Service, usual_room
from sidrec.serving.state import fingerprint
from sidrec.serving.store_sqlite import SQLiteStore


def test_room_changes_no_answer(run, compiled):
  """The same items, bit for bit, as the run without room gives."""
  snapshot = compiled.now.snapshot
  assert compiled.room >= 20
  readings = [snapshot.asker.of_items(row[: at % 9]) for at, row in enumerate(ROWS)]
  found = snapshot.asker.ask(readings, Wanted(k=20), snapshot.search.find)
  for reading, answer in zip(readings, found, strict=True):
    expected = run.recommend(items=reading.rows, k=20)
    assert answer.ids == expected.ids
    scores = [[item.score for item in one.items] for one in (answer, expected)]
    # Two programs, which later versions of XLA fuse in different ways; sums of numbers up to 30.
    np.testing.assert_allclose(*scores, rtol=5e-5, atol=1e-4)


def test_parameters_as_trained_are_refused_in_a_trie_with_room(run, compiled):
  roomy = with_room(run.trie, 20)
  search = compiled.now.snapshot.search
  for model in (run.model, run.model.clone(sizes=CatalogueSizes.of(roomy, 6))):
    with pytest.raises(ValueError, match="transfer"):
      search.over(model, run.params, roomy)
  with pytest.raises(ValueError, match="for another trie"):  # equal sizes, another numbering
    search.over(search.model, search.params, without_items(search.trie, np.array([3])))


def test_items_come_go_and_come_back(shop):
  open_shop = shop()
  first = open_shop.now
  assert {name: first[name] for name in ("previous", "items", "removed", "withdrawn")} == {
    **{"previous": [], "items": 30},
    **{"removed": 0, "withdrawn": 0},
  }
  best = open_shop.ids(items=[1])[0]
  added = open_shop.change(add=[{"id": 99, "title": "New (2024)", "year": 2024}], remove=[best])
  assert (added["items"], added["removed"], added["compiled"]) == (30, 1, 0)
  assert (added["previous"], added["room"]) == ([first["version"]], first["room"] - 1)
  assert open_shop.now == {name: value for name, value in added.items() if name != "compiled"}
  answer = open_shop.client.recommend({"items": [1], "k": 20}).json()
  assert answer["catalogue"] == added["version"]
  found = [item["id"] for item in answer["results"][0]["items"]]
  assert best not in found
  assert open_shop.ids(items=[1], allowed=[99, best]) == [99]
  assert open_shop.client.call("GET", f"/v1/items/{best}").status_code == 404
  item = open_shop.client.call("GET", "/v1/items/99").json()
  assert (item["title"], item["categories"], item["in_stock"]) == ("New (2024)", [], True)
  listed = open_shop.client.call("GET", "/v1/items", params={"query": "new (", "limit": 5}).json()
  assert listed["items"] == [item]
  # What was removed may stand in histories, and comes back as it was.
  assert open_shop.client.recommend({"items": [best]}).json()["results"][0]["read"] == 1
  back = open_shop.change(add=[{"id": best}])
  assert (back["items"], back["removed"]) == (31, 0)
  assert next(item for item in open_shop.ids(items=[1]) if item != 99) == best
  assert item == open_shop.client.call("GET", "/v1/items/99").json()


def test_new_items_have_their_categories_from_the_swap_on(shop):
  open_shop = shop()

  def refused():
    response = open_shop.client.recommend({"items": [1], "categories": ["new"]})
    return response.status_code == 422 and "no item has the category 'new'" in response.text

  assert refused()
  open_shop.change(add=[{"id": 99, "categories": ["new", "a"]}, {"id": 98, "categories": ["a"]}])
  assert open_shop.ids(items=[1], categories=["new"]) == [99]
  assert open_shop.client.call("GET", "/v1/items/99").json()["categories"] == ["new", "a"]
  with_a = {99, 98, *range(0, 30, 3)}
  assert {*open_shop.ids(items=[1], categories=["a"], k=20)} == with_a
  open_shop.client.call("DELETE", "/v1/items/98")
  open_shop.change(remove=[0])
  assert {*open_shop.ids(items=[1], categories=["a"], k=20)} == with_a - {98, 0}
  assert open_shop.roll_back().status_code == open_shop.roll_back().status_code == 200
  assert refused()


def test_events_of_a_new_item_count_after_the_swap(shop):
  open_shop = shop()
  event = {"events": [{"user": "anna", "item": 3}, {"user": "anna", "item": 99}]}
  noted = open_shop.client.call("POST", "/v1/events", json=event).json()
  assert noted["unknown"] == ["99"]
  (before,) = open_shop.client.recommend({"user": "anna"}).json()["results"]
  assert (before["read"], before["unknown"]) == (1, ["99"])
  open_shop.change(add=[{"id": 99}])
  (after,) = open_shop.client.recommend({"user": "anna", "k": 20}).json()["results"]
  assert (after["read"], after["unknown"]) == (2, [])
  assert 99 not in [item["id"] for item in after["items"]]  # seen
  assert open_shop.ids(user="anna") == open_shop.ids(items=[3, 99])


def test_a_version_is_rolled_back_as_often_as_it_is_kept(shop):
  open_shop = shop()
  versions = [open_shop.now["version"]]
  for name in range(100, 102 + KEPT):
    versions.append(open_shop.change(add=[{"id": name}])["version"])
  assert len({*versions}) == len(versions)
  answers = {}
  for version in reversed(versions[-KEPT - 1 :]):
    now = open_shop.now
    assert now["version"] == version
    answers[version] = open_shop.ids(items=[1], k=20)
    rolled = open_shop.roll_back()
  assert (rolled.status_code, "no version before" in rolled.json()["error"]) == (409, True)
  assert open_shop.now["version"] == versions[2]
  assert open_shop.change(add=[{"id": 102}])["version"] == versions[3]  # the same again
  assert open_shop.ids(items=[1], k=20) == answers[versions[3]]


def test_a_base_that_moved_is_refused(shop):
  open_shop = shop()
  first = open_shop.now["version"]
  open_shop.change(add=[{"id": 99}])
  open_shop.refused(409, "no longer the base", add=[{"id": 100}], base=first)
  response = open_shop.roll_back(base=first)
  assert response.status_code == 409


def test_of_two_changes_at_once_one_is_made(shop, monkeypatch):
  open_shop = shop()
  gate, check = threading.Event(), validation.Validator.check

  def slow(*args):
    assert gate.wait(30)
    check(*args)

  monkeypatch.setattr(validation.Validator, "check", slow)
  base = open_shop.now["version"]
  statuses = []

  def ask(name):
    statuses.append(open_shop.post(base, add=[{"id": name}]).status_code)

  threads = [threading.Thread(target=ask, args=[name]) for name in (99, 100)]
  for thread in threads:
    thread.start()
  while not statuses:  # one was refused while the other is being made
    assert threads[0].is_alive()
    assert open_shop.ids(items=[1])
  gate.set()
  for thread in threads:
    thread.join(30)
  assert sorted(statuses) == [200, 409]
  assert open_shop.now["items"] == 31


BAD = [
  ({"add": [{"id": 1}]}, "item '1' is in the catalogue already"),
  ({"add": [{"id": 99}, {"id": "99"}]}, "item '99' is given twice"),
  ({"add": [{"id": 99}], "remove": [99]}, "item '99' is given twice"),
  ({"add": [{"id": "lamp"}]}, "add[0].id is no whole number"),
  ({"add": [{"id": "007"}]}, "add[0].id is no whole number"),
  ({"add": [{"id": " 99"}]}, "add[0].id has blanks around it"),
  ({"add": [{"title": "x"}]}, "add[0].id is neither text nor a whole number"),
  ({"add": [{"id": 99, "colour": 3}]}, "items have id, title, categories, text, year"),
  ({"add": [{"id": 99, "year": "old"}]}, "add[0].year is no number"),
  ({"add": [{"id": 99, "year": True}]}, "add[0].year is no number"),
  ({"add": [{"id": 99, "year": 10**400}]}, "add[0].year is no number"),
  ({"add": [{"id": 99, "categories": "a"}]}, "add[0].categories is no list"),
  ({"add": [{"id": 99, "categories": [1.5]}]}, "categories[0] is neither text"),
  ({"add": [{"id": 99, "title": None}]}, "add[0].title is neither text"),
  ({"add": [{"id": 99, "title": "nameless"}]}, "an item is nameless; give it a name"),
  ({"add": [{"id": 99, "title": "broken"}]}, "the server's log says why"),
  ({"add": [{"id": name} for name in range(90, 97)]}, "do not fit"),
  ({"remove": [77]}, "remove[0]: no item of the catalogue is '77'"),
  ({"remove": [0, 1, *range(3, 30), 50]}, "nothing would be left"),
  ({"add": [], "remove": []}, "the body changes nothing"),
  ({"add": "x"}, "add is no list"),
  ({"more": 1}, "the body has 'more'"),
]


def test_bad_changes_are_refused_and_the_version_before_answers(shop, capsys):
  open_shop = shop()
  open_shop.change(add=[{"id": 50}], remove=[2])
  for body, words in [*BAD, ({"add": [{"id": 2, "title": "x"}]}, "give its id alone")]:
    open_shop.refused(422, words, **body)
  assert "/srv/secret" in capsys.readouterr().err
  response = open_shop.client.call("POST", "/v1/catalogue", json={"add": [{"id": 99}]})
  assert (response.status_code, "base is missing" in response.json()["error"]) == (422, True)


def test_a_version_that_is_not_sound_never_answers(shop, monkeypatch, run):
  open_shop = shop()
  make, moved = catalogue_lib.SnapshotMaker.next, catalogue_lib.SnapshotMaker._moved

  def with_params(change):
    def changed(self, trie):
      model, params = moved(self, trie)
      return model, {**params, **change(params)}

    monkeypatch.setattr(catalogue_lib.SnapshotMaker, "_moved", changed)

  def rolled(params, name):
    return np.roll(np.asarray(params[name]), 1, axis=0)

  with_params(lambda p: {"start": np.asarray(p["start"]) * np.nan})
  open_shop.refused(422, "hold NaN or infinity", add=[{"id": 99}])
  with_params(lambda p: {"trie": np.asarray(p["trie"]) + 1})
  open_shop.refused(422, "the server's log says why", add=[{"id": 99}])
  with_params(lambda p: {"node": rolled(p, "node")[:-1]})
  open_shop.refused(422, "the server's log says why", add=[{"id": 99}])
  monkeypatch.undo()

  def broken(change):
    def made(self, state, before):
      snapshot = make(self, state, before)
      return dataclasses.replace(snapshot, **change(snapshot, before))

    monkeypatch.setattr(catalogue_lib.SnapshotMaker, "next", made)

  broken(lambda mine, before: {"search": before.search})
  open_shop.refused(422, "differ in number", add=[{"id": 99}])
  broken(lambda mine, before: {"search": before.search})
  open_shop.refused(422, "leads to other items", remove=[3])
  monkeypatch.undo()
  assert open_shop.change(add=[{"id": 99}])["items"] == 31


def test_a_search_that_disagrees_with_the_likelihood_is_noticed(compiled, monkeypatch):
  snapshot = compiled.now.snapshot
  find = snapshot.search.find

  def check(change):
    monkeypatch.setattr(snapshot.search, "find", lambda asked: [change(one) for one in find(asked)])
    compiled._validator.check(snapshot)

  check(lambda found: found)
  for change, words in [
    (lambda f: f._replace(score_K=f.score_K * 1.5), "from the likelihood"),
    (lambda f: f._replace(item_K=f.item_K[::-1]), "from the likelihood"),
    (lambda f: f._replace(item_K=f.item_K * 0), "items twice"),
    (lambda f: f._replace(item_K=f.item_K[:5], score_K=f.score_K[:5]), "too few"),
    (lambda f: f._replace(score_K=f.score_K[::-1]), "not in order"),
  ]:
    with pytest.raises(validation.InvalidCatalogueError, match=words):
      check(change)


def test_of_long_histories_the_ends_are_checked(compiled, monkeypatch):
  monkeypatch.setattr(validation, "_LATEST", 2)
  snapshot, validator = compiled.now.snapshot, validation.Validator()
  find, asked = snapshot.search.find, []
  monkeypatch.setattr(snapshot.search, "find", lambda asks: asked.extend(asks) or find(asks))
  validator.check(snapshot)  # search and likelihood agree on what they read
  assert {len(question.history_S) for question in asked} == {2}
  histories = snapshot.asker.dataset.histories
  assert asked[0].history_S.tolist() == histories.item_T[: histories.offsets_Up1[1]][-2:].tolist()
  longer = snapshot.asker.of_user(histories.user_ids_U.item(0)).rows
  monkeypatch.setattr(
    snapshot.search,
    "find",
    lambda asks: find([q._replace(history_S=np.array(longer, np.int32)) for q in asks]),
  )
  with pytest.raises(validation.InvalidCatalogueError, match="from the likelihood"):
    validator.check(snapshot)


def test_a_new_start_has_the_versions_of_the_one_before(shop):
  open_shop = shop()
  open_shop.change(add=[{"id": 99, "title": "A", "categories": ["b"], "year": 2000}])
  open_shop.change(add=[{"id": 98}], remove=[4, 99])
  open_shop.change(remove=[5])
  open_shop.change(add=[{"id": 4}], remove=[1])
  open_shop.change(add=[{"id": 97}])
  assert open_shop.roll_back().status_code == 200
  open_shop.change(add=[{"id": 96}])
  before, answer = open_shop.now, open_shop.ids(items=[7], k=20)
  again = shop()
  assert again.now == {**before, "room": again.now["room"]}
  assert again.now["room"] >= 20  # reserved anew
  assert again.ids(items=[7], k=20) == answer
  assert again.client.call("GET", "/v1/items/98").status_code == 200
  assert again.roll_back().json()["version"] == before["previous"][0]


def test_whatever_kills_a_change_leaves_one_of_two_versions(shop, monkeypatch):
  open_shop = shop()
  first = open_shop.now["version"]
  add_change = SQLiteStore.add_change

  def dies_before(self, changed, turn):
    raise KeyboardInterrupt

  def dies_after(self, changed, turn):
    add_change(self, changed, turn)
    raise KeyboardInterrupt

  for die, items in ((dies_before, 30), (dies_after, 31)):
    monkeypatch.setattr(SQLiteStore, "add_change", die)
    with pytest.raises(KeyboardInterrupt):
      open_shop.service.catalogue.change(
        catalogue_lib.Wished([{"id": 99}], [], open_shop.now["version"])
      )
    monkeypatch.undo()
    assert open_shop.now["version"] == first  # nothing was acknowledged
    open_shop = shop()
    assert open_shop.now["items"] == items


def test_a_journal_that_does_not_fit_is_refused(shop):
  open_shop = shop()
  open_shop.change(add=[{"id": 99}])
  open_shop.change(remove=[3])
  store = open_shop.service.store
  kept = store.changes
  wrong = kept[1]._replace(change=kept[1].change.replace('"3"', '"4"'))
  store.replace_changes([kept[0], wrong], store.turns.changes)
  with pytest.raises(ValueError, match=f"and not to {kept[1].version}, as they were made"):
    shop()


def test_changes_of_another_run_are_made_again(shop, run):
  open_shop = shop()
  open_shop.change(add=[{"id": 99, "title": "Kept"}, {"id": 98}], remove=[3, 4])
  open_shop.change(add=[{"id": 4}], remove=[98])
  trained = {**run.params, "start": run.params["start"] + 1}
  another = dataclasses.replace(run, params=trained)
  assert fingerprint(trained, run.ids.codes) != fingerprint(run.params, run.ids.codes)
  again = shop(run=another)
  now = again.now
  assert (now["items"], now["removed"], len(now["previous"])) == (30, 1, 1)
  assert again.client.call("GET", "/v1/items/99").json()["title"] == "Kept"
  assert [changed.version for changed in again.service.store.changes] == [now["version"]]
  assert shop(run=another).now["version"] == now["version"]


def test_without_a_tokenizer_items_only_go(shop):
  open_shop = shop(new_ids=None)
  open_shop.refused(422, "without its tokenizer", add=[{"id": 99}])
  assert open_shop.change(remove=[3])["items"] == 29


def test_answers_are_right_for_the_version_they_name_while_versions_change(shop):
  """16 clients, changes, refused ones and a roll-back: no mixture, no error, no compilation."""
  open_shop = shop()
  service, stop = open_shop.service, threading.Event()
  snapshots = {open_shop.now["version"]: service.catalogue.now}
  given, gone, failed = [], [], []  # (question, answer); (item, number of answers that had begun)
  begun = [0]

  def ask(seed):
    rng = np.random.default_rng(seed)
    while not stop.is_set():
      request = {"items": rng.permutation(30)[:4].tolist(), "k": int(rng.integers(1, 20))}
      begun[0] += 1
      forbidden = [item for item, _ in list(gone)]
      response = open_shop.client.recommend(request)
      (given if response.status_code == 200 else failed).append((request, response, forbidden))

  compiled = service.compilations.count
  threads = [threading.Thread(target=ask, args=[seed]) for seed in range(6)]
  for thread in threads:
    thread.start()

  def note(response):
    assert response.status_code == 200, response.text
    snapshots[response.json()["version"]] = service.catalogue.now

  note(open_shop.post(add=[{"id": 99}], remove=[3]))
  gone.append((3, begun[0]))
  note(open_shop.post(add=[{"id": 98}], remove=[5]))
  gone.append((5, begun[0]))
  open_shop.client.call("DELETE", "/v1/items/7")
  snapshots[open_shop.now["version"]] = service.catalogue.now
  gone.append((7, begun[0]))
  assert open_shop.post(base="another", remove=[8]).status_code == 409
  assert open_shop.post(add=[{"id": 1}]).status_code == 422
  note(open_shop.post(remove=[9]))
  gone.append((9, begun[0]))
  note(open_shop.post(add=[{"id": 97}]))
  note(open_shop.roll_back())
  stop.set()
  for thread in threads:
    thread.join(60)
  assert service.compilations.count == compiled
  assert not failed
  assert len({answer.json()["catalogue"] for _, answer, _ in given}) >= 2
  for request, response, forbidden in given:
    body = response.json()
    found = [item["id"] for item in body["results"][0]["items"]]
    assert not {*found} & {*forbidden}
    snapshot = snapshots[body["catalogue"]].snapshot
    reading = snapshot.asker.of_items(request["items"])
    for withdrawn in ([], [7]):
      question, _ = snapshot.asker.question(reading, Wanted(k=request["k"]), withdrawn)
      right = snapshot.search.find([question])[0].item_K[: request["k"]].tolist()
      expected = [snapshot.asker.described(row)[0] for row in right]
      if found == expected:
        break
    else:
      raise AssertionError(f"{found} is no answer of {body['catalogue']}")


@pytest.mark.slow  # it compiles two sets of programs
def test_used_up_room_is_made_anew_while_the_version_before_answers(
  run, tmp_path, served, monkeypatch
):
  monkeypatch.setattr(snapshot_lib, "rows_for", lambda trained, new, room: 0)
  store = SQLiteStore(tmp_path / "events.sqlite")
  service = Service(run, store, new_ids=Numbers(run), room=1)
  service.catalogue.now.snapshot.search.batches = (1,)
  service.start()
  open_shop = Shop(service, type(served[1])(make_app(service)))
  assert open_shop.now["room"] == 2  # up to 32
  assert open_shop.change(add=[{"id": 90}, {"id": 91}])["compiled"] == 0
  grown = open_shop.change(add=[{"id": 92}])
  assert (grown["compiled"], grown["items"]) == (2, 33)
  assert grown["room"] > 0
  compiled = service.compilations.count
  assert open_shop.roll_back().json()["compiled"] == 0
  assert open_shop.change(add=[{"id": 93}])["compiled"] == 0
  assert open_shop.ids(items=[1], allowed=[90, 93]) in ([90, 93], [93, 90])
  assert service.compilations.count == compiled
  service.stop()


def test_the_usual_room():
  assert [usual_room(count) for count in (10, 10_000, 1_000_000)] == [256, 500, 50_000]


def test_shapes_of_snapshots_are_those_that_were_compiled(compiled, shop):
  open_shop = shop()
  before = open_shop.service.catalogue.now.snapshot
  open_shop.change(add=[{"id": 99}], remove=[1])
  after = open_shop.service.catalogue.now.snapshot
  assert after.search.program_key == before.search.program_key
  assert after.search.shapes == before.search.shapes
  assert json.dumps(open_shop.now)
  for mine, its in zip(
    jax.tree.leaves(after.search.params), jax.tree.leaves(before.search.params), strict=True
  ):
    assert (mine.shape, mine.dtype) == (its.shape, its.dtype)
