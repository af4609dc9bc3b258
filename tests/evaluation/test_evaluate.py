import numpy as np
import pytest
from tiny import make_histories

from sidrec.data.dataset import HeldOut
from sidrec.evaluation.evaluate import evaluate, evaluate_users
from sidrec.search.results import Recommendations

NUM_ITEMS, NUM_RESULTS = 30, 20


def held_out(num_users=7):
  rng = np.random.default_rng(0)
  rows = [rng.permutation(NUM_ITEMS)[:4].tolist() for _ in range(num_users)]
  # Every third target is one of the user's own items.
  target_U = np.array([row[0] if user % 3 == 0 else 29 for user, row in enumerate(rows)], np.int32)
  return HeldOut(make_histories(rows), target_U)


def recommend_users(params, histories, users_R, seen=None):
  """Each user gets the items in an order of their own, seen ones left out if asked."""
  items_RxK, valid_RxK = [], []
  for user in users_R:
    order = np.random.default_rng(user).permutation(NUM_ITEMS)
    kept = order[~np.isin(order, seen.of(user))] if seen is not None else order
    row = np.concatenate([kept, np.zeros(NUM_ITEMS - len(kept), int)])
    items_RxK.append(row[:25])
    valid_RxK.append(np.arange(25) < len(kept))
  items_RxK, valid_RxK = np.stack(items_RxK), np.stack(valid_RxK)
  return Recommendations(items_RxK, np.zeros(items_RxK.shape), valid_RxK)


def test_the_means_are_means_of_the_users():
  found = evaluate(recommend_users, {}, held_out(), NUM_ITEMS, NUM_RESULTS)
  assert set(found.means) == {"masked", "unmasked"}
  for way in ["masked", "unmasked"]:
    assert set(found.per_user[way]) == {"recall@10", "ndcg@10"}
    for metric, value_U in found.per_user[way].items():
      assert value_U.dtype == np.float32
      assert value_U.shape == (7,)
      assert value_U.mean() == pytest.approx(found.means[way][metric], abs=1e-6)


def test_each_user_has_the_metrics_of_their_own_list():
  task = held_out()
  found = evaluate(recommend_users, {}, task, NUM_ITEMS, NUM_RESULTS)
  for user, target in enumerate(task.target_U):
    for way in ["masked", "unmasked"]:
      order = np.random.default_rng(user).permutation(NUM_ITEMS).tolist()
      seen = task.histories.of(user).tolist() if way == "masked" else []
      order = [item for item in order if item not in seen][:10]
      gain = 1 / np.log2(order.index(target) + 2) if target in order else 0
      assert found.per_user[way]["ndcg@10"][user] == pytest.approx(gain)
      assert found.per_user[way]["recall@10"][user] == (target in order)
  # The case has users whose target is seen, and found only where it is not masked.
  assert found.per_user["unmasked"]["recall@10"].sum() > 0
  assert (found.per_user["masked"]["recall@10"][::3] == 0).all()


def test_some_users_alone_have_the_mean_of_those_users():
  task, users_R = held_out(), np.array([5, 1, 2])
  means = evaluate_users(recommend_users, {}, task, users_R, NUM_ITEMS, NUM_RESULTS, None)
  whole = evaluate(recommend_users, {}, task, NUM_ITEMS, NUM_RESULTS)
  for metric, value_U in whole.per_user["unmasked"].items():
    assert means[metric] == pytest.approx(value_U[users_R].mean(), abs=1e-6)
  assert means["coverage@10"] < whole.means["unmasked"]["coverage@10"]


def test_the_calibration_error_is_that_of_first_results_and_only_where_scores_are_log_p():
  task = held_out()

  def with_scores(*args):
    found = recommend_users(*args)
    return found._replace(score_BxK=np.full(found.item_BxK.shape, np.log(0.25)))

  plain = evaluate(with_scores, {}, task, NUM_ITEMS, NUM_RESULTS)
  found = evaluate(with_scores, {}, task, NUM_ITEMS, NUM_RESULTS, calibrated=True)
  for way in ["masked", "unmasked"]:
    assert "ece@1" not in plain.means[way]
    rest = {name: value for name, value in found.means[way].items() if name != "ece@1"}
    assert rest == plain.means[way]
    # Seven lists in bins of their own: each is .75 off if it hits, and .25 if not.
    hits = found.means[way]["recall@1"] * 7
    assert found.means[way]["ece@1"] == pytest.approx((0.25 * (7 - hits) + 0.75 * hits) / 7)
  assert found.per_user.keys() == plain.per_user.keys()


def test_a_short_list_keeps_what_it_measures():
  found = evaluate(recommend_users, {}, held_out(), NUM_ITEMS, num_results=5)
  assert found.per_user["masked"] == {}
  assert "recall@5" in found.means["masked"]
