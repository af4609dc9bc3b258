"""A small evaluated run with hostile titles and categories, once for all tests of a process."""

import numpy as np
import pytest
from tiny import tiny_config

from sidrec.report.finished import read
from sidrec.run.stages import run_to

HOSTILE = [
  '<script>alert("x")</script>',
  '"><img src=x onerror=alert(1)>',
  "</title></svg><b>bold & brash</b>",
  "new\nline \x1b[31m \u202e turned",
  "",
]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
  """(config, folder) of an evaluated run: 60 users, 30 items."""
  folder = tmp_path_factory.mktemp("reported")
  config = tiny_config(folder)
  lines = ["item_id\ttitle\tcategories"]
  for item in range(30):
    title = HOSTILE[item] if item < len(HOSTILE) else f"title {item}"
    title = title.replace('"', '""').replace("\n", " ")
    lines.append(f'{item}\t"{title}"\t"{"abc"[item % 3]}<i>"')
  (folder / "items.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
  config.data.table.items_path = str(folder / "items.tsv")
  config.data.table.item_columns.categories = "categories"
  config.train.update(steps=4, steps_per_call=2, validate_every=2)
  workdir = folder / "tiny"
  run_to("evaluate", config, workdir)
  return config, workdir


@pytest.fixture(scope="session")
def run(trained):
  """The run as a report reads it."""
  _, workdir = trained
  return read(workdir)


@pytest.fixture(scope="session")
def without_titles(run):
  """The same without any title."""
  items = run.dataset.items
  blank_N = np.full(items.num_items, "", items.titles_N.dtype)
  return run._replace(dataset=run.dataset._replace(items=items._replace(titles_N=blank_N)))
