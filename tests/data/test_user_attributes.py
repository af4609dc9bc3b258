"""What is known of users: read by every source, kept in stores, numbered by what training met."""

import dataclasses

import numpy as np
import pytest
from tiny import make_dataset

from sidrec.data.batches import packed_batches, sliding_batches
from sidrec.data.cache import load_dataset, save_dataset
from sidrec.data.dataset import TEXT, describing_users, held_out_view, training_view
from sidrec.data.inputs import InputsConfig, KnownInputs, with_known, without_idle_inputs
from sidrec.data.prepare.command import prepare
from sidrec.data.settings import DataConfig, TableConfig
from sidrec.data.sources import registry
from sidrec.data.sources.table import read_table, signature_table
from sidrec.data.store import from_shards, load_store, write_store
from sidrec.data.user_attributes import Attribute, as_json, from_json, met_in

LOG = "user_id,item_id,timestamp\n" + "".join(
  f"u{user},i{k % 4},{k}\n" for user in range(3) for k in range(3 + user)
)
TABLE = (
  "user_id,job,age,town\n"
  "u2,cook,30,Rome\nu0, baker,,Rome\nu0,pope,9,Bari\n,cook,1,Rome\nu9,cook,50,Rome\n"
)
COLUMNS = {"id": "user_id", "categories": ("job", "town"), "numbers": "age"}


def settings_of(folder, table=TABLE, **changes):
  (folder / "log.csv").write_text(LOG)
  (folder / "users.csv").write_text(table)
  path = str(folder / "users.csv")
  return TableConfig(**{"users_path": path, "user_columns": COLUMNS, **changes})


def plain(users):
  return {name: str(column.tolist()) for name, column in users.items()}


READ = {
  "job": "['baker', '', 'cook']",
  "town": "['Rome', '', 'Rome']",
  "age": "[nan, nan, 30.0]",
}


def test_a_table_of_users(tmp_path):
  settings = settings_of(tmp_path)
  data = read_table(str(tmp_path / "log.csv"), 3, settings)
  assert plain(data.users) == READ
  assert data.users["age"].dtype == np.float32
  assert data.users["job"].dtype == TEXT
  for note in (
    "dropped 1 row of users without an id",
    "dropped 1 row of users that an earlier row describes",
    "users.csv lacks 1 user of the data set",
  ):
    assert note in data.notes
  bare = read_table(str(tmp_path / "log.csv"), 3, TableConfig())
  assert dict(bare.users) == {}
  assert bare.notes == tuple(note for note in data.notes if "users" not in note)
  assert signature_table(str(tmp_path / "log.csv"), settings) != signature_table(
    str(tmp_path / "log.csv"), TableConfig()
  )


def test_a_store_keeps_what_is_known_of_its_users(tmp_path):
  data = DataConfig(source="table", path=str(tmp_path / "log.csv"), table=settings_of(tmp_path))
  prepare(data, tmp_path / "store", num_shards=2)
  stored = load_store(tmp_path / "store")
  assert plain(stored.users) == READ
  assert plain(load_store(tmp_path / "store", np.array([2])).users)["job"] == "['cook']"
  assert stored.notes == registry.read("table", data.path, settings=data.table).notes
  save_dataset(tmp_path / "dataset.npz", stored)
  assert plain(load_dataset(tmp_path / "dataset.npz").users) == READ


def test_batches_from_shards_have_the_users_of_those_in_memory(tmp_path):
  rng = np.random.default_rng(0)
  dataset = make_dataset()
  users = {
    "job": np.array(rng.choice(["cook", "baker", ""], 60).tolist(), TEXT),
    "age": rng.integers(18, 70, 60).astype(np.float32),
  }
  dataset = describing_users(dataset._replace(users=users))
  write_store(tmp_path / "store", dataset, 3)
  inputs = with_known(InputsConfig(user_attributes=("job", "age")), users)
  view = training_view(dataset.histories)
  for make in (packed_batches, sliding_batches):
    in_memory = make(view, 5, 8, 0, inputs=inputs)
    of_shards = from_shards(make, tmp_path / "store")(None, 5, 8, 0, inputs=inputs)
    for step in (0, 7):
      expected, found = in_memory(step), of_shards(step)
      assert list(found) == list(expected)
      for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column)
      assert expected["user_BxX"].any()


@pytest.mark.parametrize(
  ("table", "columns", "message"),
  [
    (TABLE, {"categories": ("wage",)}, r"has no column 'wage', which was to be its attribute of u"),
    (TABLE, {"id": "client"}, "has no column 'client', .*data.table.user_columns says what"),
    (TABLE, {"numbers": ("job",)}, "the column 'job' twice"),
    (TABLE, {"categories": (), "numbers": ()}, "and no attribute is named; give columns in"),
    (TABLE, {"id": ""}, "names no column of users' ids"),
    (TABLE, {"title": "job"}, "has 'title'; there are id, categories, numbers"),
    (TABLE.replace("30", "old"), {}, r"users\.csv:2: the age 'old' is no number"),
    (TABLE.replace("job", "user"), {"categories": "user"}, "no attribute can be called 'user'"),
  ],
)
def test_tables_of_users_that_cannot_be(tmp_path, table, columns, message):
  settings = settings_of(tmp_path, table, user_columns={**COLUMNS, **columns})
  with pytest.raises(ValueError, match=message):
    read_table(str(tmp_path / "log.csv"), 3, settings)


def test_a_table_of_other_users_describes_nobody(tmp_path):
  settings = settings_of(tmp_path, TABLE.replace("u", "v").replace("vser", "user"))
  data = read_table(str(tmp_path / "log.csv"), 3, settings)
  assert dict(data.users) == {}
  assert any("users.csv describes no user of the log: its ids look like" in x for x in data.notes)


def test_atomic_files_count_users_that_come_twice(tmp_path):
  rows = "".join(f"u{user}\ti{k}\t{k}\n" for user in range(2) for k in range(3))
  (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + rows)
  (tmp_path / "a.user").write_text("user_id:token\tjob:token\nu1\tcook\nu0\tbaker\nu1\tpope\n")
  data = registry.read("atomic", str(tmp_path))
  assert data.users["job"].tolist() == ["baker", "cook"]
  assert "dropped 1 row of users that an earlier row describes" in data.notes


# Values and rows.


def test_categories_are_those_that_users_share():
  job = np.array(["cook", "", "baker", "cook", "pope", "baker", ""], TEXT)
  (attribute,) = met_in({"job": job}, ("job",))
  assert attribute == Attribute("job", ("baker", "cook"))
  assert attribute.rows == 3
  assert attribute.rows_of(job).tolist() == [2, 0, 1, 2, 0, 1, 0]
  assert attribute.rows_of(np.array(["nurse"], TEXT)).tolist() == [0]
  codes = Attribute("code", ("7",))
  assert [codes.row_of(x) for x in ("7", 7, np.int64(7), "8", None, "", 10**400)] == [
    *(1, 1, 1),
    *(0, 0, 0, 0),
  ]


def test_numbers_fall_into_buckets():
  ages = np.array([1, 18, 18, 25, np.nan, 56], np.float32)
  (few,) = met_in({"age": ages}, ("age",))
  assert few.edges == (18.0, 25.0, 56.0)  # each value its own
  assert few.rows == 5
  assert few.rows_of(ages).tolist() == [1, 2, 2, 3, 0, 4]
  assert [few.row_of(x) for x in (-3, 17.9, 18, 55, 100, None, float("nan"))] == [
    1,
    1,
    2,
    3,
    4,
    0,
    0,
  ]
  assert [few.row_of(x) for x in (10**400, -(10**400), 1e300, 3e38)] == [0, 0, 0, 4]
  many = np.random.default_rng(0).lognormal(size=4000).astype(np.float32)
  (attribute,) = met_in({"wage": many}, ("wage",))
  counts = np.bincount(attribute.rows_of(many), minlength=attribute.rows)
  assert counts[0] == 0
  assert counts[1:].tolist() == [250] * 16  # quantiles
  skewed = np.array([0] * 90 + list(range(1, 30)), np.float32)  # most have the least
  (attribute,) = met_in({"wage": skewed}, ("wage",))
  assert np.bincount(attribute.rows_of(skewed), minlength=attribute.rows)[1:].min() > 0


@pytest.mark.parametrize(
  "attribute", [Attribute("a", ("x", "y")), Attribute("a", None, (1.5, 3.0))]
)
def test_each_row_has_a_value_and_json_keeps_all(attribute):
  assert [attribute.row_of(attribute.value_of(r)) for r in range(attribute.rows)] == list(
    range(attribute.rows)
  )
  assert from_json(as_json([attribute])) == (attribute,)


@pytest.mark.parametrize(
  ("users", "message"),
  [
    ({}, "the users' attribute 'age' .*; nothing is known of its users"),
    ({"job": np.array(["a"], TEXT)}, "'age' .*; there are: job"),
    ({"age": np.array(["3", "4"], TEXT)}, "no two users share a value of 'age'"),
    ({"age": np.array([3, 3, np.nan], np.float32)}, "no two users differ in 'age'"),
  ],
)
def test_attributes_that_tell_nothing_are_refused(users, message):
  with pytest.raises(ValueError, match=message):
    met_in(users, ("age",))


def test_another_kind_than_in_training_is_refused():
  inputs = KnownInputs(user_attributes=("a",), known=(Attribute("a", ("x", "y")),))
  with pytest.raises(ValueError, match="'a' was text in training and is numbers now"):
    inputs.user_rows({"a": np.zeros(2, np.float32)})
  with pytest.raises(TypeError, match=r"attribute 'a' is \['x'\]; give text, or None"):
    inputs.given_user({"a": ["x"]})
  with pytest.raises(TypeError, match="attributes are a str; give names and values"):
    inputs.given_user("x")


def test_views_of_histories_keep_their_users():
  dataset = make_dataset()
  users = {"n": np.arange(60, dtype=np.float32)}
  histories = describing_users(dataset._replace(users=users)).histories
  assert dataset.histories.users is None
  view = held_out_view(histories, "valid").histories
  np.testing.assert_array_equal(view.users["n"], users["n"])
  np.testing.assert_array_equal(view.users_at(np.array([7, 3]))["n"], [7, 3])


def test_settings_without_attributes_are_those_of_before():
  """What a stage's record compares is as it was before there were any."""
  inputs = dataclasses.asdict(InputsConfig(gap=True))
  assert "user_attributes" not in without_idle_inputs({"inputs": inputs})["inputs"]
  on = dataclasses.asdict(InputsConfig(user_attributes=("age",)))
  assert without_idle_inputs({"inputs": on})["inputs"]["user_attributes"] == ("age",)
