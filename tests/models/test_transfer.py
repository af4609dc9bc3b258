"""Parameters carried to a grown catalogue: what stays, and what is filled in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import all_codes, init_params, make_model

from sidrec.catalogue.trie.resize import rebuilt, with_room
from sidrec.catalogue.trie.trie import build_trie
from sidrec.core.vocabulary import NO_ITEM
from sidrec.models.packed_followers import unpack
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import MARK, UNKNOWN, descend, match_nodes, transfer
from sidrec.search import beam
from sidrec.search.settings import SearchConfig
from sidrec.serving.compilations import Compilations

CODES = np.random.default_rng(0).permutation(all_codes(3, 5))
OLD, NEW = CODES[:60], CODES[60:80]
GROWN = np.concatenate([OLD, NEW])
ROW = np.append(np.arange(60), np.full(20, UNKNOWN))
MODEL, TRAINED, PATH = make_model(CODES[:60])
PARAMS = init_params(MODEL, TRAINED, PATH, scale=3.0)
HISTORY = jnp.asarray([[3, 1, 4, 1], [50, 2, -1, -1]], jnp.int32)


def scores(trie, params, count):
  """log p of every item that the trie leads to: [B, N], -inf for the others."""
  model = MODEL.clone(sizes=CatalogueSizes.of(trie, 5))
  found = jax.jit(
    lambda p: beam.search(model, p, trie, HISTORY, SearchConfig(beams=count, item_weight=0.0))
  )(params)
  score = np.full((2, trie.num_items), -np.inf)
  for row in range(2):
    valid = np.asarray(found.valid_BxK[row])
    score[row, found.item_BxK[row][valid]] = found.score_BxK[row][valid]
  return score


def test_the_same_catalogue_keeps_its_parameters():
  same = transfer(PARAMS, TRAINED, TRAINED, np.arange(60))
  closing = np.ones(TRAINED.num_nodes, bool)
  closing[np.unique(np.asarray(PATH))] = False
  for name, value in PARAMS.items():
    if name in ("node", "node_bias"):
      np.testing.assert_array_equal(same[name][~closing], value[~closing])
    else:
      jax.tree.map(np.testing.assert_array_equal, same[name], value)


def test_known_items_keep_their_probabilities_in_a_trie_of_their_own():
  trie = build_trie(GROWN, ROW != UNKNOWN)
  params = transfer(PARAMS, TRAINED, trie, ROW)
  np.testing.assert_allclose(
    scores(trie, params, 60)[:, :60], scores(TRAINED, PARAMS, 60), atol=1e-5
  )
  assert params["item"].shape == (80, 8)


def test_items_in_another_order_keep_their_probabilities():
  order = np.random.default_rng(1).permutation(60)
  trie = build_trie(OLD[order])
  moved = transfer(PARAMS, TRAINED, trie, order)
  np.testing.assert_array_equal(moved["item"], np.asarray(PARAMS["item"])[order])
  np.testing.assert_array_equal(np.asarray(trie.token_E), np.asarray(TRAINED.token_E))
  real = np.unique(np.asarray(PATH))
  np.testing.assert_array_equal(moved["node"][real], np.asarray(PARAMS["node"])[real])


def test_followers_move_with_the_rows_of_the_items():
  model, trained, path = make_model(OLD, followers=5)
  params = jax.device_get(init_params(model, trained, path))
  row_N = np.random.default_rng(1).permutation(ROW)
  row_N[row_N == 7] = UNKNOWN  # an item that went
  trie = build_trie(GROWN, np.arange(80) < 80)
  moved = transfer(params, trained, trie, row_N)
  after, before = (followers_of(x) for x in (moved, params))
  new_row = {old: new for new, old in enumerate(row_N.tolist()) if old != UNKNOWN}
  for row, old in enumerate(row_N.tolist()):
    kept = {int(item): value for item, value in after[row] if item != NO_ITEM}
    assert not any(value for item, value in after[row] if item == NO_ITEM)
    was = before[old] if old != UNKNOWN else []
    assert kept == {new_row[i]: value for i, value in was if i in new_row}


def followers_of(params):
  """(item, similarity) of the followers of each item."""
  unpacked = unpack(params["follower"], params["follower_similarity"])
  return [list(zip(*row, strict=True)) for row in zip(*map(np.asarray, unpacked), strict=True)]


def test_siblings_from_training_keep_the_ratio_of_their_probabilities():
  trie = build_trie(GROWN)
  before, after = (
    scores(TRAINED, PARAMS, 60),
    scores(trie, transfer(PARAMS, TRAINED, trie, ROW), 80),
  )
  np.testing.assert_allclose(np.exp(after).sum(axis=1), 1, rtol=1e-4)
  compared = 0
  for prefix in np.unique(OLD[:, :2], axis=0):
    at = np.flatnonzero((OLD[:, :2] == prefix).all(axis=1))
    ratio = [score[:, at] - score[:, at[:1]] for score in (before, after)]
    np.testing.assert_allclose(ratio[0], ratio[1], atol=1e-4)
    compared += len(at) > 1
  assert compared > 5


def test_new_nodes_are_told_from_their_siblings_by_their_token_alone():
  trie = build_trie(GROWN)
  grown = transfer(PARAMS, TRAINED, trie, ROW)
  node, parent = match_nodes(TRAINED, trie)
  child = np.asarray(TRAINED.child_E)
  new = np.flatnonzero((node == UNKNOWN) & (parent > 0))
  assert len(new) > 10
  assert (grown["node"][new] == 0).all()
  for at in new:
    siblings = np.asarray(PARAMS["node_bias"])[child[parent[at]] : child[parent[at] + 1]]
    np.testing.assert_allclose(grown["node_bias"][at], siblings.mean(), rtol=1e-4, atol=1e-5)


def test_new_items_are_the_mean_of_those_that_share_most_of_their_id():
  grown = transfer(PARAMS, TRAINED, build_trie(GROWN), ROW)
  item = np.asarray(PARAMS["item"])
  np.testing.assert_array_equal(grown["item"][:60], item)
  for row, code in enumerate(NEW):
    shared = np.array([(np.cumprod(old == code)).sum() for old in OLD])
    expected = item[shared == shared.max()].mean(axis=0)
    np.testing.assert_allclose(grown["item"][60 + row], expected, rtol=1e-4, atol=1e-6)


def test_a_trie_of_new_items_gives_each_node_its_share():
  trie = build_trie(GROWN, ROW == UNKNOWN)
  grown = transfer(PARAMS, TRAINED, trie, ROW)
  first, last = trie.depth_offsets[1], trie.depth_offsets[2] - 1
  for node in range(first, last):
    token = int(trie.token_E[node])
    at = int(np.asarray(PATH)[OLD[:, 0] == token][0, 1])
    new, old = (NEW[:, 0] == token).sum(), (OLD[:, 0] == token).sum()
    expected = float(PARAMS["node_bias"][at]) + np.log(new / (new + old))
    assert grown["node_bias"][node] == pytest.approx(expected, rel=1e-4, abs=1e-5)
  found = scores(trie, grown, 20)
  assert np.isinf(found[:, :60]).all()
  np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-4)


def test_every_table_over_items_moves_and_others_stay():
  vector = np.random.default_rng(4).integers(-127, 128, (60, 5)).astype(np.int8)
  more = {**PARAMS, "item_bias": jnp.arange(60.0), "vector": vector}
  grown = transfer(more, TRAINED, build_trie(GROWN), ROW)
  assert grown["item_bias"].shape == (80,)
  np.testing.assert_array_equal(grown["item_bias"][:60], np.arange(60))
  assert (grown["vector"].dtype, grown["vector"].shape) == (np.int8, (80, 5))
  np.testing.assert_array_equal(grown["vector"][:60], vector)
  assert (grown["vector"][60:] != 0).any()  # means, as other rows
  np.testing.assert_array_equal(grown["out"], PARAMS["out"])
  bare = {name: value for name, value in PARAMS.items() if name not in ("node", "item")}
  assert set(transfer(bare, TRAINED, build_trie(GROWN), ROW)) == {*bare, MARK}


def test_new_items_have_the_codes_of_a_trained_one_that_shares_their_prefix():
  code = np.random.default_rng(4).integers(0, 255, (60, 5)).astype(np.uint8)
  kept = {**PARAMS, "vector": code, "vector_codeword": np.zeros((5, 256, 2), np.float32)}
  grown = transfer(kept, TRAINED, build_trie(GROWN), ROW)
  np.testing.assert_array_equal(grown["vector"][:60], code)
  assert (grown["vector"].dtype, grown["vector_codeword"].shape) == (np.uint8, (5, 256, 2))
  for row in range(60, 80):
    shared = (np.cumprod(GROWN[row] == OLD, axis=1)).sum(axis=1)
    nearest = code[shared == shared.max()]
    assert (nearest == grown["vector"][row]).all(axis=1).any()


def test_prefixes_are_found_node_by_node():
  path = descend(TRAINED, OLD)
  np.testing.assert_array_equal(path, np.asarray(PATH))
  assert (descend(TRAINED, NEW)[:, -1] == UNKNOWN).all()
  assert descend(TRAINED, np.array([[99, 0, 0]])).tolist() == [[0, -1, -1, -1]]


def test_catalogues_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="IDs had 3 tokens in training and have 2 now"):
    transfer(PARAMS, TRAINED, build_trie(all_codes(2, 3)), np.arange(9))
  with pytest.raises(ValueError, match="do not fit 80 items"):
    transfer(PARAMS, TRAINED, build_trie(GROWN), np.arange(60))


def test_nothing_is_compiled_for_another_number_of_items():
  """A server moves parameters under traffic."""
  roomy = with_room(TRAINED, 20)
  transfer(PARAMS, TRAINED, roomy, np.append(np.arange(60), np.full(roomy.num_items - 60, UNKNOWN)))
  compilations = Compilations()
  for items in (63, 71):
    trie = rebuilt(roomy, GROWN[:items], np.arange(items) % 11 != 3)
    row = np.append(np.arange(60), np.full(trie.num_items - 60, UNKNOWN))
    transfer(PARAMS, TRAINED, trie, row)
  assert compilations.count == 0
