"""Temperature, weights of levels, limits per prefix and random beams, against plain loops."""

import jax
import numpy as np
import pytest
from table_model import TableModel, log_p, make_table
from tiny import all_codes

from sidrec.catalogue.trie.trie import build_trie
from sidrec.search import beam
from sidrec.search.filters import Filters, padded_lists
from sidrec.search.settings import SearchConfig

CODES = np.random.default_rng(5).permutation(all_codes(3, 4))[:40]
TRIE = build_trie(CODES, every_prefix=False)
TABLE, SCALES = make_table(), np.array([[1], [-2]], np.int32)


def search(beams=40, scales=SCALES, trie=TRIE, forbidden=None, key=None, **options):
  config = SearchConfig(beams=beams, **options)

  @jax.jit
  def call(forbidden, key):
    return beam.search(
      TableModel(), {"table": TABLE}, trie, scales, config, Filters(forbidden), key
    )

  return jax.tree.map(np.asarray, call(forbidden, key))


@pytest.mark.parametrize(
  ("options", "by_hand"),
  [
    ({"temperature": 0.5}, {"temperature": 0.5}),
    ({"temperature": 3.0}, {"temperature": 3.0}),
    ({"level_weights": (1.0, 0.5, 2.0)}, {"levels": (1.0, 0.5, 2.0)}),
    ({"level_weights": (0.0, 1.0, 1.0)}, {"levels": (0.0, 1.0, 1.0)}),
  ],
)
def test_scores_by_temperature_and_weights(options, by_hand):
  result = search(**options)
  for b, scale in enumerate(SCALES[:, 0]):
    expected = log_p(TABLE, scale, CODES, **by_hand)
    assert result.item_BxK[b].tolist() == np.argsort(-expected).tolist()
    np.testing.assert_allclose(result.score_BxK[b], -np.sort(-expected), atol=1e-4)


@pytest.mark.parametrize(("most", "levels"), [(1, 1), (3, 1), (2, 2), (40, 1)])
def test_at_most_so_many_per_prefix(most, levels):
  result = search(most_per_prefix=most, prefix_levels=levels)
  for b, scale in enumerate(SCALES[:, 0]):
    score, taken, expected = log_p(TABLE, scale, CODES), {}, []
    for item in np.argsort(-score):
      prefix = tuple(CODES[item, :levels])
      taken[prefix] = taken.get(prefix, 0) + 1
      if taken[prefix] <= most:
        expected.append(item)
    count = len(expected)
    assert result.item_BxK[b, :count].tolist() == expected
    assert (result.item_BxK[b, count:] == -1).all()
    np.testing.assert_allclose(result.score_BxK[b, :count], score[expected], atol=1e-4)


def test_few_beams_with_a_limit_leave_room_for_other_prefixes():
  few = search(beams=4, most_per_prefix=1)
  for b in range(2):
    assert sorted(CODES[few.item_BxK[b], 0]) == [0, 1, 2, 3]


def test_random_beams_draw_items_without_replacement():
  """Pairs of items come as often as the model says: p(i) p(j) / (1 - p(i))."""
  codes, draws = CODES[:6], 20_000
  scales = np.full((draws, 1), 1, np.int32)
  trie = build_trie(codes, every_prefix=False)
  result = search(6, scales, trie, key=jax.random.key(0))
  assert (np.sort(result.item_BxK, axis=1) == np.arange(6)).all()  # every item once
  p = np.exp(log_p(TABLE, 1, codes))
  expected = p[:, None] * p[None] / (1 - p[:, None])
  np.fill_diagonal(expected, 0)
  found = np.zeros((6, 6))
  np.add.at(found, (result.item_BxK[:, 0], result.item_BxK[:, 1]), 1 / draws)
  assert np.abs(found - expected).max() < 5 * np.sqrt(0.25 / draws)
  np.testing.assert_allclose(result.score_BxK, np.log(p)[result.item_BxK], atol=1e-4)
  # Two beams see what the first two of six see.
  few = search(2, scales, trie, key=jax.random.key(1))
  found_few = np.zeros((6, 6))
  np.add.at(found_few, (few.item_BxK[:, 0], few.item_BxK[:, 1]), 1 / draws)
  assert np.abs(found_few - expected).max() < 5 * np.sqrt(0.25 / draws)


def test_random_beams_depend_on_the_key_alone_and_respect_filters():
  keys = [jax.random.key(seed) for seed in (0, 0, 1)]
  one, same, other = (search(10, key=key).item_BxK for key in keys)
  np.testing.assert_array_equal(one, same)
  assert (one != other).any()
  banned = padded_lists([range(0, 40, 2), range(35)])
  result = search(10, forbidden=banned, key=keys[0])
  assert (result.item_BxK[0] % 2 == 1).all()
  assert sorted(result.item_BxK[1, :5]) == [35, 36, 37, 38, 39]
  assert result.valid_BxK[1].sum() == 5


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"temperature": 0.0}, "temperature is 0.0"),
    ({"level_weights": (1.0,)}, "give 3 search.level_weights"),
    ({"most_per_prefix": -1}, "most_per_prefix -1"),
    ({"most_per_prefix": 1, "prefix_levels": 4}, "prefix_levels 4"),
  ],
)
def test_options_that_make_no_sense_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    search(**options)
