"""A run on the tiny log whose items are described, trained for a moment; and new items for it."""

from tiny import tiny_config

import sidrec
from sidrec.data.sources.build import item_table

NEW = [
  {"id": 100, "title": "Thing 5", "categories": ["a", "all"], "year": 1985},
  {"id": 101, "title": "Thing 8 again", "categories": ["c"], "year": 2001},
]


def described_config(folder, **tokenizer):
  """A run on the tiny log with a table of titles, genres and years."""
  config = tiny_config(folder)
  lines = ["movie,title,genres,year"]
  lines += [f"{item},Thing {item},{'abc'[item % 3]}|all,{1980 + item}" for item in range(30)]
  (folder / "items.csv").write_text("\n".join(lines) + "\n")
  config.data.table.items_path = str(folder / "items.csv")
  columns = {"id": "movie", "title": "title", "categories": "genres", "year": "year"}
  config.data.table.item_columns.update(columns)
  config.features.content.weight = 1.0
  config.tokenizer.update(tokenizer)
  return config


def fit_described(folder):
  """The run, in `folder / "run"`."""
  config = described_config(folder, name="residual_kmeans", num_levels=2, codebook_size=8)
  config.tokenizer.kmeans.iterations = 3
  config.train.update(steps=2, steps_per_call=2, validate_every=2)
  config.serving.new_share = 0.3
  return sidrec.fit(config, folder / "run")


def table(items=NEW):
  """New items as `TrainedRun.with_new_items` takes them."""
  ids, titles, categories, years = zip(*(item.values() for item in items), strict=True)
  return item_table(list(ids), list(titles), list(categories), {"year": list(years)})
