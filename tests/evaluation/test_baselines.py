import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_histories

from sidrec.data.dataset import HeldOut, held_out_view, training_view
from sidrec.evaluation.baselines import (
  best_item_knn,
  evaluate_baseline,
  item_knn,
  item_knn_cosine,
  own_and_item_knn,
  own_frequency,
  own_recency,
  popularity,
  ranks,
  top_items,
)


def random_held_out(rng, num_items):
  rows = [rng.integers(0, num_items, rng.integers(0, 6)).tolist() for _ in range(7)]
  return HeldOut(make_histories(rows), rng.integers(0, num_items, 7).astype(np.int32))


def brute_force(scores_UxN, held_out, num_results, masked):
  """Means of recall@1, recall@5, ndcg@5 and mrr, and coverage@10, one user at a time."""
  sums, shown = np.zeros(4), set()
  num_items = scores_UxN.shape[1]
  for user, target in enumerate(held_out.target_U):
    seen = set(held_out.histories.of(user).tolist()) if masked else set()
    allowed = [i for i in range(num_items) if i not in seen and scores_UxN[user, i] > -np.inf]
    shown.update(sorted(allowed, key=lambda i: (-scores_UxN[user, i], i))[:10])
    if target in allowed:
      # Equal scores count against the target.
      order = sorted(allowed, key=lambda i: (-scores_UxN[user, i], i == target))
      rank = order.index(target)
      if rank < num_results:
        gain = 1 / np.log2(rank + 2)
        sums += [rank < 1, rank < 5, gain * (rank < 5), 1 / (rank + 1)]
  return [*(sums / len(held_out.target_U)), len(shown) / num_items]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 25), st.integers(1, 9))
def test_masked_and_unmasked_against_brute_force(seed, num_items, block_size):
  rng = np.random.default_rng(seed)
  held_out = random_held_out(rng, num_items)
  # Few distinct scores, so that ties are common, and some items not recommended.
  scores_UxN = rng.integers(0, 4, (7, num_items)).astype(float)
  scores_UxN[rng.random(scores_UxN.shape) < 0.2] = -np.inf
  results = evaluate_baseline(
    lambda _, users_B: scores_UxN[users_B], held_out, num_items, 6, block_size
  ).means
  for way in ["masked", "unmasked"]:
    names = ["recall@1", "recall@5", "ndcg@5", "mrr", "coverage@10"]
    expected = brute_force(scores_UxN, held_out, 6, way == "masked")
    np.testing.assert_allclose([results[way][name] for name in names], expected, err_msg=way)


def test_a_seen_target_is_a_miss_only_when_masked():
  held_out = HeldOut(make_histories([[0, 1]]), np.array([1], np.int32))
  score_N = np.array([1.0, 9.0, 2.0])
  found = evaluate_baseline(lambda _, users_B: np.tile(score_N, (len(users_B), 1)), held_out, 3)
  results = found.means
  assert results["unmasked"]["recall@1"] == 1
  assert results["masked"]["recall@20"] == 0


def test_ties_count_against_the_target_wherever_it_stands():
  scores_BxN = np.array([[3.0, 3.0, 3.0, 1.0, -np.inf]] * 5)
  np.testing.assert_array_equal(ranks(scores_BxN, np.arange(5)), [2, 2, 2, 3, -1])


def test_top_items_take_the_first_rows_of_a_tie_and_mark_what_is_not_recommended():
  inf = np.inf
  scores_BxN = np.array([[1.0, 2.0, 1.0, 5.0, 1.0], [-inf, 4.0, -inf, -inf, 4.0]])
  items_BxK, valid_BxK = top_items(scores_BxN, 3)
  np.testing.assert_array_equal(items_BxK, [[3, 1, 0], [1, 4, 0]])
  np.testing.assert_array_equal(valid_BxK, [[True, True, True], [True, True, False]])


def test_popularity_counts_training_interactions_and_leaves_unseen_items_out():
  histories = make_histories([[0, 1, 1, 3], [1, 2, 0, 3, 3]])
  score_block = popularity(training_view(histories), 4)
  scores_BxN = score_block(histories, np.array([0, 1]))
  np.testing.assert_array_equal(scores_BxN, [[2, 2, 1, -np.inf]] * 2)


def brute_force_knn(training, num_items, history, window, last, against_popular=0.5):
  following, count = np.zeros((num_items, num_items)), np.zeros(num_items)
  for user in range(training.num_users):
    row = training.of(user)
    for at, earlier in enumerate(row):
      count[earlier] += 1
      for distance, later in enumerate(row[at + 1 : at + 1 + window], start=1):
        following[earlier, later] += (later != earlier) / distance
  scores = np.zeros(num_items)
  for age, item in enumerate(history[::-1][:last], start=1):
    norm = np.maximum(count[item], 1) ** 0.5 * np.maximum(count, 1) ** against_popular
    scores += following[item] / norm / age
  return np.where(scores > 0, scores, -np.inf)


@settings(max_examples=40)
@given(
  st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 6), st.sampled_from([0, 0.25, 0.5])
)
def test_item_knn_against_brute_force(seed, window, last, exponent):
  rng = np.random.default_rng(seed)
  training = make_histories([rng.integers(0, 6, rng.integers(0, 7)).tolist() for _ in range(5)])
  asked = make_histories([rng.integers(0, 6, rng.integers(0, 7)).tolist() for _ in range(4)])
  users_B = np.array([3, 0, 2])
  scores_BxN = item_knn(training, 6, window, last, exponent)(asked, users_B)
  expected = [
    brute_force_knn(training, 6, asked.of(user), window, last, exponent) for user in users_B
  ]
  np.testing.assert_allclose(scores_BxN, expected, rtol=1e-5)


@pytest.mark.parametrize(("popular", "expected"), [(True, 0.0), (False, 0.25)])
def test_the_exponent_of_item_knn_is_the_best_on_validation(popular, expected):
  """Item 0 is followed by item 1, which is popular, as often as by item 2, which is not."""
  rows = [[0, 1], [0, 1], [0, 2], [0, 2]] + [[1]] * 40
  training = make_histories(rows)
  validation = HeldOut(make_histories([[0]] * 3), np.full(3, 1 if popular else 2))
  score_block, exponent = best_item_knn(training, validation, 12)
  assert exponent == expected
  own = item_knn(training, 12, against_popular=expected)
  scores = [block(validation.histories, np.arange(3)) for block in (score_block, own)]
  np.testing.assert_array_equal(*scores)


def brute_force_cosine(training, num_items, history):
  has = np.zeros((training.num_users, num_items))
  for user in range(training.num_users):
    has[user, training.of(user)] = 1
  norm = np.linalg.norm(has, axis=0)
  scores = np.zeros(num_items)
  for item in set(history.tolist()):
    for other in range(num_items):
      if other != item and norm[item] and norm[other]:
        scores[other] += has[:, item] @ has[:, other] / (norm[item] * norm[other])
  return np.where(scores > 0, scores, -np.inf)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_item_knn_cosine_against_brute_force(seed):
  rng = np.random.default_rng(seed)
  # Histories repeat items, some are empty, and item 7 never occurs.
  training = make_histories([rng.integers(0, 6, rng.integers(0, 7)).tolist() for _ in range(5)])
  asked = make_histories([rng.integers(0, 8, rng.integers(0, 7)).tolist() for _ in range(4)])
  users_B = np.array([3, 0, 2])
  scores_BxN = item_knn_cosine(training, 8)(asked, users_B)
  expected = [brute_force_cosine(training, 8, asked.of(user)) for user in users_B]
  np.testing.assert_allclose(scores_BxN, expected, rtol=1e-5)


OWN = make_histories([[3, 1, 4, 1, 0], [], [2, 2, 5]])


def test_own_items_come_by_count_and_of_equal_counts_the_latest_first():
  scores_BxN = own_frequency(6)(OWN, np.array([2, 0, 1]))
  assert np.argsort(-scores_BxN[0], kind="stable")[:2].tolist() == [2, 5]
  assert np.argsort(-scores_BxN[1], kind="stable")[:4].tolist() == [1, 0, 4, 3]
  np.testing.assert_array_equal(np.isfinite(scores_BxN).sum(axis=1), [2, 4, 0])


def test_own_items_come_newest_first_each_once():
  scores_BxN = own_recency(6)(OWN, np.array([0, 1, 2]))
  assert np.argsort(-scores_BxN[0], kind="stable")[:4].tolist() == [0, 1, 4, 3]
  assert np.argsort(-scores_BxN[2], kind="stable")[:2].tolist() == [5, 2]
  np.testing.assert_array_equal(np.isfinite(scores_BxN).sum(axis=1), [4, 0, 2])


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 1.0]))
def test_the_mixture_of_own_items_and_neighbours_against_brute_force(seed, share):
  rng = np.random.default_rng(seed)
  training = make_histories([rng.integers(0, 6, rng.integers(0, 7)).tolist() for _ in range(5)])
  asked = make_histories([rng.integers(0, 6, rng.integers(0, 7)).tolist() for _ in range(4)])
  users_B, decay = np.array([3, 0, 2]), 0.8
  scores_BxN = own_and_item_knn(training, 6, share, decay)(asked, users_B)
  for row, user in enumerate(users_B):
    own, near = np.zeros(6), brute_force_knn(training, 6, asked.of(user), 20, 10)
    for age, item in enumerate(asked.of(user)[::-1]):
      own[item] += decay**age
    parts = own, np.maximum(near, 0)
    own, near = (part / part.sum() if part.any() else part for part in parts)
    expected = share * own + (1 - share) * near
    found = np.where(np.isfinite(scores_BxN[row]), scores_BxN[row], 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_baseline_that_only_repeats_is_measured_unmasked_alone():
  found = evaluate_baseline(
    own_recency(6), HeldOut(OWN, np.array([1, 0, 5], np.int32)), 6, ways=("unmasked",)
  )
  assert set(found.means) == set(found.per_user) == {"unmasked"}
  assert found.means["unmasked"]["recall@1"] == pytest.approx(1 / 3)


def test_item_knn_cosine_knows_no_order():
  training = make_histories([[0, 1, 2], [2, 1, 3], [3, 0, 1]])
  score_block = item_knn_cosine(training, 4)
  forth, back = make_histories([[0, 1, 2]]), make_histories([[2, 1, 0]])
  np.testing.assert_allclose(score_block(forth, np.array([0])), score_block(back, np.array([0])))


def test_the_means_of_a_baseline_are_means_of_its_users():
  rng = np.random.default_rng(0)
  held_out = random_held_out(rng, 12)
  scores_UxN = rng.random((7, 12))
  score_block = lambda _, users_B: scores_UxN[users_B]
  found = evaluate_baseline(score_block, held_out, 12, 10, block_size=3)
  whole = evaluate_baseline(score_block, held_out, 12, 10)
  assert found.means == whole.means
  for way in ["masked", "unmasked"]:
    assert set(found.per_user[way]) == {"recall@10", "ndcg@10"}
    for metric, value_U in found.per_user[way].items():
      assert value_U.dtype == np.float32
      assert value_U.mean() == pytest.approx(found.means[way][metric], abs=1e-6)
  rank_U = ranks(scores_UxN, held_out.target_U)
  np.testing.assert_array_equal(found.per_user["unmasked"]["recall@10"], rank_U < 10)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_baselines_beat_chance_on_planted_data(split):
  # Users walk along one of 5 cycles of 20 items; cycle 0 has most of the users.
  rng = np.random.default_rng(0)
  cycle_U = np.where(rng.random(300) < 0.6, 0, rng.integers(0, 5, 300))
  starts_U = rng.integers(0, 20, 300)
  rows = [(20 * c + (s + np.arange(8)) % 20) for c, s in zip(cycle_U, starts_U, strict=True)]
  histories = make_histories([row.tolist() for row in rows])
  training, held_out = training_view(histories), held_out_view(histories, split)
  rng_scores = rng.random((300, 100))
  chance, popular, knn = (
    evaluate_baseline(score_block, held_out, 100).means["masked"]
    for score_block in [
      lambda _, users_B: rng_scores[users_B],
      popularity(training, 100),
      item_knn(training, 100),
    ]
  )
  assert popular["recall@20"] > 2 * chance["recall@20"]
  assert knn["recall@1"] > 0.9
  # Everyone is shown the same few items, or what suits their cycle.
  assert popular["coverage@10"] < 0.5 < knn["coverage@10"]


def test_no_users_is_an_error():
  held_out = HeldOut(make_histories([]), np.array([], np.int32))
  with pytest.raises(ValueError, match="no users"):
    evaluate_baseline(popularity(make_histories([[0]]), 2), held_out, 2)
