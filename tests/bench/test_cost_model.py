"""The cost model's formulas beside what the code does, and the tables of the docs beside both."""

from pathlib import Path

import jax
import numpy as np
import pytest

from sidrec.bench import cost_formulas as formulas
from sidrec.bench import cost_model
from sidrec.bench.cost_formulas import Catalogue, Shape
from sidrec.bench.decoding_model import random_codes
from sidrec.bench.scale_table import CHIPS
from sidrec.bench.scale_training import Size, make_training
from sidrec.catalogue.trie.trie import build_on_host
from sidrec.models.memory import counts_by_kind
from sidrec.training.meter import training_flops
from sidrec.training.state import init_state

DOCS = Path(__file__).parents[2] / "docs"
# Sizes of which no two are equal, so that a formula with one in the place of another is found.
SHAPE = Shape(24, 20, 40, encoder_layers=2, decoder_layers=1, positions=60, negatives=17)
CATALOGUE = Catalogue(300, 3, 16)
ROWS = 4


@pytest.mark.parametrize(
  "catalogue", [CATALOGUE, Catalogue(20_000, 4, 32), Catalogue(5000, 8, 300)]
)
@pytest.mark.parametrize("every_prefix", [False, True])
def test_the_bytes_of_a_trie(catalogue, every_prefix):
  codes_NxL = random_codes(*catalogue)
  trie = build_on_host(codes_NxL, every_prefix=every_prefix, codebook_size=catalogue.codes)
  nodes = formulas.trie_nodes(catalogue, every_prefix)
  # Where a hundred families decide, draws differ from what is expected by several per cent.
  assert nodes == pytest.approx(trie.first_row_node, rel=0.03 if every_prefix else 0.1)
  assert formulas.trie_bytes(catalogue, every_prefix) == pytest.approx(trie.num_bytes, rel=0.02)


def make_task(shape):
  """A training of the repository with these sizes, nothing of which is computed."""
  changes = {
    "history_length": shape.positions,
    "width": shape.width,
    "heads": 2,
    "head_width": shape.heads_width // 2,
    "hidden": shape.hidden,
    "encoder_layers": shape.encoder_layers,
    "decoder_layers": shape.decoder_layers,
    **dict.fromkeys(("item_embedding", "item_head", "node_bias", "node_vectors"), shape.tables),
    "item_negatives": shape.negatives,
  }
  size = Size(CATALOGUE.items, CATALOGUE.codes, ROWS, 30, changes)
  return make_training(size)


@pytest.mark.parametrize("tables", [False, True])
def test_a_training_of_the_code(tables):
  """Parameters, state and FLOPs: equal, but for what random IDs decide."""
  shape = SHAPE._replace(tables=tables)
  training = make_task(shape)
  state = jax.eval_shape(
    lambda key: init_state(training.task, training.optimizer, key, averaged=True),
    jax.random.key(0),
  )
  kinds = counts_by_kind(state.params)
  by_row = kinds["items"] + kinds["nodes"]
  assert sum(kinds.values()) - by_row == formulas.dense_parameters(shape, CATALOGUE)
  assert formulas.table_parameters(shape, CATALOGUE) == pytest.approx(by_row, rel=0.03)
  kept = [*jax.tree.leaves(state.opt_state), *jax.tree.leaves((state.params, state.average))]
  held = sum(x.size * np.dtype(x.dtype).itemsize for x in kept)
  assert formulas.state_bytes(shape, CATALOGUE) == pytest.approx(held, rel=0.03)
  batch = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), training.batches(ROWS, 0, 1)(0)
  )
  key = jax.eval_shape(lambda: jax.random.key(0))
  counted = training_flops(training.task.loss, state.params, state.aux, batch, key)
  codes_NxL = random_codes(*CATALOGUE)
  trie = build_on_host(codes_NxL, codebook_size=CATALOGUE.codes)
  assert ROWS * formulas.training_flops(shape, CATALOGUE, trie.fan_outs) == counted


def test_shares_of_the_state_and_the_network():
  whole = formulas.state_bytes(SHAPE, CATALOGUE)
  halves = formulas.state_bytes(SHAPE, CATALOGUE, parts=2)
  assert whole / 2 < halves < whole  # attention is whole on each device
  assert formulas.gradient_bytes(10, 1) == 0
  assert formulas.gradient_bytes(10, 4) == 2 * 3 / 4 * 40
  plain = SHAPE._replace(tables=False)
  together = formulas.step_bytes(plain, CATALOGUE, 8, 4, 1, [16, 16, 2])
  assert together == formulas.gradient_bytes(formulas.dense_parameters(plain, CATALOGUE), 4)
  # Along 'model' rows of tables travel, which grow with the batch.
  few, many = (formulas.step_bytes(SHAPE, CATALOGUE, n, 4, 4, [16, 16, 2]) for n in (1, 2))
  assert many - few == formulas.gradient_bytes(60 * (2 + 16 + 2) * 24, 4)


def test_a_model_that_does_not_fit_is_spread_or_left_out():
  shape, catalogue = cost_model.MODELS["tables"], cost_model.catalogue_of(10**8)
  assert cost_model.fewest_parts(shape, catalogue, 8) is None
  parts = cost_model.fewest_parts(shape, catalogue, 64)
  room = cost_model.ASSUMED["memory"][0] * cost_model.ASSUMED["spare"][0]
  assert formulas.state_bytes(shape, catalogue, parts) <= room
  assert formulas.state_bytes(shape, catalogue, parts // 2) > room
  one, two = (cost_model.step_of(shape, catalogue, CHIPS["H100"], 64, n, 0.3) for n in (32, 64))
  assert two.steps == 2 * one.steps  # devices along 'model' work on the same rows
  assert one.seconds == max(one.compute + one.update + one.network, one.input)


def test_the_docs_have_these_tables():
  times = [
    row for name in cost_model.MODELS for row in cost_model.time_table(name, CHIPS["H100"], 0.3)
  ]
  tables = cost_model.markdown(cost_model.memory_table(), times)
  page = (DOCS / "cost.md").read_text(encoding="utf-8")
  for line in filter(None, tables.split("\n")):
    assert line in page
