"""A search's scores are those of the likelihood, also where items came, went and have room."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import all_codes, init_params, make_model

from sidrec.catalogue.trie.resize import rebuilt, with_room
from sidrec.catalogue.trie.trie import paths
from sidrec.models.settings import CatalogueSizes
from sidrec.models.transfer import UNKNOWN, transfer
from sidrec.search import beam
from sidrec.search.likelihood import item_paths, likelihood_scores
from sidrec.search.settings import SearchConfig

CODES = np.random.default_rng(2).permutation(all_codes(3, 4))[:40]
HISTORY = np.array([[3, 1, 4, 1], [29, 2, -1, -1]], np.int32)


@pytest.mark.parametrize(
  ("settings", "search"),
  [
    ({}, SearchConfig(beams=30, level_weights=(1.0, 0.5, 2.0))),
    ({"item_head": True}, SearchConfig(beams=30, item_weight=0.5)),
    ({"setting": "tiger", "user_tokens": 3}, SearchConfig(beams=30)),
    ({"repeats": True}, SearchConfig(beams=30)),
    ({"repeats": True, "item_head": True}, SearchConfig(beams=30, item_weight=0.5)),
  ],
)
def test_scores_of_a_search_are_those_of_the_likelihood(settings, search):
  model, trained, path = make_model(CODES[:30], **settings)
  params = init_params(model, trained, path, scale=3.0)
  among = np.arange(40) % 7 != 0
  trie = rebuilt(with_room(trained, 10), CODES, among)
  row = np.append(np.arange(30), np.full(trie.num_items - 30, UNKNOWN))
  moved, model = transfer(params, trained, trie, row), model.clone(sizes=CatalogueSizes.of(trie, 4))
  history = HISTORY
  if "user_tokens" in settings:
    history = np.concatenate([[[0], [2]], HISTORY], axis=1).astype(np.int32)
  found = jax.jit(lambda p: beam.search(model, p, trie, history, search))(moved)
  item, score, valid = map(np.asarray, found)
  assert valid.all()
  assert among[item].all()
  table = jnp.asarray(item_paths(trie))
  scores = jax.jit(functools.partial(likelihood_scores, model, search))
  apart = np.stack(
    [scores(moved, trie, table, history, item[:, at]) - score[:, at] for at in (0, 7)]
  )
  if "item_head" in settings:
    apart = apart - apart[:1]
  np.testing.assert_allclose(apart, 0, atol=3e-5)


def test_paths_of_all_items_are_those_of_the_trie():
  _, trie, path = make_model(CODES)
  np.testing.assert_array_equal(item_paths(trie), np.asarray(path))
  np.testing.assert_array_equal(np.asarray(paths(trie)), np.asarray(path))
