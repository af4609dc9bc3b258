"""A folder in which the documentation's commands run: small configs, small data, the same names.

The catalogue has the films, users and items that README and docs name: 1,300 items, user 42, the
titles of `--history`.
"""

import runpy
from pathlib import Path

import numpy as np

NUM_ITEMS, NUM_USERS, LENGTH = 1300, 60, 24
TITLES = {1: "Toy Story (1995)", 1200: "Aliens (1986)"}


def make_folder(folder):
  """Writes data, configs and logs."""
  rng = np.random.default_rng(0)
  order = np.resize(rng.permutation(NUM_ITEMS), NUM_USERS * LENGTH).reshape(NUM_USERS, LENGTH) + 1
  log, shop = [], []  # README's own log has other columns
  for user, row in enumerate(order, start=1):
    log += [f"{user},{item},{time},{item % 10}" for time, item in enumerate(row)]
    shop += [f"{user},{item},2024-05-01T00:00:{time:02}" for time, item in enumerate(row)]
  write(folder / "small.csv", ["user_id,item_id,timestamp,rating", *log])
  items = []
  for item in range(1, NUM_ITEMS + 1):
    title, kind = TITLES.get(item, f"Film {item} (1990)"), "Drama" if item % 2 else "Action|Sci-Fi"
    items.append(f'{item},"{title}",{kind},{1990 + item % 30}')
  write(folder / "small_items.csv", ["item_id,title,categories,year", *items])
  write(folder / "log.csv", ["customer,sku,bought", *shop])
  write(folder / "products.csv", ["sku,title", *(f"{i},Lamp {i}" for i in range(1, NUM_ITEMS + 1))])
  (folder / "data").mkdir()
  (folder / "configs").mkdir()
  for name in ("demo", "ml1m", "custom"):
    write(
      folder / "configs" / f"{name}.py",
      [
        "from readme_data import small_config",
        f"get_config = small_config({name!r}, {str(folder)!r})",
      ],
    )


def write(path, lines):
  path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def small_config(name, folder):
  """`get_config` of a config file of this name, with less of everything."""

  def get_config(variant=""):
    real = Path(__file__).parents[1] / "configs" / f"{name}.py"
    config = runpy.run_path(str(real))["get_config"](variant)
    config.data.source = "table"
    if name != "custom":
      config.data.path = f"{folder}/small.csv"
      config.data.table.items_path = f"{folder}/small_items.csv"
      config.data.table.columns.rating = "rating"
      config.data.table.item_columns.update(categories="categories", year="year")
    config.features.content.weight = 1.0
    config.features.text.weight = 0.0
    config.features.cooccurrence.dim = 4
    config.tokenizer.update(name="residual_kmeans", num_levels=2, codebook_size=40)
    config.tokenizer.kmeans.iterations = 2
    config.model.update(history_length=8, width=8, heads=1, head_width=8, hidden=8)
    # Of one kind, so that what is compiled for one config serves the others.
    config.model.update(encoder_layers=1, encoder_dropout=0.1, item_head=False, item_negatives=0)
    config.train.learning_rate = 2e-3
    config.train.update(batch_size=8, steps=2, steps_per_call=2, validate_every=2, valid_users=16)
    config.sasrec.enabled = config.bsarec.enabled = False
    config.evaluation.search_cost.enabled = False
    return config

  return get_config
