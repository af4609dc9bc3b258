"""Appends events one after another, and says so of each when it is on the disk."""

import os
import sys
from pathlib import Path

from sidrec.serving.store import Event
from sidrec.serving.store_sqlite import SQLiteStore

store = SQLiteStore(Path(sys.argv[1]))
for number in range(100_000):
  store.append([Event("anna", f"item {number}", float(number))])
  os.write(1, f"item {number}\n".encode())
