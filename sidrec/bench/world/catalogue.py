"""The items of a world: a tree of categories, Zipf's law in each leaf, times of appearance.

Leaf g of G = c³ lies in category g // c of the second level and g // c² of the first. Its
probability among all is the product of Zipf's law at each level, with rank k from 0:

  π(g) ∝ ((g // c² + 1) · (g // c mod c + 1) · (g mod c + 1))^-leaf_exponent.

Rows of a world are in the order of leaves, and in a leaf in that of popularity. The item of rank r
in a leaf of n has p(r | g) = (r + 1)^-item_exponent / Σ_s<n (s + 1)^-item_exponent.

Some items of odd rank appear late. Until then the item one rank above, which was always there, has
their share too. So p(item | leaf, time) is exact, and no draw has to be made again.

An item's id is (a · row + b) mod N, so that an order by id says nothing of leaf or popularity.

Here X counts ranks in a leaf.
"""

import math
from typing import NamedTuple

import numpy as np

from sidrec.bench.world.draws import Stream, hashed, uniform
from sidrec.bench.world.settings import DAY, WEIGHTS, WorldConfig

START = 1_600_000_000  # seconds since 1970


class Catalogue(NamedTuple):
  """What draws need: arrays by leaf and by rank, none by item."""

  config: WorldConfig
  start_Gp1: np.ndarray  # int64, the first row of each leaf
  cumulative_Gp1: np.ndarray  # float64, π of the leaves before
  zipf_Xp1: np.ndarray  # float64, weights of the ranks before
  ids: tuple[int, int, int]  # a, b, and the inverse of a


def make_catalogue(config: WorldConfig) -> Catalogue:
  """The catalogue of these settings."""
  c, leaf_G = config.fan_out, np.arange(config.leaves)
  ranks_G = (leaf_G // c**2 + 1.0) * (leaf_G // c % c + 1) * (leaf_G % c + 1)
  cumulative_Gp1 = np.concatenate([[0.0], np.cumsum(ranks_G**-config.leaf_exponent)])
  start_Gp1 = np.arange(config.leaves + 1) * config.items // config.leaves
  rank_X = np.arange(int(np.diff(start_Gp1).max()))
  zipf_Xp1 = np.concatenate([[0.0], np.cumsum((rank_X + 1.0) ** -config.item_exponent)])
  factor, shift = (int(hashed(config.seed, Stream.IDS, k)) % config.items for k in range(2))
  while math.gcd(factor, config.items) > 1:
    factor += 1
  ids = factor, shift, pow(factor, -1, config.items)
  return Catalogue(config, start_Gp1, cumulative_Gp1 / cumulative_Gp1[-1], zipf_Xp1, ids)


# Rows and ids.


def ids_of(catalogue: Catalogue, row: np.ndarray) -> np.ndarray:
  """The ids of rows: int64 of any shape."""
  factor, shift, _ = catalogue.ids
  return (row * factor + shift) % catalogue.config.items


def rows_of(catalogue: Catalogue, item_id: np.ndarray) -> np.ndarray:
  """The rows of ids: int64 of any shape."""
  (_, shift, inverse), count = catalogue.ids, catalogue.config.items
  return (np.asarray(item_id, np.int64) - shift) % count * inverse % count


def leaves_of(catalogue: Catalogue, row: np.ndarray) -> np.ndarray:
  """The leaves of rows: int64 of any shape."""
  return np.searchsorted(catalogue.start_Gp1, row, side="right") - 1


# Probabilities.


def leaf_probability(catalogue: Catalogue, leaf: np.ndarray, within: int = 0) -> np.ndarray:
  """π(leaf), or relative to its category `within` levels up (3 is the root): float64."""
  cumulative_Gp1 = catalogue.cumulative_Gp1
  own = cumulative_Gp1[leaf + 1] - cumulative_Gp1[leaf]
  first, stop = _span(catalogue, leaf, within)
  return own / (cumulative_Gp1[stop] - cumulative_Gp1[first])


def in_leaf(catalogue: Catalogue, row: np.ndarray, time: np.ndarray) -> np.ndarray:
  """p(item | its leaf, time), which is 0 before the item appears: float64 of any shape."""
  leaf = leaves_of(catalogue, row)
  first, stop = catalogue.start_Gp1[leaf], catalogue.start_Gp1[leaf + 1]
  weight_X = np.diff(catalogue.zipf_Xp1)
  rank, follower = row - first, row + 1
  weight = weight_X[rank]
  # Whose place it takes: odd ranks alone can be missing, so that one follower is enough.
  stands_in = (follower < stop) & ~is_there(catalogue, follower, time)
  weight = weight + np.where(stands_in, weight_X[np.minimum(rank + 1, len(weight_X) - 1)], 0.0)
  weight = np.where(is_there(catalogue, row, time), weight, 0.0)
  return weight / catalogue.zipf_Xp1[stop - first]


def appears(catalogue: Catalogue, row: np.ndarray) -> np.ndarray:
  """When items appear, in seconds; `START` for those that were always there: int64."""
  config = catalogue.config
  rank = row - catalogue.start_Gp1[leaves_of(catalogue, row)]
  is_new = (rank % 2 == 1) & (uniform(config.seed, Stream.APPEARS, row) < 2 * config.new_share)
  after = uniform(config.seed, Stream.WHEN, row) * config.days * DAY
  return np.where(is_new, START + after.astype(np.int64), START)


def is_there(catalogue: Catalogue, row: np.ndarray, time: np.ndarray) -> np.ndarray:
  """Whether items have appeared; rows beyond the last stand for nothing: bool."""
  return appears(catalogue, np.minimum(row, catalogue.config.items - 1)) <= time


# Draws, each by a number from [0, 1).


def draw_leaf(
  catalogue: Catalogue, share: np.ndarray, near: np.ndarray | int = 0, within: int = 3
) -> np.ndarray:
  """A leaf by π, in the category `within` levels above the leaf `near`: int64."""
  first, stop = _span(catalogue, np.asarray(near), within)
  low, high = catalogue.cumulative_Gp1[first], catalogue.cumulative_Gp1[stop]
  leaf = np.searchsorted(catalogue.cumulative_Gp1, low + share * (high - low), side="right") - 1
  return np.clip(leaf, first, stop - 1)  # rounding may leave the span


def draw_item(
  catalogue: Catalogue, share: np.ndarray, leaf: np.ndarray, time: np.ndarray
) -> np.ndarray:
  """An item of a leaf by `in_leaf`: int64 rows."""
  first, stop = catalogue.start_Gp1[leaf], catalogue.start_Gp1[leaf + 1]
  weight = share * catalogue.zipf_Xp1[stop - first]
  rank = np.searchsorted(catalogue.zipf_Xp1, weight, side="right") - 1
  return available(catalogue, first + np.minimum(rank, stop - first - 1), time)


def available(catalogue: Catalogue, row: np.ndarray, time: np.ndarray) -> np.ndarray:
  """The items, or what has their place until they appear: int64 rows."""
  return np.where(is_there(catalogue, row, time), row, row - 1)


def followers(catalogue: Catalogue, row_B: np.ndarray) -> np.ndarray:
  """What follows items, most likely first: int64 rows [B, len(WEIGHTS)], as if all were there.

  Each is drawn once and for all, by popularity, from the item's category of the second level.
  """
  base_BxX = hashed(catalogue.config.seed, Stream.FOLLOWS, row_B[:, None], np.arange(len(WEIGHTS)))
  near_Bx1 = leaves_of(catalogue, row_B)[:, None]
  leaf_BxX = draw_leaf(catalogue, uniform(base_BxX, 0), near_Bx1, within=1)
  # An item of the last moment: all have appeared.
  end = START + catalogue.config.days * DAY
  return draw_item(catalogue, uniform(base_BxX, 1), leaf_BxX, np.asarray(end))


def _span(catalogue: Catalogue, leaf: np.ndarray, within: int) -> tuple[np.ndarray, np.ndarray]:
  """The leaves [first, stop) of the category `within` levels above a leaf."""
  size = catalogue.config.fan_out**within
  first = leaf // size * size
  return first, first + size
