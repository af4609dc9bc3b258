"""A small shop: its log, its table of items, its run, and what comes the next day."""

from tiny import ROWS, tiny_config

import sidrec
from sidrec.update.update import Wish, update

ITEMS = [f"item-{row:02d}" for row in range(30)]
ROWS_OF_LOG = [
  (f"user-{user:02d}", ITEMS[item], time)
  for user, row in enumerate(ROWS)
  for time, item in enumerate(row)
]
# A user and an item that sort before all others, so that every row shifts.
GROWN = [
  ("a-user", "a-thing", 100),
  ("a-user", ITEMS[3], 101),
  ("a-user", ITEMS[7], 102),
  ("a-user", ITEMS[9], 103),
  ("user-05", "a-thing", 100),
  ("user-05", ITEMS[2], 101),
  ("user-07", ITEMS[4], 100),
]


class Shop:
  """A folder with a log, a table of items and a run."""

  def __init__(self, folder):
    self.folder, self.workdir = folder, folder / "run"
    self.log, self.items = folder / "log.csv", folder / "items.csv"

  def config(self):
    config = tiny_config(self.folder)
    config.data.path = str(self.log)
    config.data.table.items_path = str(self.items)
    config.data.table.item_columns.update(categories="kind", year="year")
    config.features.content.update(weight=1.0, title_buckets=8)
    config.features.cooccurrence.dim = 2
    config.tokenizer.update(name="residual_kmeans", num_levels=2, codebook_size=8)
    config.tokenizer.kmeans.iterations = 3
    config.model.followers = 3
    config.model.similarity = True
    config.search.weights = "fitted"
    config.train.update(steps=2, steps_per_call=1, validate_every=2)
    config.nightly.steps_share = 0.0
    return config

  def write(self, rows, more_items=("a-thing",)):
    lines = [f"{user},{item},{time}" for user, item, time in rows]
    self.log.write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    described = [
      f"{item},title of {item},{'abc'[number % 3]},{1990 + number}"
      for number, item in enumerate([*ITEMS, *more_items])
    ]
    self.items.write_text("\n".join(["item_id,title,kind,year", *described]) + "\n")

  def grow(self):
    self.write(ROWS_OF_LOG + GROWN)

  def update(self, config=None, **wish):
    return update(config or self.config(), self.workdir, Wish(**wish))

  def load(self):
    return sidrec.load(self.workdir)

  def files(self):
    """Every file of the run and its time."""
    return {path: path.lstat().st_mtime_ns for path in sorted(self.workdir.rglob("*"))}


def by_id(run):
  """Original id → (row, semantic ID)."""
  ids_N = run.dataset.items.ids_N.tolist()
  return {item: (row, run.ids.get_semantic_id(row)) for row, item in enumerate(ids_N)}
