"""Two lists in one: a mixture of probabilities, by one share."""

import numpy as np
import pytest

from sidrec.search.merge import merge, normalised
from sidrec.search.results import Recommendations

rng = np.random.default_rng(0)


def results(first_item, count, users=20):
  p = rng.dirichlet(np.full(count, 0.3), users)
  order = np.argsort(-p, axis=1)
  item = (first_item + order).astype(np.int32)
  score = np.log(np.take_along_axis(p, order, axis=1) + 1e-12).astype(np.float32)
  return Recommendations(item, score, np.ones_like(item, bool))


KNOWN, NEW = results(0, 12), results(100, 8)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_it_ranks_by_the_mixture(share):
  merged = merge(KNOWN, NEW, share)
  for user in range(20):
    p = dict(zip(KNOWN.item_BxK[user], (1 - share) * np.exp(KNOWN.score_BxK[user]), strict=True))
    p |= dict(zip(NEW.item_BxK[user], share * np.exp(NEW.score_BxK[user]), strict=True))
    best = sorted(p.values(), reverse=True)[:12]
    np.testing.assert_allclose(np.exp(merged.score_BxK[user]), best, rtol=1e-4)
    np.testing.assert_allclose([p[i] for i in np.asarray(merged.item_BxK[user])], best, rtol=1e-4)


def test_a_share_of_zero_returns_the_known_list_and_one_the_new():
  none, all_new = merge(KNOWN, NEW, 0.0), merge(KNOWN, NEW, 1.0)
  np.testing.assert_array_equal(none.item_BxK, KNOWN.item_BxK)
  np.testing.assert_allclose(none.score_BxK, KNOWN.score_BxK, rtol=1e-6)
  np.testing.assert_array_equal(all_new.item_BxK[:, :8], NEW.item_BxK)
  assert not np.asarray(all_new.valid_BxK)[:, 8:].any()
  assert (np.asarray(all_new.item_BxK)[:, 8:] == -1).all()


def test_a_larger_share_never_shows_fewer_new_items():
  counts = [
    (np.asarray(merge(KNOWN, NEW, share).item_BxK)[:, :5] >= 100).sum(axis=1)
    for share in np.linspace(0, 1, 21)
  ]
  assert (np.diff(counts, axis=0) >= 0).all()
  assert counts[0].sum() == 0
  assert (counts[-1] == 5).all()


def test_missing_results_stay_missing():
  valid = np.arange(12)[None] < 3
  known = Recommendations(
    np.where(valid, KNOWN.item_BxK, -1),
    np.where(valid, KNOWN.score_BxK, -np.inf),
    np.broadcast_to(valid, (20, 12)),
  )
  merged = merge(known, NEW, 0.3)
  assert (np.asarray(merged.valid_BxK).sum(axis=1) == 11).all()


def test_probabilities_sum_to_one_whatever_the_scores_of_new_items_sum_to():
  for more in (-5.0, 0.0, 3.0):
    new = NEW._replace(score_BxK=NEW.score_BxK + np.float32(more))
    merged = merge(KNOWN._replace(score_BxK=KNOWN.score_BxK), new, 0.2)
    weight = 0.2 * np.exp(new.score_BxK)
    total = 0.8 + weight.sum(axis=1, keepdims=True)
    every = np.concatenate([0.8 * np.exp(KNOWN.score_BxK), weight], axis=1) / total
    np.testing.assert_allclose(every.sum(axis=1), 1.0, rtol=1e-5)
    best = -np.sort(-every, axis=1)[:, :12]
    np.testing.assert_allclose(np.exp(merged.score_BxK), best, rtol=1e-4)


def test_where_nothing_new_is_found_known_items_keep_their_scores():
  none = NEW._replace(
    score_BxK=np.full((20, 8), -np.inf, np.float32), valid_BxK=np.zeros((20, 8), bool)
  )
  for share in (0.0, 0.02, 0.9):
    merged = merge(KNOWN, none, share)
    np.testing.assert_array_equal(merged.item_BxK, KNOWN.item_BxK)
    np.testing.assert_array_equal(merged.score_BxK, KNOWN.score_BxK)
  assert not np.isnan(merge(none, none, 1.0).score_BxK).any()


def test_normalised_scores_are_log_probabilities_and_say_what_was_taken_off():
  shifted = KNOWN._replace(score_BxK=KNOWN.score_BxK + 7)
  result, total = normalised(shifted)
  np.testing.assert_allclose(np.exp(result.score_BxK).sum(axis=1), 1.0, rtol=1e-5)
  np.testing.assert_allclose(result.score_BxK + total, shifted.score_BxK, rtol=1e-5, atol=1e-5)
