"""The items of a world: who is where, how popular, and since when."""

import numpy as np
import pytest

from sidrec.bench.world import catalogue as lib
from sidrec.bench.world.draws import exponential, hashed, normal, uniform
from sidrec.bench.world.settings import WorldConfig, as_json, from_json
from sidrec.bench.world.vectors import item_vectors

CONFIG = WorldConfig(items=403, users=10, seed=3)
WORLD = lib.make_catalogue(CONFIG)
ROWS = np.arange(CONFIG.items)
END = lib.START + CONFIG.days * 24 * 3600
TIMES = (lib.START, lib.START + CONFIG.days * 12 * 3600, END)


def test_draws_are_of_their_distributions_and_depend_on_each_counter():
  place = np.arange(20_000)
  drawn = {
    name: draw(7, place) for name, draw in [("u", uniform), ("e", exponential), ("n", normal)]
  }
  assert np.histogram(drawn["u"], 20, (0, 1))[0].min() > 850
  assert drawn["e"].mean() == pytest.approx(1, abs=0.03)
  assert (drawn["n"].mean(), drawn["n"].std()) == pytest.approx((0, 1), abs=0.02)
  assert abs(np.corrcoef(drawn["u"][:-1], drawn["u"][1:])[0, 1]) < 0.02
  assert len(np.unique(np.concatenate([hashed(7, 0, place), hashed(7, place, 0)]))) == 39_999
  assert (hashed(hashed(7, 1), 2) == hashed(7, 1, 2)).all()


def test_ids_are_all_and_lead_back_and_say_nothing_of_the_leaf():
  ids = lib.ids_of(WORLD, ROWS)
  assert sorted(ids.tolist()) == ROWS.tolist()
  assert (lib.rows_of(WORLD, ids) == ROWS).all()
  assert abs(np.corrcoef(ids, ROWS)[0, 1]) < 0.2


@pytest.mark.parametrize("time", TIMES)
def test_probabilities_in_leaves_sum_to_one_whatever_has_appeared(time):
  p = lib.in_leaf(WORLD, ROWS, np.asarray(time))
  leaf = lib.leaves_of(WORLD, ROWS)
  np.testing.assert_allclose(np.bincount(leaf, p), 1.0)
  assert (p[lib.appears(WORLD, ROWS) > time] == 0).all()
  assert (p > 0).sum() == (lib.appears(WORLD, ROWS) <= time).sum()
  shares = [lib.leaf_probability(WORLD, np.arange(CONFIG.leaves), within) for within in (3, 2, 1)]
  groups = (1, CONFIG.fan_out, CONFIG.fan_out**2)
  assert [share.sum() for share in shares] == pytest.approx(groups)


def test_popularity_follows_zipf():
  """Of drawn items, the logarithms of count and rank lie on a line of the stated slope."""
  world = lib.make_catalogue(WorldConfig(items=800, users=1, branches=2, item_exponent=1.1))
  share = uniform(0, np.arange(400_000))
  drawn = lib.draw_item(world, share, np.zeros(400_000, int), np.asarray(END))
  count = np.bincount(drawn, minlength=100)
  assert count.sum() == count[:100].sum()
  slope = np.polyfit(np.log(np.arange(100) + 1), np.log(count[:100]), 1)[0]
  assert slope == pytest.approx(-1.1, abs=0.03)


def test_a_fifth_of_the_items_appear_late_and_one_above_has_their_place():
  world = lib.make_catalogue(WorldConfig(items=20_000, users=1))
  rows = np.arange(20_000)
  late = lib.appears(world, rows) > lib.START
  assert late.mean() == pytest.approx(0.2, abs=0.01)
  before = lib.available(world, rows, np.asarray(lib.START))
  assert (before == rows - late).all()
  assert lib.is_there(world, before, np.asarray(lib.START)).all()
  assert (lib.available(world, rows, np.asarray(END)) == rows).all()


def test_what_follows_lies_in_the_category():
  size = CONFIG.fan_out
  following = lib.followers(WORLD, ROWS)
  assert (
    lib.leaves_of(WORLD, following) // size == lib.leaves_of(WORLD, ROWS)[:, None] // size
  ).all()
  assert (lib.followers(WORLD, ROWS[50:60]) == following[50:60]).all()


def test_vectors_of_a_leaf_lie_closer():
  vectors = item_vectors(WORLD, ROWS)
  leaf, size = lib.leaves_of(WORLD, ROWS), CONFIG.fan_out
  away = np.linalg.norm(vectors[:, None] - vectors, axis=2)
  same, near, far = (leaf[:, None] // d == leaf // d for d in (1, size, size**2))
  means = [
    away[same].mean(),
    away[near & ~same].mean(),
    away[far & ~near].mean(),
    away[~far].mean(),
  ]
  assert means == sorted(means)
  assert means[0] < 0.7 * means[1]
  assert (item_vectors(WORLD, ROWS[100:103]) == vectors[100:103]).all()
  assert vectors.dtype == np.float32


def test_settings_are_kept_and_refused():
  assert from_json(as_json(CONFIG)) == CONFIG
  for wrong, message in (
    ({"items": 7}, "too few"),
    ({"users": 0}, "users is 0"),
    ({"new_share": 0.6}, "new_share"),
    ({"repeat": 0.9}, "repeat"),
    ({"mean_length": 3.0}, "histories"),
    ({"session_events": 0.5}, "session_events"),
    ({"drift": 2.0}, "drift"),
  ):
    with pytest.raises(ValueError, match=message):
      WorldConfig(**{"items": 100, "users": 1, **wrong})
