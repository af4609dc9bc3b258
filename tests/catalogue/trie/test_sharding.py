"""A trie spread over devices: the same results, and no device gathers the whole of it."""

import re

import jax
import numpy as np
import pytest
from table_model import TableModel, make_table
from tiny import all_codes

from sidrec.catalogue.trie.sharding import shard_trie
from sidrec.catalogue.trie.trie import build_trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.parallel.mesh import batch_sharding, make_mesh, on_own_rows
from sidrec.search import beam
from sidrec.search.filters import Filters
from sidrec.search.settings import SearchConfig

# 61 of 64 items: no number of devices divides them.
CODES = np.random.default_rng(5).permutation(all_codes(3, 4))[:61]
TABLE, SCALES = make_table(), np.array([[1], [-2], [3], [1]], np.int32)
FORBIDDEN = np.array([[3, 60, NO_ITEM], [7, 7, 0], [NO_ITEM] * 3, [1, 2, 3]], np.int32)


def search(trie, table, scales, forbidden):
  return beam.search(
    TableModel(), {"table": table}, trie, scales, SearchConfig(beams=20), Filters(forbidden)
  )


@pytest.mark.parametrize("every_prefix", [True, False])
def test_a_spread_trie_gives_the_same_search(every_prefix):
  trie = build_trie(CODES, every_prefix=every_prefix, codebook_size=4)
  whole = jax.jit(search)(trie, TABLE, SCALES, FORBIDDEN)

  mesh = make_mesh(model=2)
  spread = shard_trie(trie, mesh)
  assert {shard.data.shape for shard in spread.item_N.addressable_shards} == {(31,)}
  assert {shard.data.shape[0] for shard in spread.codes_NxL.word_NxW.addressable_shards} == {31}
  batch = jax.device_put((SCALES, FORBIDDEN), batch_sharding(mesh))
  search_all = on_own_rows(mesh, lambda same, batch: search(*same, *batch))
  compiled = search_all.lower((spread, TABLE), batch).compile()
  found = compiled((spread, TABLE), batch)
  np.testing.assert_array_equal(found.item_BxK, whole.item_BxK)
  np.testing.assert_array_equal(found.score_BxK, whole.score_BxK)
  # Rows are looked up where they lie: no device gathers them all, filled up to 62.
  assert not re.findall(r"\[62[,\]][^=]* all-gather", compiled.as_text())
