"""Users' attributes given to `sidrec.fit` as a table: what a file of the same users makes."""

from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
from attributed import NAMES, make_config, make_frames
from tiny import ROWS, make_dataset

import sidrec
from sidrec.config import custom_config
from sidrec.data.inputs import known_inputs


class NAType:
  """What Pandas has for a missing value in columns that may be empty."""

  def __eq__(self, other):
    return self

  def __bool__(self):
    raise TypeError("boolean value of NA is ambiguous")

  __ne__, __hash__ = __eq__, None


class Table:
  """Columns as Pandas has them: by name, iterable; no Polars."""

  def __init__(self, frame, missing):
    self._frame, self._missing, self.columns, self.shape = (
      frame,
      missing,
      frame.columns,
      frame.shape,
    )

  def __getitem__(self, name):
    return [self._missing if value is None else value for value in self._frame[name].to_list()]


def without_users(folder):
  """The settings of `make_config`, which name no file of users."""
  config = make_config(folder)
  config.data.table.users_path = ""
  return config


@pytest.fixture(scope="module")
def of_files(tmp_path_factory):
  folder = tmp_path_factory.mktemp("files")
  return sidrec.fit(make_config(folder), folder / "run")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
  folder = tmp_path_factory.mktemp("frames")
  log, users = make_frames()
  return sidrec.fit(log, folder, config=without_users(folder), users=users)


def test_a_table_trains_what_its_file_trains(of_files, fitted):
  """It lacks a user and has one whom the log lacks, one twice, and a column that nobody names."""
  found, expected = fitted.dataset, of_files.dataset
  assert [*found.users] == [*NAMES]
  for name, column in expected.users.items():
    assert found.users[name].dtype == column.dtype
    assert str(found.users[name].tolist()) == str(column.tolist())
  assert found.users["job"][3] == "baker"  # the first of two rows
  for note in (
    "users.parquet lacks 1 user of the data set",
    "dropped 1 row of users that an earlier row describes",
  ):
    assert note in found.notes
  np.testing.assert_array_equal(fitted.ids.codes, of_files.ids.codes)
  jax.tree.map(np.testing.assert_array_equal, fitted.params, of_files.params)
  assert fitted.model.config.inputs == of_files.model.config.inputs
  asked = {"items": ROWS[7], "attributes": {"job": "cook", "age": 30}}
  for request in (asked, {"items": ROWS[7]}, {"user": 7}, {"user": 59}):
    assert fitted.recommend(**request) == of_files.recommend(**request)
  assert fitted.recommend(**asked) != fitted.recommend(items=ROWS[7])


def test_the_folder_holds_the_table(fitted):
  loaded = sidrec.load(fitted.workdir)
  assert loaded.recommend(user=7) == fitted.recommend(user=7)
  folder, (log, users) = Path(fitted.workdir), make_frames()
  before = sorted(folder.rglob("*.json"))
  config = without_users(folder)
  sidrec.fit(log, folder, config=config, users=users)
  assert sorted(folder.rglob("*.json")) == before  # nothing was done again
  other = sidrec.fit(log, folder, config=config, users=users.with_columns(job=pl.lit("cook")))
  assert set(other.dataset.users["job"].tolist()) == {"cook", ""}


@pytest.mark.parametrize("missing", [None, float("nan"), NAType()])
def test_tables_of_pandas_lack_values_in_their_own_way(of_files, tmp_path, missing):
  log, users = make_frames()
  users = users.rename({"user_id": "user"})  # as the log calls them
  config = without_users(tmp_path)
  config.model.inputs.user_attributes = ()
  config.train.update(steps=2, steps_per_call=2, validate_every=2)
  run = sidrec.fit(log, tmp_path, config=config, users=Table(users, missing))
  for name, column in of_files.dataset.users.items():
    assert str(run.dataset.users[name].tolist()) == str(column.tolist())


@pytest.mark.parametrize(
  ("change", "error", "message"),
  [
    (lambda users: [1], TypeError, "users are a list; give a table with columns"),
    (
      lambda users: users.drop("age"),
      ValueError,
      r"users\.parquet has no column 'age', which was to be its attribute of users; it has: "
      r"user_id, job, town; data\.table\.user_columns says what",
    ),
    (
      lambda users: users.rename({"user_id": "client"}),
      ValueError,
      "has no column 'user_id', which was to be its user",
    ),
    (
      lambda users: users.with_columns(age=pl.lit("old")),
      ValueError,
      r"users\.parquet, row 1: the age 'old' is no number",
    ),
  ],
)
def test_tables_that_cannot_be_are_refused_as_files_are(tmp_path, change, error, message):
  log, users = make_frames()
  with pytest.raises(error, match=message):
    sidrec.fit(log, tmp_path / "run", config=without_users(tmp_path), users=change(users))


def test_what_fit_cannot_take_is_refused_before_anything_is_written(tmp_path):
  log, users = make_frames()
  for config, columns, message in (
    (custom_config(), {}, "and no attribute is named; give columns in data.table.user_columns"),
    (custom_config(), {"id": "", "categories": ("job",)}, "names no column of users' ids"),
  ):
    config.data.table.user_columns.update(columns)
    with pytest.raises(ValueError, match=message):
      sidrec.fit(log, tmp_path / "run", config=config, users=users)
  with pytest.raises(TypeError, match="the settings name the data; give config, items and users"):
    sidrec.fit(custom_config(), tmp_path / "run", users=users)
  with pytest.raises(TypeError, match="a Dataset has its own users' attributes"):
    sidrec.fit(make_dataset(), tmp_path / "run", users=users)
  assert not (tmp_path / "run").exists()


def test_users_without_attributes_change_nothing(tmp_path):
  """A model that reads none trains as without the table, and says that it reads none."""
  log, users = make_frames()
  runs = []
  for name, given in (("with", users), ("without", None)):
    (tmp_path / name).mkdir()
    config = without_users(tmp_path / name)
    config.model.inputs.user_attributes = ()
    config.train.update(steps=2, steps_per_call=2, validate_every=2)
    runs.append(sidrec.fit(log, tmp_path / name, config=config, users=given))
  jax.tree.map(np.testing.assert_array_equal, runs[0].params, runs[1].params)
  with pytest.raises(ValueError, match="attributes are given, and this model reads nothing of u"):
    runs[0].recommend(items=[1], attributes={"job": "cook"})


@pytest.mark.slow
def test_an_update_takes_a_table_of_users(tmp_path):
  log, users = make_frames()
  config = without_users(tmp_path)
  config.nightly.update(steps_share=1.0, max_worse=10.0)
  run = sidrec.fit(log, tmp_path / "run", config=config, users=users)
  more = [(name, item, 100 + at) for name in (100, 101) for at, item in enumerate(ROWS[8][:5])]
  grown = pl.concat([log, pl.DataFrame(more, log.schema, orient="row")])
  with pytest.raises(
    TypeError, match=r"give users with a table alone; name a file in config\.data"
  ):
    run.update(users=users)
  new = pl.DataFrame({"user": [100], "job": ["cook"], "age": [40], "town": ["z"]})
  updated = run.update(grown, users=pl.concat([users.rename({"user_id": "user"}), new]))
  inputs = known_inputs(updated.model.config.inputs)
  given = inputs.given_user({"job": "cook", "age": 40})
  assert updated.asker.of_user(100).attributes == given
  assert updated.asker.of_user(101).attributes == (0, 0)
  assert updated.asker.of_user(7).attributes == run.asker.of_user(7).attributes
