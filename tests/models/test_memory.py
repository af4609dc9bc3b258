"""Bytes an item: every array counted, by hand."""

import jax
import numpy as np
from tiny import all_codes, init_params, make_model

from sidrec.models.memory import counts_by_kind, described, described_kinds, memory_of
from sidrec.models.transfer import marked


def test_all_parameters_and_the_trie_are_counted():
  model, trie, path = make_model(all_codes(2, 5)[:20], width=16, item_head=True)
  params = init_params(model, trie, path)
  arrays = [np.asarray(x) for x in jax.tree.leaves(params)]
  catalogue = [np.asarray(x) for x in jax.tree.leaves(trie)]
  count, held = sum(x.size for x in arrays), sum(x.nbytes for x in arrays)
  nodes = trie.num_nodes
  tables = 20 * (16 + 1) + nodes * (16 + 1)  # vectors and biases of items and of nodes
  for shapes in (params, jax.eval_shape(lambda: params)):
    memory = memory_of(shapes, trie, model.sizes)
    assert memory.parameters == count
    assert memory.by_item == tables
    assert memory.served == (held + sum(x.nbytes for x in catalogue)) / 20
    assert memory.trained == 4 * held / 20
  averaged = memory_of(params, trie, model.sizes, averaged=True)
  assert averaged.trained == 5 * held / 20
  assert f"{count:,} parameters, {tables / count:.0%} of them" in described(averaged)


def test_every_parameter_is_of_one_kind():
  model, trie, path = make_model(all_codes(2, 5)[:20], width=16, encoder_layers=2, item_head=True)
  params = init_params(model, trie, path)
  kinds = counts_by_kind(params)
  assert kinds["levels"] == 2 * 2 * 5 * 16  # in and out
  assert kinds["items"] == 20 * (16 + 1)
  assert kinds["nodes"] == trie.num_nodes * (16 + 1)
  attention, feed = 4 * 16 * 8, 2 * 16 * 8
  assert kinds["encoder"] == 2 * (attention + feed + 2 * 16) + 16
  assert kinds["decoder"] == 2 * attention + feed + 3 * 16 + 16
  assert kinds["other"] == (4 + 2 + 1) * 16  # places, levels, start
  memory = memory_of(params, trie, model.sizes)
  assert sum(kinds.values()) == memory.parameters
  # The mark of a saved model is no parameter.
  saved = marked(params, trie)
  assert counts_by_kind(saved) == kinds
  assert memory_of(saved, trie, model.sizes) == memory
  said = described_kinds(params)
  assert f"{kinds['encoder']:,} in 2 encoder layer(s), " in said
  assert f"{kinds['items']:,} by item, " in said
