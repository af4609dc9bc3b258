"""What followed a history's latest items, against sums written out."""

import followers_by_hand
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import draw_followers

from sidrec.core.vocabulary import NO_ITEM
from sidrec.models import followers
from sidrec.models.histories import latest_items
from sidrec.models.packed_followers import pack
from sidrec.models.repeats import HistoryScores

NUM_ITEMS = 20
PARAMS = draw_followers(NUM_ITEMS, 4)
HISTORIES = [[3], [5, 3, 5, 9], list(range(15)), []]
AGAIN = [[3], [9, 5], [14, 2, 7], []]  # what may come again after each


def padded(rows):
  width = max(map(len, rows))
  return np.array([row + [NO_ITEM] * (width - len(row)) for row in rows], np.int32)


def log_p(item=None, again=None):
  latest = latest_items(jnp.asarray(padded(HISTORIES)))
  return np.asarray(jax.jit(followers.log_p)(PARAMS, latest, again, item))


def test_probabilities_of_all_items_are_the_sums_and_add_up_to_one():
  found = np.exp(log_p())
  expected = [followers_by_hand.probabilities(PARAMS, row) for row in HISTORIES]
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)
  assert np.ptp(found[0]) > 0.05
  np.testing.assert_allclose(found[3], 1 / NUM_ITEMS, rtol=1e-6)  # nothing to follow


def scores_of_again():
  rng = np.random.default_rng(2)
  item = padded(AGAIN)
  logit = rng.normal(size=item.shape).astype(np.float32)
  return HistoryScores(item, logit, rng.normal(size=len(item)).astype(np.float32))


def test_items_that_come_again_share_what_the_model_gives_them():
  again = scores_of_again()
  found = np.exp(log_p(again=again))
  for b, row in enumerate(AGAIN):
    weight = np.exp(again.logit_BxP[b, : len(row)])
    shares = dict(zip(row, weight / (weight.sum() + np.exp(again.new_B[b])), strict=True))
    expected = followers_by_hand.probabilities(PARAMS, HISTORIES[b], shares)
    np.testing.assert_allclose(found[b], expected, rtol=1e-5)
    np.testing.assert_allclose(found[b, row].sum(), sum(shares.values()), rtol=1e-5)


@pytest.mark.parametrize("repeats", [False, True])
def test_some_items_have_what_they_have_among_all(repeats):
  again = scores_of_again() if repeats else None
  item = np.random.default_rng(0).integers(0, NUM_ITEMS, (4, 7), np.int32)
  everything = log_p(again=again)
  found = log_p(item, again)
  np.testing.assert_allclose(found, np.take_along_axis(everything, item, axis=1), rtol=1e-5)


@pytest.mark.parametrize("repeats", [False, True])
def test_a_floor_stands_in_place_of_the_even_share_of_new_items(repeats):
  again = scores_of_again() if repeats else None
  latest = latest_items(jnp.asarray(padded(HISTORIES)))
  with_floor = jax.jit(followers.log_p)({**PARAMS, followers.EVEN: 0.2}, latest, again, None)
  found = jax.jit(followers.log_p)(PARAMS, latest, again, None, jnp.float32(0.2))
  np.testing.assert_array_equal(found, with_floor)
  assert np.abs(found - log_p(again=again)).max() > 0.1
  if repeats:  # what was met before keeps what it has
    for b, row in enumerate(AGAIN):
      np.testing.assert_array_equal(found[b, row], log_p(again=again)[b, row])


def test_parameters_without_tables_are_refused():
  with pytest.raises(ValueError, match=r"the parameters lack 'follower'.*search.follower_weight"):
    followers.check_counted({"item": np.zeros((20, 4))})


def test_room_for_more_items_changes_nothing():
  roomy, more = dict(PARAMS), pack(np.full((5, 4), NO_ITEM), np.zeros((5, 4), np.float32))
  for name, rows in zip((followers.FOLLOWERS, followers.SIMILARITIES), more, strict=True):
    roomy[name] = np.concatenate([PARAMS[name], rows])
  latest = latest_items(jnp.asarray(padded(HISTORIES)))
  found = jax.jit(followers.log_p)(roomy, latest, None, None)
  np.testing.assert_array_equal(found[:, :NUM_ITEMS], log_p())
