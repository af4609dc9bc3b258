"""configs/world.py: what each size leaves out is what its docstring says."""

import runpy
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "configs" / "world.py"
GET = runpy.run_path(str(FILE))["get_config"]
BY_ITEM = ("item_embedding", "item_head", "node_bias", "node_vectors")


@pytest.mark.parametrize(
  ("variant", "by_item"),
  [("1e3", True), ("1e4", True), ("1e5", True), ("1e6", False), ("1e7", False)],
)
def test_tables_by_item_end_at_a_million(variant, by_item):
  config = GET(variant)
  assert [config.model[name] for name in BY_ITEM] == [by_item] * 4
  assert config.sasrec.enabled == by_item
  assert config.data.path == f"runs/worlds/{variant}/histories"
  assert config.features.text.path == f"runs/worlds/{variant}/vectors.npy"
  # Half a million tuples for 10^5 items and so on: IDs collide little.
  assert config.tokenizer.codebook_size**config.tokenizer.num_levels >= 4 * float(variant)


def test_without_a_variant_it_is_ten_thousand():
  assert GET().to_dict() == GET("1e4").to_dict()
  assert GET("tiny").train.steps < GET("1e3").train.steps
