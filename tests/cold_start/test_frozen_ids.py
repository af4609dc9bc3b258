"""IDs of new items by what a run has learnt, and what an item has to say for one."""

import numpy as np
import pytest
from described import described_config

from sidrec.cold_start.frozen_ids import FrozenIDs, described_by, with_new_items
from sidrec.config import default_config
from sidrec.data.sources.build import item_table
from sidrec.features.settings import ContentConfig, FeaturesConfig, TextConfig
from sidrec.run.load import load_semantic_ids, new_item_vectors
from sidrec.run.settings import run_config
from sidrec.run.stages import run_to
from sidrec.serving.compilations import Compilations


def table(*described):
  """Items by (id, title, categories, year)."""
  ids, titles, categories, years = zip(*described, strict=True)
  return item_table(list(ids), list(titles), list(categories), {"year": list(years)})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """(config, folder, the frozen IDs) of a run whose items are described."""
  folder = tmp_path_factory.mktemp("described")
  config = described_config(folder, name="residual_kmeans", num_levels=2, codebook_size=6)
  chain = run_to("tokenize", config, folder)
  return config, folder, FrozenIDs(run_config(config), chain)


NEW = table(
  (100, "Thing 5", ["a", "all"], 1985), (101, "", ["b"], np.nan), (102, "Thing", [], 1999)
)


def test_ids_are_those_of_the_library_and_nothing_is_compiled_later(made):
  config, folder, frozen = made
  frozen.warm_up()
  compilations = Compilations()
  frozen.check(NEW)
  codes = with_new_items(frozen.ids, frozen.inputs(NEW), 3)
  assert compilations.count == 0
  vectors = new_item_vectors(config, folder, NEW)
  np.testing.assert_array_equal(frozen.inputs(NEW), vectors)
  ids = load_semantic_ids(config, folder)
  np.testing.assert_array_equal(codes, ids.add_items(vectors, [30, 31, 32]).codes[30:])
  taken = {tuple(code) for code in ids.codes.tolist()}
  assert not taken & {tuple(code) for code in codes.tolist()}


def test_an_item_has_to_say_something_that_ids_are_made_of(made):
  _, _, frozen = made
  with pytest.raises(ValueError, match="item '7b' has no title, categories or year"):
    frozen.check(table(("7b", " ", [], np.nan)))
  empty_year = item_table([100], [""], [[""]], {})
  with pytest.raises(ValueError, match="give at least one"):
    frozen.check(empty_year)


def test_what_describes_items_is_what_the_features_read():
  items = table((1, "A", ["a"], 1990))
  assert described_by(FeaturesConfig(), items) == ("title", "categories", "year")
  without = ContentConfig(title_buckets=0, max_categories=0)
  assert described_by(FeaturesConfig(content=without), items) == ("year",)
  text = TextConfig(weight=1.0, template="{title} of {id}, {year}. {text}")
  features = FeaturesConfig(content=ContentConfig(weight=0.0), text=text)
  assert described_by(features, items) == ("title", "year")


def test_ids_from_behaviour_alone_or_from_a_file_are_none_for_new_items(tmp_path):
  config = described_config(tmp_path, name="residual_kmeans", num_levels=2, codebook_size=6)
  config.features.content.weight = 0.0
  chain = run_to("tokenize", config, tmp_path)
  frozen = FrozenIDs(run_config(config), chain)
  frozen.warm_up()
  with pytest.raises(ValueError, match="learnt from behaviour alone, which new items lack"):
    frozen.check(NEW)
  config.tokenizer.name = "file"
  config.tokenizer.file.path = str(tmp_path / "semantic_ids.json")
  chain = run_to("tokenize", config, tmp_path / "file")
  with pytest.raises(ValueError, match="the run's IDs came from a file"):
    FrozenIDs(run_config(config), chain).check(NEW)


def test_items_without_a_vector_in_the_file_are_refused(tmp_path):
  config = described_config(tmp_path, name="lsh", num_levels=2, codebook_size=8)
  path = tmp_path / "vectors.npz"
  rng = np.random.default_rng(0)

  def write(count):
    np.savez(path, item_id=np.arange(count), embedding=rng.normal(size=(count, 4)))

  write(30)
  config.features.image.update(weight=1.0, path=str(path))
  chain = run_to("tokenize", config, tmp_path)
  frozen = FrozenIDs(run_config(config), chain)
  with pytest.raises(ValueError, match=r"features\.image\.path has no vector of some") as error:
    frozen.check(table((30, "A", [], 1990), (31, "B", [], 1990)))
  assert str(tmp_path) not in str(error.value)
  write(31)
  frozen.check(table((30, "", [], np.nan)))
  assert frozen.inputs(table((30, "", [], np.nan))).shape[0] == 1


def test_numbered_ids_need_no_vectors(tmp_path):
  config = described_config(tmp_path, name="radix")
  chain = run_to("tokenize", config, tmp_path)
  frozen = FrozenIDs(run_config(config), chain)
  frozen.warm_up()
  frozen.check(item_table([100], [""], [[]], {}))
  codes = with_new_items(frozen.ids, frozen.inputs(NEW), 3)
  assert codes.shape == (3, 2)
  assert default_config().tokenizer.name != "radix"
