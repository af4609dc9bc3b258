"""What users do, and that it is drawn from what `truth` says."""

import numpy as np
import pytest
from scipy import stats

from sidrec.bench.world import truth
from sidrec.bench.world.catalogue import appears, leaves_of, make_catalogue
from sidrec.bench.world.settings import WorldConfig
from sidrec.bench.world.users import lengths, simulate
from sidrec.core.vocabulary import NO_ITEM

CONFIG = WorldConfig(items=60, users=4000, seed=1, branches=2, mean_length=8.0, longest=30)
WORLD = make_catalogue(CONFIG)
USERS = np.arange(CONFIG.users)


def every_item(state):
  rows = np.broadcast_to(np.arange(CONFIG.items), (len(state.time_B), CONFIG.items))
  return truth.probability(WORLD, state, rows)


@pytest.fixture(scope="module")
def told():
  """All histories, and the state and the p of every item before each user's last event."""
  histories, _ = simulate(WORLD, USERS)
  _, state = simulate(WORLD, USERS, histories.lengths_U - 1)
  return histories, state, every_item(state)


def test_users_are_the_same_in_whatever_company(told):
  histories, state, _ = told
  some = np.array([3999, 5, 77])
  alone, _ = simulate(WORLD, some)
  for place, user in enumerate(some):
    assert (alone.of(place) == histories.of(user)).all()
  _, again = simulate(WORLD, some, lengths(CONFIG, some) - 1)
  assert all((a == b[some]).all() for a, b in zip(again, state, strict=True))
  other, _ = simulate(make_catalogue(WorldConfig(**{**vars(CONFIG), "seed": 2})), some)
  assert not np.array_equal(other.item_T[:5], alone.item_T[:5])


def test_lengths_have_their_mean(told):
  length = told[0].lengths_U
  assert (length == lengths(CONFIG, USERS)).all()
  assert length.mean() == pytest.approx(8, abs=0.3)
  assert (length.min(), length.max()) == (5, 30)


def test_nobody_meets_what_has_not_appeared_and_time_does_not_run_back(told):
  histories = told[0]
  assert (appears(WORLD, histories.item_T.astype(int)) <= histories.time_T).all()
  within = np.ones(len(histories.time_T) - 1, bool)
  within[histories.offsets_Up1[1:-1] - 1] = False
  assert (np.diff(histories.time_T)[within] > 0).all()


def test_probabilities_sum_to_one(told):
  np.testing.assert_allclose(told[2].sum(axis=1), 1.0)


def expected_and_drawn(p, target, group, groups):
  """Counts of a group of items, expected and drawn, over all users."""
  expected = np.zeros(groups)
  np.add.at(expected, group, p)
  return expected, np.bincount(group[np.arange(len(target)), target], minlength=groups)


@pytest.mark.parametrize("starts", [True, False])
def test_events_have_the_stated_frequencies(told, starts):
  """Chi-square, at the start of sessions and within them.

  By item, by its place in the order of p, and by when the user met it last.
  """
  histories, state, p = told
  of = np.flatnonzero(state.starts_B == starts)
  target = histories.item_T[histories.offsets_Up1[1:] - 1][of]
  by_item = np.broadcast_to(np.arange(CONFIG.items), p[of].shape)
  by_rank = np.argsort(np.argsort(-p[of], axis=1, kind="stable"), axis=1)
  recent = state.recent_BxX[of]
  met = recent[:, None, :] == by_item[..., None]
  by_age = np.where(met.any(axis=2), met.argmax(axis=2), recent.shape[1])
  for group, least in ((by_item, 15), (by_rank, 15), (by_age, 5)):
    expected, drawn = expected_and_drawn(p[of], target, group, CONFIG.items)
    kept = expected > 5
    expected, drawn = (np.append(x[kept], x[~kept].sum()) for x in (expected, drawn))
    assert len(expected) > least
    # Counts of independent draws vary less than Poisson's, so that this is on the safe side.
    statistic = ((drawn - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    assert stats.chi2.sf(statistic, len(expected) - 1) > 1e-3
  # And events that had probability 0 did not happen.
  assert (p[of, target] > 0).all()


def test_the_first_event_is_by_taste_alone():
  _, state = simulate(WORLD, USERS[:200], np.zeros(200, int))
  assert state.starts_B.all()
  assert (state.recent_BxX == NO_ITEM).all()
  np.testing.assert_allclose(every_item(state).sum(axis=1), 1.0)


@pytest.mark.parametrize("items", [60, 2000])
def test_the_best_list_is_the_best_of_all(items):
  world = make_catalogue(WorldConfig(items, 50, mean_length=8.0, new_share=0.5, item_exponent=0.6))
  _, state = simulate(world, np.arange(50), np.arange(50) % 5)
  rows = np.broadcast_to(np.arange(items), (50, items))
  p = truth.probability(world, state, rows)
  found, best = truth.best(world, state, 10)
  np.testing.assert_allclose(best, -np.sort(-p, axis=1)[:, :10])
  assert (np.take_along_axis(p, found, axis=1) == best).all()
  assert all(len(set(row)) == 10 for row in found.tolist())


def test_a_list_longer_than_the_world_is_filled_up():
  world = make_catalogue(WorldConfig(8, 3, branches=2, new_share=0.0))
  _, state = simulate(world, np.arange(3), np.full(3, 4))
  found, best = truth.best(world, state, 10)
  assert (np.sort(found, axis=1) == [NO_ITEM, NO_ITEM, *range(8)]).all()
  np.testing.assert_allclose(best.sum(axis=1), 1.0)
  assert (truth.probability(world, state, found)[:, 8:] == 0).all()


def test_sessions_stay_in_their_category(told):
  """Within a session the session's own category of the second level is what is met most."""
  histories, state, _ = told
  target = histories.item_T[histories.offsets_Up1[1:] - 1].astype(int)
  there = leaves_of(WORLD, target) // 2 == state.focus_B // 2
  assert there[~state.starts_B].mean() > 0.6 > there[state.starts_B].mean()
