"""Data that a program gives instead of a file: written into the run's folder, which then names it.

So a run that is loaded, continued or copied finds its data, and sees whether they changed.
"""

from typing import Any

from etils import epath
from ml_collections import ConfigDict

from sidrec.core.atomic import write_whole
from sidrec.data.cache import save_dataset
from sidrec.data.dataset import Dataset, validate
from sidrec.parallel.hosts import from_primary
from sidrec.run.frames import columns_of, is_frame, polars_frame

FOLDER = "given"


def given_data(data: Any, items: Any, workdir: epath.Path, config: ConfigDict) -> ConfigDict:
  """A copy of the settings that names the data, which are written to `workdir/given`.

  Args:
    data: a `Dataset`, or a table of users, items and times.
    items: a table of items, or None.
    workdir: the run's folder.
    config: the other settings.

  Raises:
    TypeError: for data that are neither.
    ValueError: for a data set that breaks its contract, or a table without its columns.
  """
  if not isinstance(config, ConfigDict):
    raise TypeError(f"config is a {type(config).__name__}; give what a file in configs/ returns")
  config, folder = config.copy_and_resolve_references(), workdir / FOLDER
  config.unlock()
  if isinstance(data, Dataset):
    if items is not None:
      raise TypeError("a Dataset has its own items; give items with a table alone")
    path, dataset = folder / "dataset.npz", validate(data)
    from_primary(lambda: save_dataset(path, dataset))
    config.data.source, config.data.path = "dataset", str(path)
    return config
  if not is_frame(data):
    raise TypeError(
      f"data is a {type(data).__name__}; give settings, a Dataset, or a table with columns of "
      "users, items and times"
    )
  columns = config.data.table.columns.to_dict()
  found = {"time": "", "rating": "", **columns_of(data, columns)}
  if not columns.get("rating"):
    found["rating"] = ""
  config.data.source, config.data.path = "table", _write_table(folder / "log.parquet", data)
  config.data.table.columns.update({role: str(name) for role, name in found.items()})
  if items is not None:
    if not is_frame(items):
      raise TypeError(f"items are a {type(items).__name__}; give a table with columns")
    config.data.table.items_path = _write_table(folder / "items.parquet", items)
  return config


def _write_table(path: epath.Path, table: Any) -> str:
  frame = polars_frame(table)
  from_primary(lambda: write_whole(path, frame.write_parquet))
  return str(path)
