"""python -m sidrec.serving.forget --store=… --forget_users=FILE: deletes users' events there.

`--mode=update --forget_users` does it for the store in the run's folder; this is for stores that
lie elsewhere.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sidrec.core.paths import as_path
from sidrec.serving.open_store import open_store
from sidrec.serving.redis_place import is_redis
from sidrec.update.forget import read_users


def main(argv: Sequence[str] | None = None) -> int:
  """Deletes them, and says how many there were; what is wrong ends with one sentence."""
  parser = argparse.ArgumentParser(
    "sidrec.serving.forget", description="Deletes users' events from a store of events."
  )
  parser.add_argument("--store", required=True, help="file or redis://host:port/db")
  parser.add_argument("--forget_users", required=True, help="file of users' ids, one a line")
  args = parser.parse_args(argv)
  try:
    users = read_users(args.forget_users)
    if not is_redis(args.store) and not Path(as_path(args.store)).is_file():
      raise ValueError(f"there is no store in {args.store}")
    store = open_store("", args.store)
    try:
      deleted = store.forget(users)
    finally:
      store.close()
  except (ValueError, OSError, ImportError) as error:
    print(f"sidrec: {error}", file=sys.stderr)
    return 1
  print(f"deleted {deleted} events of {len(users)} users")
  return 0


if __name__ == "__main__":
  sys.exit(main())
