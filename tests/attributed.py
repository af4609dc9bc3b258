"""60 users who have a job and an age, or lack one of them: files, frames, and a run to serve."""

import numpy as np
import polars as pl
from tiny import ROWS, all_codes, init_params, make_dataset, make_model, tiny_config

import sidrec
from sidrec.data.dataset import TEXT, describing_users
from sidrec.data.inputs import InputsConfig, with_known
from sidrec.run.settings import RunConfig
from sidrec.search.settings import SearchConfig

JOBS = ("baker", "cook", "")
NAMES = ("job", "age")


def job(user):
  return JOBS[user % 3]


def age(user):
  return "" if user % 5 == 0 else str(20 + 10 * (user % 4))


def known_of(user):
  return {"job": job(user) or None, "age": None if age(user) == "" else int(age(user))}


def table(users=60):
  """The table lacks the last user, and has one whom the log lacks."""
  rows = [f"{user},{job(user)},{age(user)}" for user in [*range(users - 1), 999]]
  return "\n".join(["user_id,job,age", *rows]) + "\n"


def make_config(folder):
  """A run on files whose model reads both attributes; it trains for a moment."""
  config = tiny_config(folder)
  (folder / "users.csv").write_text(table())
  config.data.table.users_path = str(folder / "users.csv")
  config.data.table.user_columns.update(categories=("job",), numbers=("age",))
  config.model.inputs.user_attributes = NAMES
  config.train.update(steps=20, steps_per_call=10, validate_every=20, learning_rate=0.02)
  config.evaluation.search_cost.enabled = False
  return config


def make_frames(users=60):
  """The log and the users of `make_config` as frames; one user stands there twice."""
  log = [(user, item, at) for user, row in enumerate(ROWS) for at, item in enumerate(row)]
  log = pl.DataFrame(log, ["user", "item", "time"], orient="row")
  people = [(user, *known_of(user).values(), "x") for user in [*range(users - 1), 999]]
  people.append((3, "cook", 77, "y"))
  return log, pl.DataFrame(people, ["user_id", *NAMES, "town"], orient="row")


def make_attributed_run():
  """A run with random parameters: 60 users, and 30 items, whose ids are numbers."""
  codes = all_codes(2, 6)[:30]
  users = {
    "job": np.array([job(user) for user in range(60)], TEXT),
    "age": np.array([float(age(user) or "nan") for user in range(60)], np.float32),
  }
  inputs = with_known(InputsConfig(user_attributes=NAMES), users)
  model, trie, path = make_model(codes, history_length=6, inputs=inputs)
  config = RunConfig(model=model.config, search=SearchConfig(beams=10))
  ids = sidrec.SemanticIDManager.from_codes(codes, 6)
  params = init_params(model, trie, path, scale=3.0)
  dataset = describing_users(make_dataset()._replace(users=users))
  return sidrec.TrainedRun(config, dataset, ids, model, params, trie)
