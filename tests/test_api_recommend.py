"""`run.recommend`: by original ids and titles, from lists and tables, through few shapes."""

import dataclasses
import json

import jax
import numpy as np
import polars as pl
import pytest
from export_run import fake_hub, leave_out_programs
from tiny import ROWS, make_dataset, tiny_config

import sidrec
from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.data.dataset import held_out_view
from sidrec.data.seen import seen_items
from sidrec.export import bundle as bundle_lib
from sidrec.export.finished import export
from sidrec.run.load import load_recommender
from sidrec.run.recommend import Request, answer
from sidrec.search.buckets import BucketSearch

TITLES = [f"Thing {row} ({1980 + row})" for row in range(28)] + ["Twin", "twin"]


def ids_of(row):
  return [f"i{item}" for item in row]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A run on a table, whose item ids are text, in another order than the numbers in them."""
  folder = tmp_path_factory.mktemp("run")
  config = tiny_config(folder)
  config.model.update(item_head=True, history_length=6)
  log = [(f"u{u}", f"i{i}", t) for u, row in enumerate(ROWS) for t, i in enumerate(row)]
  users, items, times = map(list, zip(*log[::-1], strict=True))
  frame = pl.DataFrame({"user": users, "item": items, "time": times})
  names = pl.DataFrame({"item_id": ids_of(range(30)), "title": TITLES})
  run = sidrec.fit(frame, folder, config=config, items=names)
  return run.config, folder, run


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
  """A run on a `Dataset`, whose ids are numbers; without an item head."""
  folder = tmp_path_factory.mktemp("numbered")
  config = tiny_config(folder)
  config.train.update(steps=2, steps_per_call=2, validate_every=2)
  return config, folder, sidrec.fit(make_dataset(), folder, config=config)


@pytest.fixture(scope="module")
def run(trained):
  return trained[2]


def test_the_evaluated_ranking_and_the_command_lines(trained, tmp_path):
  config, folder, run = trained
  recommender = load_recommender(config, folder)
  task = held_out_view(run.dataset.histories, "test")
  seen, users_U = seen_items(task.histories), np.arange(task.histories.num_users)
  evaluated = recommender.recommend_users(recommender.params, task.histories, users_U, seen)
  ids_N = run.dataset.items.ids_N
  answers = run.recommend(histories=[ids_N[task.histories.of(u)].tolist() for u in users_U], k=20)
  assert len(answers) == 60
  for user, answered in enumerate(answers):
    valid_K = evaluated.valid_BxK[user]
    assert answered.ids == ids_N[evaluated.item_BxK[user][valid_K]].tolist()
    scores = [item.score for item in answered.items]
    np.testing.assert_allclose(scores, evaluated.score_BxK[user][valid_K], atol=1e-5)

  path = tmp_path / "lists.jsonl"
  answer(config, folder, Request(users=["all"], output=str(path)))
  lines = [json.loads(line) for line in path.open()]
  mine = run.recommend(users=[line["user"] for line in lines], k=20)
  assert [one.ids for one in mine] == [line["items"] for line in lines]
  options = {"allow": ["i3,i5,i9,i12"], "deny": ["i5"], "exclude_seen": False}
  answer(config, folder, Request(user=["u7"], output=str(path), **options))
  allowed = run.recommend(
    user="u7", allowed=["i3", "i5", "i9", "i12"], forbidden=["i5"], exclude_seen=False
  )
  assert allowed.ids == json.loads(path.read_text())["items"]
  assert sorted(allowed.ids) == ["i12", "i3", "i9"]


def test_categories_on_the_command_line_and_in_a_program(numbered, tmp_path):
  _, folder, run = numbered
  config, path = run.config, tmp_path / "lists.jsonl"
  options = {"categories": ["a, b"], "forbidden_categories": ["b"], "allow": ["3,4,5,6,9"]}
  answer(config, folder, Request(user=["7"], output=str(path), exclude_seen=False, **options))
  found = json.loads(path.read_text())["items"]
  assert sorted(found) == [3, 6, 9]
  wanted = {"allowed": [3, 4, 5, 6, 9], "categories": ["a", "b"], "forbidden_categories": ["b"]}
  assert run.recommend(user=7, exclude_seen=False, **wanted).ids == found
  with pytest.raises(ValueError, match="--categories: no item has the category 'A'; near: 'a'"):
    answer(config, folder, Request(user=["7"], categories=["b,A"]))
  with pytest.raises(ValueError, match="no item of --allow has any of --categories"):
    answer(config, folder, Request(user=["7"], categories=["a"], allow=["4"]))
  with pytest.raises(ValueError, match="--categories is empty"):
    answer(config, folder, Request(user=["7"], categories=[" "]))
  with pytest.raises(TypeError, match="categories are a str; give a list"):
    run.recommend(user=7, categories="a")


def test_answers_name_items_by_id_title_and_semantic_id(run):
  answered = run.recommend(items=["i1", "i2"], k=5)
  assert len(answered.items) == 5
  for item in answered.items:
    row = run.dataset.items.ids_N.tolist().index(item.id)
    assert item.title == TITLES[int(item.id[1:])]
    assert item.semantic_id == tuple(run.ids.get_semantic_id(row))
    assert item.probability == pytest.approx(np.exp(item.score))
  assert answered == run.recommend(titles=[TITLES[1], TITLES[2]], k=5)
  assert run.recommend(histories=[["i1", "i2"]], k=5) == [answered]
  assert run.recommend(histories=[], k=5) == []
  assert run.recommend(items=[]).ids  # what the model expects of somebody new


def test_what_no_item_is_called_is_named_and_not_used(run):
  known = run.recommend(items=["i1", "i2"])
  answered = run.recommend(items=["i1", "no such", "i2", "1"], forbidden=["gone"])
  assert answered.unknown == ("no such", "1", "gone")
  assert answered.items == known.items
  by_title = run.recommend(titles=[TITLES[1], "thing 2", "TWIN", "Nothing of the kind"])
  assert by_title.taken_for == {"thing 2": "i2"}
  assert by_title.ambiguous == {"TWIN": ("i28", "i29")}
  assert by_title.unknown == ("Nothing of the kind",)
  assert by_title.items == known.items
  assert run.recommend(items=["i1"], allowed=["gone"]).items == ()


def test_long_histories_are_cut_and_all_their_items_count_as_seen(run):
  row = ids_of(range(20))
  answered = run.recommend(items=row, k=20)
  assert answered.read == 6
  assert not {*answered.ids} & {*row}
  repeated = run.recommend(items=row, k=20, exclude_seen=False)
  assert repeated.ids == run.recommend(items=row[-6:], k=20, exclude_seen=False).ids
  assert {*repeated.ids} & {*row}


def test_numbers_and_text_name_the_same_item(numbered):
  run = numbered[2]
  answered = run.recommend(items=[7, "8", np.int32(9)])
  assert answered.unknown == ()
  assert answered == run.recommend(items=["7", "8", "9"])
  assert all(isinstance(item, int) for item in answered.ids)
  # Without an item head, scores are log probabilities of all items together.
  whole = run.recommend(items=[7], k=20, exclude_seen=False)
  assert 0 < sum(item.probability for item in whole.items) <= 1 + 1e-5
  np.testing.assert_allclose(
    [np.log(item.probability) for item in whole.items], [item.score for item in whole.items]
  )
  flat = run.recommend(items=[7], k=20, exclude_seen=False, temperature=100.0)
  assert flat.items[0].probability < whole.items[0].probability
  assert flat.items[-1].probability > flat.items[0].probability * 0.9
  alone = run.recommend(items=[7], k=20, exclude_seen=False, temperature=1)
  assert alone == whole


class Table:
  """Columns as Pandas has them: by name, iterable; no Polars."""

  def __init__(self, **columns):
    self._columns, self.columns = columns, list(columns)
    self.shape = (len(next(iter(columns.values()))), len(columns))

  def __getitem__(self, name):
    return np.array(self._columns[name], object)


@pytest.mark.parametrize("made", [lambda **columns: pl.DataFrame(columns), Table])
def test_tables_of_users_and_items(run, made):
  users, items, times = ["b", "a", "b", "a"], ["i3", "i4", "i5", "nope"], [5, 1, 2, 9]
  answers = run.recommend(histories=made(user=users, item=items, time=times))
  assert [one.user for one in answers] == ["b", "a"]
  assert [one.unknown for one in answers] == [(), ("nope",)]
  assert answers[0].ids == run.recommend(items=["i5", "i3"]).ids
  assert answers[1].ids == run.recommend(items=["i4"]).ids
  in_order = run.recommend(histories=made(user=users, item=items))
  assert in_order[0].ids == run.recommend(items=["i3", "i5"]).ids


@pytest.mark.parametrize(
  ("request_", "error", "message"),
  [
    ({}, TypeError, "takes one of items, titles, user, users, histories, and was given none"),
    ({"items": ["i1"], "user": "u1"}, TypeError, "was given items and user"),
    ({"items": "i1"}, TypeError, "items are a str; give a list"),
    ({"items": {"i1"}}, TypeError, "items are a set; give a list"),
    ({"items": [True]}, TypeError, "items hold True, which is bool"),
    ({"items": [1.0]}, TypeError, "items hold 1.0, which is float"),
    ({"items": [None]}, TypeError, "items hold None"),
    ({"items": [["i1"]]}, TypeError, r"items hold \['i1'\], which is list"),
    ({"histories": ["i1"]}, TypeError, "items are a str; give a list"),
    ({"histories": np.zeros((2, 2))}, TypeError, "items hold 0.0, which is float"),
    ({"titles": [3]}, TypeError, "titles hold 3; give titles as text"),
    ({"user": "nobody"}, ValueError, "user 'nobody' is not in the data set"),
    ({"user": ["u1"]}, TypeError, "user hold"),
    ({"items": ["i1"], "k": 0}, ValueError, "k is 0"),
    ({"items": ["i1"], "k": 21}, ValueError, "k is 21; this run finds at most 20"),
    ({"items": ["i1"], "k": "5"}, TypeError, "k is '5'"),
    ({"items": ["i1"], "temperature": float("nan")}, ValueError, "temperature is nan"),
    ({"items": ["i1"], "exclude_seen": 1}, TypeError, "exclude_seen is 1"),
    ({"items": ["i1"], "forbidden": "i1"}, TypeError, "forbidden are a str"),
    ({"items": ["i1"], "beams": 3}, TypeError, "no option 'beams'"),
    (
      {"histories": pl.DataFrame({"user": [1]})},
      ValueError,
      "no column of items; call it item;",
    ),
    (
      {"histories": pl.DataFrame({"user": [1], "item": ["i1"], "bought": [3]})},
      ValueError,
      "the table has no column time, but bought",
    ),
    (
      {"histories": pl.DataFrame({"user": [1], "item": ["i1"], "time": [None]})},
      ValueError,
      "row 0 of the table has no time",
    ),
  ],
)
def test_mistakes_get_one_sentence(run, request_, error, message):
  with pytest.raises(error, match=message) as raised:
    run.recommend(**request_)
  assert "\n" not in str(raised.value)


def test_rows_are_not_taken_for_ids(run):
  with pytest.raises(TypeError, match="positional argument"):
    run.recommend([[1]])


def test_no_length_compiles_anything_new(run):
  """Histories and lists of every length, and batches of every size, use what is compiled."""
  ids = ids_of(range(30))
  for count in (1, 4, 16):
    run.recommend(histories=[ids[:2]] * count)
    run.recommend(histories=[ids[:2]] * count, allowed=ids)
  compiled = len(run.bucket_search.shapes)
  assert compiled == 6
  events = []
  jax.monitoring.register_event_duration_secs_listener(lambda name, _, **__: events.append(name))
  for length in range(12):
    run.recommend(items=ids[:length], forbidden=ids[: 2 * length], temperature=0.5 + length)
    run.recommend(histories=[ids[: length + n] for n in range(length)], allowed=ids[length:])
  assert not [name for name in events if "compile" in name]
  assert len(run.bucket_search.shapes) == compiled


def test_a_batch_answers_each_request_as_if_it_were_alone(run):
  histories = [ids_of(row[: 1 + at % 8]) for at, row in enumerate(ROWS[:37])]
  together = run.recommend(histories=histories)
  for history, one in zip(histories, together, strict=True):
    alone = run.recommend(items=history)
    assert alone.ids == one.ids


def test_a_search_that_was_not_compiled_ahead_is_refused(run):
  search = BucketSearch(run.model, run.params, run.trie, run.search)
  search.only_compiled = True
  with pytest.raises(ValueError, match="no search was compiled for so many"):
    search.find([run.asker.question(run.asker.of_items(["i1"]), sidrec.api.wanted_of({}))[0]])


def test_what_fit_was_given_is_what_the_run_has(trained, numbered):
  _, folder, run = trained
  history = run.dataset.histories.of(run.asker.user_of["u3"])
  assert run.dataset.items.ids_N[history].tolist() == ids_of(ROWS[3])
  assert sidrec.load(folder).recommend(user="u3") == run.recommend(user="u3")
  config, folder, of_data = numbered
  given = make_dataset()
  assert of_data.dataset.histories.item_T.tolist() == given.histories.item_T.tolist()
  before = sorted(folder.rglob("*.json"))
  sidrec.fit(make_dataset(), folder, config=config)
  assert sorted(folder.rglob("*.json")) == before  # nothing was done again


def test_what_fit_cannot_take_is_refused(numbered, tmp_path):
  with pytest.raises(TypeError, match="data is a list"):
    sidrec.fit([1], tmp_path)
  with pytest.raises(TypeError, match="the settings name the data"):
    sidrec.fit(numbered[0], tmp_path, config=numbered[0])
  with pytest.raises(TypeError, match="a Dataset has its own items"):
    sidrec.fit(make_dataset(), tmp_path, items=pl.DataFrame({"item_id": [1]}))
  assert not list(tmp_path.iterdir())


@pytest.fixture
def without_programs(monkeypatch):
  leave_out_programs(monkeypatch)


def test_a_bundle_of_a_folder_holds_tokenizer_and_settings(numbered, without_programs, tmp_path):
  _, folder, run = numbered
  export(run.config, folder, "bundle", str(tmp_path / "bundle"))
  manifest = json.loads((tmp_path / "bundle" / "MANIFEST.json").read_bytes())
  assert manifest["tokenizer"] == "in semantic_ids.json"
  assert manifest["metrics"] is None
  assert manifest["config"]["train"]["steps"] == 2
  assert str(folder) not in json.dumps(manifest)
  ids = SemanticIDManager.load_from_file(tmp_path / "bundle" / "semantic_ids.json")
  assert ids.add_items(None, [30]).num_items == 31
  card = (tmp_path / "bundle" / "README.md").read_text()
  assert "was not evaluated" in card
  assert "not known to sidrec" in card


def test_a_loaded_run_is_exported_if_its_folder_still_holds_it(
  numbered, without_programs, tmp_path
):
  run = sidrec.load(numbered[1])
  run.export(tmp_path / "bundle")
  assert bundle_lib.is_bundle(tmp_path / "bundle")
  other = dataclasses.replace(run, params=jax.tree.map(lambda x: x + 1, run.params))
  with pytest.raises(ValueError, match="trained anew since it was loaded"):
    other.export(tmp_path / "other")


def test_files_for_language_models_come_from_the_same_mode(numbered, tmp_path):
  _, folder, run = numbered
  export(run.config, folder, "llm", str(tmp_path / "llm"))
  name = run.dataset.name
  names = {path.name for path in (tmp_path / "llm").iterdir()}
  assert {f"{name}.inter.json", f"{name}.item.json", f"{name}.index.json"} < names
  with pytest.raises(ValueError, match="--output=FOLDER"):
    export(run.config, folder, "llm", None)


def test_a_run_comes_back_from_the_hub(numbered, without_programs, monkeypatch, tmp_path):
  hub, run = fake_hub(monkeypatch, tmp_path), sidrec.load(numbered[1])
  address = run.push_to_hub("shop/films", with_users=True)
  assert address == "https://hub/shop/films/commit/1"
  assert (hub / "shop" / "films.private").read_text() == "True"
  assert bundle_lib.is_bundle(hub / "shop" / "films")
  assert not list((hub / "shop" / "films").rglob("checkpoints/latest"))
  found = sidrec.load("hf://shop/films@v1")
  assert jax.tree.all(jax.tree.map(np.array_equal, found.params, run.params))
  assert found.ids.codes.tolist() == run.ids.codes.tolist()
  assert found.search == run.search
