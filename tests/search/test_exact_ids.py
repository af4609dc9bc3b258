"""The exact ranking of items by their semantic IDs: as many beams as items find the same."""

import numpy as np
import pytest
from tiny import all_codes, init_params, make_histories, make_model

from sidrec.data.seen import seen_items
from sidrec.models.settings import InputsConfig, RecommenderConfig
from sidrec.parallel.mesh import make_mesh
from sidrec.search import exact_ids
from sidrec.search.batched import Shared, make_recommend_users
from sidrec.search.exact_ids import make_exact_recommend_users, why_not_exact
from sidrec.search.settings import SearchConfig

CODES = np.random.default_rng(2).permutation(all_codes(3, 4))[:30]
ROWS = [np.random.default_rng(seed).permutation(30)[: 3 * seed].tolist() for seed in range(1, 10)]


@pytest.mark.parametrize(
  ("settings", "search"),
  [
    (
      {"item_head": True, "inputs": InputsConfig(gap=True, rating=True)},
      {"item_weight": 0.5, "level_weights": (1.0, 0.5, 2.0)},
    ),
    ({"setting": "tiger", "user_tokens": 3}, {}),
    ({"repeats": True, "item_head": True}, {}),
    ({"repeats": True, "inputs": InputsConfig(gap=True, earlier=4)}, {}),
  ],
)
@pytest.mark.parametrize(("at_once", "exclude_seen"), [(7, True), (30, False)])
def test_as_many_beams_as_items_find_the_exact_list_in_its_order(
  settings, search, at_once, exclude_seen, monkeypatch
):
  monkeypatch.setattr(exact_ids, "_AT_ONCE", at_once)
  model, trie, path = make_model(CODES, **settings)
  params, histories = init_params(model, trie, path, scale=2.0), make_histories(ROWS)
  histories = histories._replace(
    rating_T=np.ones_like(histories.rating_T), request_time_U=np.full(len(ROWS), 1000)
  )
  users_R, seen, mesh = np.arange(len(ROWS)), seen_items(histories), make_mesh()
  seen = seen if exclude_seen else None
  config = SearchConfig(beams=30, batch_size=8, **search)
  exact = make_exact_recommend_users(model, trie, config, 10, mesh)
  best = exact(params, histories, users_R, seen)
  found = make_recommend_users(model, trie, config, mesh)(params, histories, users_R, seen)
  np.testing.assert_array_equal(best.valid_BxK, found.valid_BxK[:, :10])
  np.testing.assert_array_equal(best.item_BxK, found.item_BxK[:, :10])
  exact_BxK, found_BxK = best.score_BxK, found.score_BxK[:, :10]
  if exclude_seen:  # beams share out what the items that they may return have together
    exact_BxK, found_BxK = (x - x[:, :1] for x in (exact_BxK, found_BxK))
  np.testing.assert_allclose(exact_BxK, found_BxK, atol=1e-5)
  gone = [len(row) if exclude_seen else 0 for row in ROWS]
  assert best.valid_BxK.sum(axis=1).tolist() == [min(10, 30 - count) for count in gone]
  with pytest.raises(ValueError, match="takes no lists that users share"):
    exact(params, histories, users_R, seen, Shared(allowed_J=np.array([1])))


@pytest.mark.parametrize(
  ("model", "search", "why"),
  [
    (RecommenderConfig(repeats=True), SearchConfig(), ""),
    (RecommenderConfig(), SearchConfig(temperature=2.0), "temperature"),
    (RecommenderConfig(), SearchConfig(most_per_prefix=1), "most_per_prefix"),
    (RecommenderConfig(), SearchConfig(), ""),
  ],
)
def test_searches_that_score_more_than_single_items_have_none(model, search, why):
  assert why in why_not_exact(model, search)
  assert bool(why) == bool(why_not_exact(model, search))
