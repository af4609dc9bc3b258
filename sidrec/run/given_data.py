"""Data that a program gives instead of a file: written into the run's folder, which then names it.

So a run that is loaded, continued or copied finds its data, and sees whether they changed.
"""

import contextlib
import dataclasses
import os
import secrets
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from sidrec.core.atomic import write_whole
from sidrec.core.settings import to_dict
from sidrec.data.cache import save_dataset
from sidrec.data.dataset import Dataset, validate
from sidrec.data.sources.users import columns_of_users
from sidrec.parallel.hosts import from_primary
from sidrec.run.frames import columns_of, is_frame, polars_frame
from sidrec.run.settings import RunConfig, run_config

FOLDER = "given"


def given_data(
  data: Any, items: Any, users: Any, workdir: epath.Path, config: ConfigDict, folder: str = FOLDER
) -> ConfigDict:
  """A copy of the settings that names the data, which are written to the folder.

  Args:
    data: a `Dataset`, or a table of users, items and times.
    items: a table of items, or None.
    users: a table of users, or None.
    workdir: the run's folder.
    config: the other settings.
    folder: within the run's.

  Raises:
    TypeError: for data that are neither.
    ValueError: for a data set that breaks its contract, a table without its columns, or a table of
      users of which the settings name no attribute.
  """
  if not isinstance(config, ConfigDict):
    raise TypeError(f"config is a {type(config).__name__}; give what a file in configs/ returns")
  config, written_to = config.copy_and_resolve_references(), workdir / folder
  config.unlock()
  if isinstance(data, Dataset):
    if items is not None:
      raise TypeError("a Dataset has its own items; give items with a table alone")
    if users is not None:
      raise TypeError(
        "a Dataset has its own users' attributes (Dataset.users); give users with a table alone"
      )
    path, dataset = written_to / "dataset.npz", validate(data)
    from_primary(lambda: save_dataset(path, dataset))
    config.data.source, config.data.path = "dataset", str(path)
    return config
  if not is_frame(data):
    raise TypeError(
      f"data is a {type(data).__name__}; give settings, a Dataset, or a table with columns of "
      "users, items and times"
    )
  described = _described(items, users, config.data.table.user_columns.to_dict())
  columns = config.data.table.columns.to_dict()
  found = {"time": "", "rating": "", "action": "", **columns_of(data, columns)}
  for role in ("rating", "action"):
    if not columns.get(role):
      found[role] = ""
  config.data.source, config.data.path = "table", _write_table(written_to / "log.parquet", data)
  config.data.table.columns.update({role: str(name) for role, name in found.items()})
  for name, table in described.items():
    config.data.table[f"{name}_path"] = _write_table(written_to / f"{name}.parquet", table)
  return config


def _described(
  items: Any, users: Any, user_columns: Mapping[str, str | Sequence[str]]
) -> dict[str, Any]:
  """The tables of items and of users that are given; raises as `given_data` does."""
  given = {"items": items, "users": users}
  tables = {name: table for name, table in given.items() if table is not None}
  for name, table in tables.items():
    if not is_frame(table):
      raise TypeError(f"{name} are a {type(table).__name__}; give a table with columns")
  if users is not None:
    id_ = columns_of_users(user_columns)[0]  # before anything is written
    frame = polars_frame(users)
    if id_ not in frame.columns and "user" in frame.columns:  # as a table of events calls them
      frame = frame.rename({"user": id_})
    tables["users"] = frame
  return tables


@contextlib.contextmanager
def grown_data(
  data: Any, items: Any, users: Any, workdir: epath.Path, config: RunConfig
) -> Generator[RunConfig]:
  """The settings with a log that has grown; it is deleted again if the block raises an error.

  What an earlier log holds stays as it is.

  Args:
    data: a path, what `given_data` takes, or None for the path of the settings.
    items: a table of items, or None.
    users: a table of users, or None.
    workdir: the run's folder.
    config: its settings.

  Raises:
    TypeError, ValueError: as `given_data` does.
  """
  if data is None or isinstance(data, (str, os.PathLike)):
    for name, table in {"items": items, "users": users}.items():
      if table is not None:
        raise TypeError(
          f"give {name} with a table alone; name a file in config.data.table.{name}_path"
        )
    path = config.data.path if data is None else os.fspath(data)
    yield dataclasses.replace(config, data=dataclasses.replace(config.data, path=path))
    return
  folder = f"{FOLDER}/{secrets.token_hex(4)}"
  try:
    named = given_data(data, items, users, workdir, ConfigDict(to_dict(config)), folder)
    yield run_config(named)
  except BaseException:
    if (workdir / folder).exists():
      (workdir / folder).rmtree()
    raise


def _write_table(path: epath.Path, table: Any) -> str:
  frame = polars_frame(table)
  from_primary(lambda: write_whole(path, frame.write_parquet))
  return str(path)
