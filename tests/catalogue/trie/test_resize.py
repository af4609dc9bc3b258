"""Items come and go; compiled searches stay."""

import jax
import numpy as np
import pytest
from table_model import TableModel, log_p, make_table
from tiny import all_codes

from sidrec.catalogue.trie import trie as trie_lib
from sidrec.catalogue.trie.resize import (
  rebuilt,
  room_left,
  with_items,
  with_room,
  with_room_apart,
  without_items,
)
from sidrec.catalogue.trie.trie import build_trie
from sidrec.search import beam
from sidrec.search.settings import SearchConfig

ALL = np.random.default_rng(5).permutation(all_codes(3, 4))
TABLE, SCALES = make_table(), np.array([[1], [-2]], np.int32)


def counted_search():
  """A search, and the list that grows whenever it is compiled."""
  compiled = []

  @jax.jit
  def search(trie):
    compiled.append(1)
    return beam.search(TableModel(), {"table": TABLE}, trie, SCALES, SearchConfig(beams=20))

  return search, compiled


def ranking(codes, rows, scale):
  return rows[np.argsort(-log_p(TABLE, scale, codes[rows]))][:20].tolist()


@pytest.mark.parametrize("every_prefix", [True, False])
def test_added_and_removed_items_with_one_compilation(every_prefix):
  search, compiled = counted_search()
  # Every token of every prefix is there: the fan-outs have room for all that may come.
  trie = with_room(build_trie(ALL[:50], every_prefix=every_prefix, codebook_size=4))
  before = search(trie)
  grown = with_items(trie, ALL[50:60])
  added = search(grown)
  shrunk = without_items(grown, np.arange(50, 60))
  after = search(shrunk)
  fewer = without_items(shrunk, np.arange(0, 50, 3))
  rest = search(fewer)
  assert len(compiled) == 1
  jax.tree.map(np.testing.assert_array_equal, before, after)
  left = np.setdiff1d(np.arange(50), np.arange(0, 50, 3))
  for b, scale in enumerate((1, -2)):
    # 20 beams are more than a level has prefixes to lose: the search is exact.
    assert added.item_BxK[b].tolist() == ranking(ALL, np.arange(60), scale)
    assert rest.item_BxK[b].tolist() == ranking(ALL, left, scale)
  # Items that went may stand in histories.
  np.testing.assert_array_equal(np.asarray(fewer.codes_NxL)[:60], ALL[:60])


@pytest.mark.parametrize("every_prefix", [True, False])
def test_known_and_new_items_come_and_go_in_tries_of_their_own(every_prefix):
  """Two tries, one compilation each; both know the IDs of all items."""
  search, compiled = counted_search()
  trie = build_trie(ALL[:40], every_prefix=every_prefix, codebook_size=4)
  known, new = with_room_apart(trie, 12)
  assert (known.first_row_node, known.fan_outs) == (trie.first_row_node, trie.fan_outs)
  assert (known.num_items, known.item_N.shape[0]) == (64, 40)
  assert (new.num_items, new.item_N.shape[0]) == (64, 24)
  jax.tree.map(np.testing.assert_array_equal, search(known), search(trie))
  assert room_left(new) >= 12
  for gone, came in (([], range(40, 43)), (range(0, 40, 3), range(40, 52)), ([7], [41])):
    among = np.arange(52)
    left, there = np.isin(among, np.delete(among[:40], list(gone))), np.isin(among, list(came))
    of_known, of_new = rebuilt(known, ALL[:52], left), rebuilt(new, ALL[:52], there)
    for one, rows in ((of_known, np.flatnonzero(left)), (of_new, np.flatnonzero(there))):
      np.testing.assert_array_equal(np.asarray(one.codes_NxL)[:52], ALL[:52])
      found = search(one)
      for b, scale in enumerate((1, -2)):
        expected = ranking(ALL, rows, scale)
        assert found.item_BxK[b, : len(expected)].tolist() == expected
        assert found.valid_BxK[b].sum() == len(expected)
  assert len(compiled) == 3  # of the trie without room, and of either with


def test_room_doubles_when_it_is_used_up():
  search, compiled = counted_search()
  trie = with_room(build_trie(ALL[:30], every_prefix=False, codebook_size=4))
  assert trie.num_items == 32
  search(trie)
  grown = with_items(trie, ALL[30:40])
  assert grown.num_items == 64
  assert int(grown.used) == 40
  result = search(grown)
  assert len(compiled) == 2
  assert result.item_BxK[0].tolist() == ranking(ALL, np.arange(40), 1)


@pytest.mark.parametrize(("items", "room"), [(1, 1), (2, 2), (31, 32), (32, 32), (33, 64)])
def test_room_is_the_next_power_of_two(items, room):
  assert with_room(build_trie(ALL[:items])).num_items == room
  assert with_items(build_trie(ALL[:1]), ALL[1:items]).num_items == room


@pytest.mark.parametrize("items", [1, 3, 20])
def test_room_for_some_items_takes_them_in_the_same_shapes(items):
  trie = build_trie(ALL[:30], codebook_size=4)
  roomy = with_room(trie, items)
  grown = with_items(roomy, ALL[30 : 30 + items])
  assert jax.tree.structure(grown) == jax.tree.structure(roomy)
  assert [x.shape for x in jax.tree.leaves(grown)] == [x.shape for x in jax.tree.leaves(roomy)]
  assert roomy.fan_outs == (4, 4, 4)  # a token has no more
  assert items <= room_left(roomy) <= roomy.num_items - 30
  assert 0 <= room_left(grown) <= room_left(roomy)
  more = with_room(grown, 40)
  assert more.num_items == 128
  np.testing.assert_array_equal(np.asarray(more.codes_NxL)[: 30 + items], ALL[: 30 + items])
  with pytest.raises(ValueError, match="room for -1 items"):
    with_room(trie, -1)


def test_room_for_children_is_a_multiple_of_8():
  codes = np.stack(np.unravel_index(np.arange(34 * 10), (34, 10)), axis=1)
  assert with_room(build_trie(codes, codebook_size=128), 0).fan_outs == (40, 16)
  assert with_room(build_trie(codes, codebook_size=128), 34).fan_outs == (48, 16)
  assert with_room(build_trie(codes, codebook_size=128), 680).fan_outs == (128, 96)
  assert with_room(build_trie(codes, codebook_size=128)).fan_outs == (64, 16)


def test_a_trie_without_room_keeps_its_shapes_where_they_suffice():
  trie = build_trie(ALL[:30], codebook_size=4)
  fewer = without_items(trie, [3])
  assert (fewer.num_items, fewer.fan_outs) == (30, trie.fan_outs)
  np.testing.assert_array_equal(np.asarray(fewer.codes_NxL), ALL[:30])


def test_tokens_keep_the_bits_of_their_codebook():
  """What items are left does not change them, so that no search is compiled again."""
  trie = with_room(build_trie(ALL[:8], codebook_size=256))
  assert jax.tree.structure(without_items(trie, [0])) == jax.tree.structure(trie)


def test_a_larger_token_makes_room_for_itself():
  trie = with_room(build_trie(ALL[:8], codebook_size=4))
  grown = with_items(trie, np.array([[0, 99, 0]]))
  np.testing.assert_array_equal(np.asarray(grown.codes_NxL)[:9], [*ALL[:8], [0, 99, 0]])


@pytest.mark.parametrize("every_prefix", [True, False])
def test_room_changes_no_path(every_prefix):
  trie = build_trie(ALL[:30], every_prefix=every_prefix)
  roomy = with_room(trie)
  moved = roomy.first_row_node - trie.first_row_node
  path = np.asarray(trie_lib.row_paths(trie))
  path = np.where(path >= trie.first_row_node, path + moved, path)
  np.testing.assert_array_equal(trie_lib.row_paths(roomy), path)


def test_what_cannot_be_is_refused():
  trie = with_room(build_trie(ALL[:8]))
  with pytest.raises(ValueError, match="share the semantic ID"):
    with_items(trie, ALL[3:4])
  with pytest.raises(ValueError, match="IDs of 3 tokens"):
    with_items(trie, np.zeros((1, 2), int))
  gone = without_items(trie, [3])
  for item in (3, 8, -1):
    with pytest.raises(ValueError, match=f"item row {item} is not in the trie"):
      without_items(gone, [item])
  again = with_items(gone, ALL[3:4])  # as a new item, row 8
  assert int(again.used) == 9
  with pytest.raises(ValueError, match="a trie of no items"):
    without_items(trie, np.arange(8))


def test_numbers_of_nodes_tell_tries_apart_whose_sizes_are_equal():
  trained = build_trie(ALL[:50], codebook_size=4)
  trie = with_room(trained)
  grown = with_items(trie, ALL[50:60])
  shrunk = without_items(grown, np.arange(50, 60))
  assert trie.num_nodes == grown.num_nodes == shrunk.num_nodes
  numbering = [int(x.numbering) for x in (trained, trie, grown, without_items(trie, [7]))]
  assert len(set(numbering)) == 4
  assert int(shrunk.numbering) == int(trie.numbering)  # the same items again
  # Static, so that no search is compiled again: where the catalogue began.
  assert {x.origin for x in (trained, trie, grown, shrunk)} == {trained.origin}
  assert trained.origin[1] == int(trained.numbering)
  assert build_trie(ALL[:50]).origin == trained.origin  # whatever the bits of a token
  assert build_trie(ALL[1:51]).origin != trained.origin
