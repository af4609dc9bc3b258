"""--store: a file of SQLite, or redis://…"""

from pathlib import Path

from sidrec.core.paths import as_path, is_local
from sidrec.serving.redis_place import is_redis, parsed
from sidrec.serving.store import Store
from sidrec.serving.store_sqlite import SQLiteStore


def open_store(workdir: str, store: str | None) -> Store:
  """Opens what --store names; by default a file in the run's folder.

  Raises:
    ValueError: for a bucket, where no database can lie; for a store that is not fit.
    StoreError: if it cannot be reached.
    ImportError: if what it needs is not installed.
  """
  if store and is_redis(store):
    place = parsed(store)
    try:
      from sidrec.serving.store_redis import RedisStore
    except ModuleNotFoundError as error:
      raise ImportError(f"{error}; install it with pip install 'sidrec[redis]'") from error
    return RedisStore(place)
  path = as_path(store) if store else as_path(workdir) / "serving" / "events.sqlite"
  if not is_local(path):
    raise ValueError("events lie on a local disk or in Redis; give --store=FILE or redis://…")
  return SQLiteStore(Path(path))
