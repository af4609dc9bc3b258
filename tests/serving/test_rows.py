"""Rows of removed items are used again, and nobody takes one item for another."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ROWS

import sidrec
from sidrec.data.sources.build import item_table
from sidrec.run.answers import Wanted
from sidrec.serving import catalogue as catalogue_lib
from sidrec.serving import validation
from sidrec.serving.bodies import RequestError, Wished
from sidrec.serving.catalogue import KEPT
from sidrec.serving.snapshot import MOST_SPARE, rows_for
from sidrec.serving.state import (
  Change,
  NewItem,
  after,
  compacted,
  first_state,
  net,
  unused_rows,
)

CODES = np.stack(np.unravel_index(np.arange(64), (8, 8)), axis=1).astype(np.int32)
TRAINED = 10


def first():
  """The first catalogue; ids are text, which NumPy 2.4 may crash on when it sorts them."""
  items = item_table(
    [str(name) for name in range(TRAINED)],
    [f"title {name}" for name in range(TRAINED)],
    [["abc"[name % 3]] for name in range(TRAINED)],
    {"year": list(range(1990, 1990 + TRAINED))},
  )
  ids = sidrec.SemanticIDManager.from_codes(CODES[:TRAINED], 8)
  return first_state(items, ids, "run")


def random_change(rng, state, kept, fresh):
  """A change that a catalogue can have: its rows are those that `unused_rows` allows."""
  names = state.items.ids_N.tolist()
  there = [str(name) for name, among in zip(names, state.among_N, strict=True) if among]
  away = [str(name) for name, among in zip(names, state.among_N, strict=True) if not among]
  remove = rng.permutation(there)[: min(rng.integers(0, 4), len(there) - 1)].tolist()
  back = rng.permutation(away)[: rng.integers(0, 3)].tolist() if away else []
  rows = [row for row in unused_rows(state, kept) if str(names[row]) not in back]
  rows = rows[: rng.integers(0, 3)] + [len(names)] * rng.integers(0, 2)
  taken = {tuple(code) for code in np.delete(state.ids.codes, rows[:-1], axis=0).tolist()}
  taken |= {tuple(code) for code in state.ids.codes.tolist()}
  codes = [tuple(code) for code in CODES.tolist() if tuple(code) not in taken]
  add = [
    NewItem(
      str(next(fresh)), f"new {row}", ("x", "a")[: rng.integers(0, 3)], "", (("year", 2000.0),)
    )
    for row in rows
  ]
  return Change((*add,), (*codes[: len(add)],), (*back,), (*remove,), (*rows,))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_states_after_random_changes(seed):
  """One by one, all at once, from text, made one: the same catalogue; items keep rows and IDs."""
  rng, fresh = np.random.default_rng(seed), iter(range(100, 1000))
  states, changes, most = [first()], [], 0
  for _ in range(12):
    before, kept = states[-1], states[-KEPT:]
    change = random_change(rng, before, kept, fresh)
    state = after(before, [change], "run")
    changes.append(Change.of_text(change.as_text()))
    assert changes[-1] == change
    there = np.flatnonzero(before.among_N)
    gone = [before.items.ids_N[row] for row in there if not state.among_N[row]]
    assert sorted(map(str, gone)) == sorted(set(change.remove) - set(change.back))
    same = state.items.ids_N[: before.items.num_items] == before.items.ids_N
    assert same[:TRAINED].all()
    for other in kept:  # what a version holds to which one can go back
      shared = other.among_N[: len(same)]
      assert (state.items.ids_N[: len(shared)] == other.items.ids_N)[shared].all()
      assert (state.ids.codes[: len(shared)] == other.ids.codes)[shared].all()
    assert (state.ids.codes[: len(same)] == before.ids.codes)[same].all()
    assert len({*state.items.ids_N.tolist()}) == state.items.num_items
    for item, row in zip(change.add, change.rows, strict=True):
      assert (state.items.ids_N[row], state.items.titles_N[row]) == (item.id, item.title)
      assert sorted(state.items.categories_of(row)) == sorted(item.categories)
      assert state.items.numeric["year"][row] == 2000
    most = max(most, int(state.among_N[TRAINED:].sum()))
    states.append(state)
  last = states[-1]
  for found in (
    after(states[0], changes, "run"),
    after(states[0], [compacted(states[0], changes)], "run"),
    after(after(states[0], [compacted(states[0], changes[:7])], "run"), changes[7:], "run"),
  ):
    assert (found.version, found.gone) == (last.version, last.gone)
    assert found.items.titles_N.tolist() == last.items.titles_N.tolist()
    np.testing.assert_array_equal(found.items.numeric["year"], last.items.numeric["year"])
  known = {str(name) for name in range(TRAINED)}
  new, gone = net(changes, known)
  names = zip(map(str, last.items.ids_N.tolist()), last.among_N.tolist(), strict=True)
  there = {name for name, among in names if among}
  assert {str(item.id) for item in new} == there - known
  assert {*gone} == known - there


def test_a_row_that_something_needs_is_not_taken():
  state = after(first(), [Change((NewItem("100"),), (tuple(CODES[20]),))], "run")
  code = (tuple(CODES[21]),)
  for row in (0, TRAINED, TRAINED + 2, -1):
    with pytest.raises(ValueError, match=f"item '101' cannot have row {row}, which is another"):
      after(state, [Change((NewItem("101"),), code, rows=(row,))], "run")
  removed = after(state, [Change(remove=("100", "3"))], "run")
  assert removed.gone == (TRAINED,)  # what the run was trained on keeps its row
  assert unused_rows(removed, [state, removed]) == []
  assert unused_rows(removed, [removed]) == [TRAINED]
  taken = after(removed, [Change((NewItem("101"),), code, rows=(TRAINED,))], "run")
  assert taken.items.ids_N.tolist() == [*map(str, range(TRAINED)), "101"]
  with pytest.raises(ValueError, match="'100' is in the catalogue already"):  # it is no item
    after(taken, [Change(back=("100",))], "run")
  assert after(taken, [Change((NewItem("100"),), (tuple(CODES[20]),))], "run").items.num_items == 12
  with pytest.raises(ValueError, match="differ in number"):
    Change.of_text('[[[1, "", [], "", []]], [[0, 1]], [], [], [3, 4]]')
  old = Change.of_text('[[[1, "", [], "", []]], [[0, 1]], ["2"], []]')  # before rows were noted
  assert (old.rows, old.back) == ((), ("2",))


def test_a_version_that_mixes_items_up_is_noticed():
  state = after(first(), [Change((NewItem("100"),), (tuple(CODES[20]),))], "run")
  removed = after(state, [Change(remove=("100",))], "run")
  new = (NewItem("101"),), (tuple(CODES[21]),)
  taken = after(removed, [Change(*new, rows=(TRAINED,))], "run")
  ids_N, codes = state.items.ids_N.copy(), state.ids.codes.copy()
  ids_N[[3, 4]], codes[[3, 4]] = ids_N[[4, 3]], codes[[4, 3]]
  swapped = dataclasses.replace(
    state,
    items=state.items._replace(ids_N=ids_N),
    ids=sidrec.SemanticIDManager.from_codes(codes, 8),
  )
  others = dataclasses.replace(state, ids=swapped.ids)
  twice = after(after(state, [Change(remove=("100",))], "run"), [Change(*new)], "run")
  moved = dataclasses.replace(
    taken, items=twice.items, ids=twice.ids, among_N=np.ones(TRAINED + 2, bool)
  )
  moved.items.ids_N[[-2, -1]] = moved.items.ids_N[[-1, -2]]

  def check(mine, its):
    validation._check_known(SimpleNamespace(state=mine), SimpleNamespace(state=its))

  for mine, its in ((taken, removed), (removed, taken), (removed, state), (state, removed)):
    check(mine, its)
  for mine, its, words in (
    (taken, state, "has the row of one that was not removed"),
    (swapped, state, "trained on have other rows"),
    (others, state, "have other IDs now"),
    (moved, removed, "there before have other rows now"),
  ):
    with pytest.raises(validation.InvalidCatalogueError, match=words):
      check(mine, its)


def changed(shop, add=(), remove=()):
  """A change as the server makes it, with what it has to keep."""
  catalogue = shop.service.catalogue
  wished = Wished([{"id": name} for name in add], [*map(str, remove)], catalogue.now[0].version)
  return catalogue.change(wished)


def check_histories(shop, events):
  """Whatever came and went, histories are of the items that they were of."""
  snapshot = shop.service.catalogue.now.snapshot
  asker = snapshot.asker
  for user in (0, 7):
    assert [asker.described(row)[0] for row in asker.of_user(user).rows] == ROWS[user]
  reading = asker.of_items(events)
  known = [name for name in events if str(name) in asker.row_of]
  assert [asker.described(row)[0] for row in reading.rows] == known
  assert [*reading.unknown] == [str(name) for name in events if name not in known]
  question, _ = asker.question(reading, Wanted(k=20))
  found = snapshot.search.find([question])[0]
  names = [asker.described(row)[0] for row in found.item_K.tolist()]
  assert not {*names} & {*events}  # seen


def test_a_catalogue_in_constant_change_keeps_its_room(shop):
  """30 changes, of which some are taken back; the catalogue has six IDs more than items."""
  open_shop, rng = shop(), np.random.default_rng(3)
  catalogue = open_shop.service.catalogue
  room, compiled = catalogue.room, open_shop.service.compilations.count
  fresh, live, answers, rooms, reused = iter(range(100, 999)), [], {}, [], 0
  described = [open_shop.now["version"]]
  events = [3]
  for step in range(30):
    before = catalogue.now.snapshot
    answers[before.version] = open_shop.ids(items=[1, 5], k=20)
    if step % 7 == 6:  # taken back
      back = open_shop.roll_back().json()
      described.pop()
      assert back["version"] == described[-1]
      assert open_shop.ids(items=[1, 5], k=20) == answers[back["version"]]
    else:
      remove = live[:1] + ([int(rng.integers(0, 30))] if step % 5 == 0 else [])
      gone = [name for name in range(30) if before.row(str(name)) is None]
      name = next(fresh)
      changed(open_shop, add=[name, *gone[:1]], remove=[x for x in remove if x not in gone])
      events.append(name)
      described.append(open_shop.now["version"])
    now = catalogue.now.snapshot
    live = now.state.items.ids_N[30:][now.state.among_N[30:]].tolist()
    for name, row in before.asker.row_of.items():
      if name in now.asker.row_of:
        assert now.asker.row_of[name] == row
        assert before.asker.ids.get_semantic_id(row) == now.asker.ids.get_semantic_id(row)
      elif step % 7 != 6:
        assert row >= 30
        assert not before.has(row)
        reused += 1
    check_histories(open_shop, events)
    rooms.append(catalogue.room)
  assert reused > 5
  assert now.state.items.num_items <= 36
  assert min(rooms) >= room - 2 * KEPT - 3
  assert open_shop.service.compilations.count == compiled
  version, answer = open_shop.now["version"], open_shop.ids(items=[1, 5], k=20)
  stored = open_shop.service.store.changes
  monkeypatch = pytest.MonkeyPatch()
  monkeypatch.setattr(catalogue_lib, "_MOST_CHANGES", 5)
  for _ in range(2):  # many changes, and what was made of them
    again = shop()
    assert (again.now["version"], again.ids(items=[1, 5], k=20)) == (version, answer)
    assert len(again.service.store.changes) == KEPT + 1 < len(stored)
  monkeypatch.undo()
  assert again.roll_back().json()["version"] == described[-2]


def test_removed_items_come_back_as_they_were_or_as_new_ones(shop):
  open_shop = shop()
  told = {"id": 99, "title": "New (2024)", "categories": ["b"], "year": 2024}
  open_shop.change(add=[told])
  code = open_shop.client.call("GET", "/v1/items/99").json()["semantic_id"]
  open_shop.change(remove=[99])
  for other in ({"title": "Else"}, {"categories": ["b", "c"]}, {"year": 2023}, {"text": "more"}):
    open_shop.refused(422, "comes back as it was", add=[{**told, **other}])
  for same in (told, {"id": 99}, {"id": 99, "year": 2024}):
    open_shop.change(add=[same])
    item = open_shop.client.call("GET", "/v1/items/99").json()
    assert (item["title"], item["semantic_id"]) == ("New (2024)", code)
    open_shop.change(remove=[99])
  # Five IDs are free; the sixth is that of what was removed.
  for name in range(100, 100 + KEPT):
    open_shop.change(add=[{"id": name}])
  open_shop.refused(422, "do not fit", add=[{"id": name} for name in range(110, 117)])
  open_shop.change(add=[{"id": name} for name in range(110, 113)])
  back = open_shop.client.recommend({"items": [99]}).json()["results"][0]
  assert (back["read"], back["unknown"]) == (0, ["99"])
  open_shop.refused(422, "do not fit", add=[told])
  open_shop.change(remove=[112])
  for _ in range(KEPT):  # until no version holds it that one can go back to
    open_shop.change(**({"add": [{"id": 3}]} if open_shop.now["removed"] > 1 else {"remove": [3]}))
  open_shop.change(add=[told])
  assert open_shop.client.call("GET", "/v1/items/99").json()["title"] == "New (2024)"
  assert open_shop.client.recommend({"items": [99]}).json()["results"][0]["read"] == 1


def test_rows_that_were_never_used_come_first(shop):
  """Where these are too few, what was removed longest ago makes way, unless it comes back."""
  open_shop = shop()
  catalogue = open_shop.service.catalogue
  open_shop.change(add=[{"id": 99}, {"id": 98}])
  open_shop.change(remove=[98])
  open_shop.change(remove=[99])
  for _ in range(KEPT):
    now = catalogue.now.snapshot
    open_shop.change(**({"add": [{"id": 3}]} if now.row("3") is None else {"remove": [3]}))
  before = catalogue.now.snapshot

  def placed(count, capacity, back=()):
    search = SimpleNamespace(trie=SimpleNamespace(num_items=capacity))
    like = SimpleNamespace(state=before.state, asker=before.asker, search=search)
    new = [NewItem(200 + at) for at in range(count)]
    unused = catalogue._unused(before.state)
    return catalogue._placement.placed(new, [*back], like, unused)[1]

  assert placed(2, 64) == (32, 33)
  assert placed(2, 33) == (32, 31)
  assert placed(2, 32) == (31, 30)
  assert placed(2, 32, ["98"]) == (32, 30)  # the room grows
  assert placed(3, 32) == (32, 31, 30)
  with pytest.raises(RequestError, match="do not fit"):
    placed(7, 64)


def test_there_are_rows_for_as_many_items_more_or_a_million():
  assert rows_for(1000, 0, 50) == 2050
  assert rows_for(1000, 3000, 50) == 4050
  assert rows_for(10**7, 0, 500) == 10**7 + MOST_SPARE + 500
  assert rows_for(10**7, 2 * 10**6, 500) == 12 * 10**6 + 500
