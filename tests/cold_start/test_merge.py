"""Two lists in one: a mixture of probabilities, by one share."""

import numpy as np
import pytest

from sidrec.cold_start.merge import merge
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
