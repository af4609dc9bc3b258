"""Bytes an item: every array counted, by hand."""

import jax
import numpy as np
from tiny import all_codes, init_params, make_model

from sidrec.models.memory import described, memory_of


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
