"""What the item head says of new items, against the mean written out."""

import jax
import numpy as np
import pytest
from tiny import all_codes, init_params, make_model

from sidrec.search import near_head
from sidrec.search.levels import call
from sidrec.search.near_head import COUNT, TEMPERATURE, Near, head_scores, nearest_known, with_room
from sidrec.search.settings import SearchConfig

NUM_KNOWN = 20
rng = np.random.default_rng(0)
DRAWN = rng.normal(size=(NUM_KNOWN + 4, 5)).astype(np.float32)
UNIT = DRAWN / np.linalg.norm(DRAWN, axis=1, keepdims=True)
KNOWN, NEW = UNIT[:NUM_KNOWN], UNIT[NUM_KNOWN:]
HISTORIES = np.array([[3, 1, 4, -1], [7, -1, -1, -1]], np.int32)


def by_hand(row):
  """The nearest known items of a new one, and their shares."""
  cosine = KNOWN @ NEW[row]
  item = np.argsort(-cosine, kind="stable")[:COUNT]
  weight = np.exp((cosine[item] - 1) / TEMPERATURE)
  return item, weight / weight.sum()


@pytest.mark.parametrize("block", [1, 3, 7, 100])
def test_the_nearest_known_items_whatever_is_compared_at_once(monkeypatch, block):
  monkeypatch.setattr(near_head, "_BLOCK", block)
  found = nearest_known(KNOWN, NEW)
  for row in range(len(NEW)):
    item, share = by_hand(row)
    np.testing.assert_array_equal(found.item_MxJ[row], item)
    np.testing.assert_allclose(found.share_MxJ[row], share, rtol=1e-4)


def test_of_equal_ones_the_first_rows_come_first_and_few_known_items_are_all_near():
  found = nearest_known(KNOWN[[2, 2, 2]], NEW[:1])
  assert found.item_MxJ.tolist() == [[0, 1, 2]]
  np.testing.assert_allclose(found.share_MxJ, 1 / 3, rtol=1e-6)


def test_without_new_items_there_are_no_rows_and_room_has_no_shares():
  none = nearest_known(KNOWN, NEW[:0])
  assert none.item_MxJ.shape == none.share_MxJ.shape == (0, COUNT)
  roomy = with_room(nearest_known(KNOWN, NEW), 9)
  assert roomy.item_MxJ.shape == (9, COUNT)
  assert (roomy.share_MxJ[4:] == 0).all()
  np.testing.assert_allclose(roomy.share_MxJ[:4].sum(axis=1), 1, rtol=1e-6)


def test_known_items_have_their_own_score_and_new_ones_the_mean_of_those_near():
  model, trie, path = make_model(all_codes(2, 5)[:NUM_KNOWN], item_head=True)
  params = init_params(model, trie, path, scale=2.0)
  near = nearest_known(KNOWN, NEW)
  encoded = call(model, params, "encode", HISTORIES, trie.codes_NxL, 5, trie.used)
  every_BxN = np.asarray(call(model, params, "all_item_scores", encoded, trie.codes_NxL))
  args = model, params, trie, encoded, SearchConfig()
  item_BxX = np.array([[NUM_KNOWN, 4, NUM_KNOWN + 3], [0, NUM_KNOWN + 1, 19]])
  got_BxX = np.asarray(head_scores(*args, NUM_KNOWN, near)(item_BxX))
  for b, row in enumerate(item_BxX):
    for x, item in enumerate(row):
      expected = every_BxN[b, item] if item < NUM_KNOWN else None
      if expected is None:
        of, share = by_hand(item - NUM_KNOWN)
        expected = share @ every_BxN[b, of]
      assert got_BxX[b, x] == pytest.approx(expected, abs=1e-3)


def test_there_are_none_where_the_item_head_ranks_nothing():
  near = Near(np.zeros((1, 2), np.int32), np.ones((1, 2), np.float32))
  for changes, weight, given in (({}, 1.0, near), ({"item_head": True}, 0.0, near)):
    model, trie, path = make_model(all_codes(2, 5)[:NUM_KNOWN], **changes)
    params = init_params(model, trie, path)
    encoded = jax.eval_shape(
      lambda p, model=model, trie=trie: call(
        model, p, "encode", HISTORIES, trie.codes_NxL, 5, trie.used
      ),
      params,
    )
    search = SearchConfig(item_weight=weight)
    assert head_scores(model, params, trie, encoded, search, NUM_KNOWN, given) is None
