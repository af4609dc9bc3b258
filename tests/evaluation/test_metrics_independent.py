"""The metrics against trec_eval's, through its Python bindings."""

import numpy as np
import pytest

from sidrec.evaluation.metrics import per_user_metrics, rank_in_list, summarise

pytrec_eval = pytest.importorskip("pytrec_eval")

# Ours → trec_eval's.
NAMES = {
  **{f"recall@{k}": f"recall_{k}" for k in (1, 5, 10, 20)},
  **{f"ndcg@{k}": f"ndcg_cut_{k}" for k in (5, 10, 20)},
  "mrr": "recip_rank",
}


def test_every_metric_of_every_user_is_that_of_trec_eval():
  rng = np.random.default_rng(0)
  num_users, num_items, length = 400, 60, 20
  items_UxK = np.stack([rng.permutation(num_items)[:length] for _ in range(num_users)])
  valid_UxK = rng.random((num_users, length)) < 0.8
  target_U = rng.integers(0, num_items, num_users)
  ours = per_user_metrics(rank_in_list(items_UxK, valid_UxK, target_U), length)
  assert set(ours) == set(NAMES)

  relevant = {f"u{user}": {f"i{target}": 1} for user, target in enumerate(target_U)}
  ranked = {
    f"u{user}": {
      f"i{item}": float(length - place)
      for place, item in enumerate(items_UxK[user])
      if valid_UxK[user, place]
    }
    for user in range(num_users)
  }
  evaluator = pytrec_eval.RelevanceEvaluator(
    relevant, {"recall.1,5,10,20", "ndcg_cut.5,10,20", "recip_rank"}
  )
  theirs = evaluator.evaluate(ranked)
  assert len(theirs) == num_users
  for name, its_name in NAMES.items():
    their_U = np.array([theirs[f"u{user}"][its_name] for user in range(num_users)])
    np.testing.assert_allclose(ours[name], their_U, atol=1e-6, err_msg=name)
    assert 0 < summarise(ours)[name] < 1  # hits and misses both occur
