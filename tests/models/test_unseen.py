"""Items whose IDs alone are known: what training hides, and what new items get for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import all_codes, init_params, log_likelihood, make_model

from sidrec.catalogue.trie.trie import build_trie, paths, row_paths
from sidrec.models.settings import CatalogueSizes, RecommenderConfig
from sidrec.models.transfer import UNKNOWN, transfer
from sidrec.models.unseen import hide, levels_of, nodes_of
from sidrec.trainers.recommender import recommender_task

CODES = np.random.default_rng(0).permutation(all_codes(3, 3))[:18]
HISTORY = np.array([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, -1, -1]], np.int32)
TARGET = np.array([[1, 4, 1, 5, 9, 2], [6, 5, 3, 17, -1, -1]], np.int32)


def made(**changes):
  """A model whose rows for the unseen differ from zero, its trie and its paths."""
  shape = {"history_length": 6, "width": 16, "hidden": 32, "encoder_layers": 1}
  settings = {**shape, "unseen": 0.5, "item_head": True, **changes}
  model, trie, path = make_model(CODES, **settings)
  params = init_params(model, trie, path, scale=2.0)
  rng = np.random.default_rng(1)
  for name in [name for name in params if name.startswith("unseen")]:
    params[name] = jnp.asarray(rng.normal(size=params[name].shape), jnp.float32)
  return model, params, trie, path


def test_nodes_that_lead_to_hidden_items_alone_are_hidden():
  _, _, trie, path = made()
  hidden_N = np.random.default_rng(2).random(18) < 0.6
  expected = {
    node
    for node in set(np.asarray(path).ravel().tolist())
    if all(hidden_N[item] for item in np.flatnonzero((np.asarray(path) == node).any(axis=1)))
  }
  found = np.flatnonzero(nodes_of(jnp.asarray(hidden_N), trie))
  assert set(found.tolist()) == expected
  assert 0 not in expected


def test_each_node_has_the_level_of_its_token():
  _, _, trie, path = made()
  level_E = np.asarray(levels_of(path, trie.num_nodes))
  for row in np.asarray(path).tolist():
    assert level_E[row[1:]].tolist() == [0, 1, 2]
  np.testing.assert_array_equal(level_E, levels_of(np.asarray(path), trie.num_nodes))


def test_hidden_rows_are_shared_and_the_others_stay():
  _, params, trie, path = made()
  key = jax.random.key(3)
  found = hide(params, trie, path, 0.5, key)
  hidden_N = np.asarray(jax.random.bernoulli(key, 0.5, (18,)))
  assert 0 < hidden_N.sum() < 18
  np.testing.assert_array_equal(
    found["item"], np.where(hidden_N[:, None], params["unseen_item"], params["item"])
  )
  hidden_E = np.asarray(nodes_of(jnp.asarray(hidden_N), trie))
  level_E = levels_of(np.asarray(path), trie.num_nodes)
  shared_E = np.asarray(params["unseen_node_bias"])[level_E]
  np.testing.assert_array_equal(
    found["node_bias"], np.where(hidden_E, shared_E, params["node_bias"])
  )


def test_the_loss_of_a_hidden_item_moves_none_of_its_rows():
  """Gradients by rows: with all items hidden, no table row has any, and the shared rows have."""
  model, params, trie, _ = made(unseen=0.999999)
  task = recommender_task(model, trie)
  batch = {"history_BxS": HISTORY, "target_BxS": TARGET, "segment_BxS": np.zeros((2, 6), np.int32)}
  loss = lambda params: task.loss(params, (), batch, jax.random.key(0))[0]
  grads = jax.jit(jax.grad(loss))(params)
  for name in ("item", "item_bias", "node"):
    np.testing.assert_array_equal(grads[name], 0.0)
  for name in ("unseen_item", "unseen_node", "unseen_node_bias", "code"):
    assert np.abs(grads[name]).max() > 0


def test_a_new_item_is_scored_as_it_was_when_training_hid_it():
  """The catalogue without one item, and then with it: as if the whole one had hidden it."""
  model, params, trie, path = made(item_head=False)
  gone = 5
  among = np.arange(18) != gone
  small = build_trie(CODES[among], every_prefix=True)
  kept_row = np.where(among, np.cumsum(among) - 1, UNKNOWN)
  # Parameters of the small catalogue: the same rows, by prefix and by item.
  sizes = CatalogueSizes.of(small, model.sizes.codebook_size)
  path_of = {
    tuple(code[:d]): row[d]
    for code, row in zip(CODES, np.asarray(path), strict=True)
    for d in range(4)
  }
  node_E = np.zeros(small.num_nodes, int)
  for code, row in zip(CODES[among], np.asarray(paths(small)), strict=True):
    for depth in range(4):
      node_E[row[depth]] = path_of[tuple(code[:depth])]
  small_params = {**params, "item": params["item"][among]}
  small_params |= {name: params[name][node_E] for name in ("node", "node_bias")}
  grown = dict(transfer(small_params, small, trie, kept_row))
  grown.pop("trie")
  hidden = {**params, "item": params["item"].at[gone].set(params["unseen_item"])}
  alone_E = np.asarray(nodes_of(jnp.asarray(~among), trie))
  assert alone_E.any()
  level_E = levels_of(row_paths(trie), trie.num_nodes)
  for name in ("node", "node_bias"):
    rows = np.asarray(params[f"unseen_{name}"])[level_E]
    mask = alone_E.reshape(-1, *[1] * (rows.ndim - 1))
    hidden[name] = jnp.where(mask, rows, params[name])
  assert sizes.num_items == 17
  expected = log_likelihood(model, hidden, HISTORY, np.maximum(TARGET, 0), trie, path)
  found = log_likelihood(model, grown, HISTORY, np.maximum(TARGET, 0), trie, path)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_models_without_tables_have_nothing_to_hide():
  bare = {"item_embedding": False, "node_bias": False, "node_vectors": False}
  with pytest.raises(ValueError, match="this model has none"):
    RecommenderConfig(unseen=0.1, **bare)
  with pytest.raises(ValueError, match="give a share of items from 0"):
    RecommenderConfig(unseen=1.0)
