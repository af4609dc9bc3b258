"""How likely each next item is, given the state of a user, exactly; and the best list by it.

With the shares ρ (repeat, 0 without a history), φ (follow, 0 at the start of a session and without
a history), the recent events R, the item before i and the followers f_k of an item:

  p(x | state) = ρ · |{r in R: r = x}| / |R|
               + φ · Σ_k WEIGHTS_k · [x stands for f_k(i) now]
               + (1 - ρ - φ) · q(leaf of x | state) · p(x | leaf of x, time)
  q(g | state) = focus · F(g) + near · Σ_h F(h) · [g, h in one category] · π(g | category)
               + anything · π(g) + interests · Σ_k WEIGHTS_k · [g is interest k]

F is 1 at the session's leaf, or where a session starts, F = Σ_k WEIGHTS_k · [g is interest k]. Who
knows the state knows more than a history tells: no model can be expected to reach this.

Here X counts leaves that a state names, and J candidates.
"""

from collections.abc import Sequence

import numpy as np

from sidrec.bench.world.catalogue import (
  Catalogue,
  available,
  followers,
  in_leaf,
  leaf_probability,
  leaves_of,
)
from sidrec.bench.world.settings import WEIGHTS
from sidrec.bench.world.users import State
from sidrec.core.vocabulary import NO_ITEM


def probability(catalogue: Catalogue, state: State, row_BxJ: np.ndarray) -> np.ndarray:
  """p(item | state): float64 [B, J].

  Args:
    catalogue: of the world.
    state: of B users.
    row_BxJ: int64, rows of the world; NO_ITEM has probability 0.
  """
  config, real_BxJ = catalogue.config, row_BxJ != NO_ITEM
  row_BxJ = np.where(real_BxJ, row_BxJ, 0)
  leaf_BxJ = leaves_of(catalogue, row_BxJ)
  known_BxX = state.recent_BxX != NO_ITEM
  known_Bx1 = known_BxX.sum(axis=1, keepdims=True)
  again_Bx1 = np.where(known_Bx1 > 0, config.repeat, 0.0)
  follows_Bx1 = np.where((known_Bx1 > 0) & ~state.starts_B[:, None], config.follow, 0.0)
  taste_BxJ = _of_leaf(catalogue, state, leaf_BxJ) * in_leaf(
    catalogue, row_BxJ, state.time_B[:, None]
  )
  alike = [1.0] * state.recent_BxX.shape[1]
  again_BxJ = _weighed(row_BxJ, state.recent_BxX, alike) / np.maximum(known_Bx1, 1)
  follows_BxJ = _weighed(row_BxJ, _next_rows(catalogue, state))
  p_BxJ = again_Bx1 * again_BxJ + follows_Bx1 * follows_BxJ
  p_BxJ += (1.0 - again_Bx1 - follows_Bx1) * taste_BxJ
  return np.where(real_BxJ, p_BxJ, 0.0)


def best(catalogue: Catalogue, state: State, count: int) -> tuple[np.ndarray, np.ndarray]:
  """The most likely items, the likeliest first, and their p: int64 and float64 [B, count].

  Of equals the lowest row; NO_ITEM and 0 where a world has fewer items that can come.
  """
  found = [
    _best(catalogue, State(*(x[at : at + _AT_ONCE] for x in state)), count)
    for at in range(0, len(state.time_B), _AT_ONCE)
  ]
  return np.concatenate([row for row, _ in found]), np.concatenate([p for _, p in found])


_AT_ONCE = 32  # users, so that their candidates take megabytes


def _best(catalogue: Catalogue, state: State, count: int) -> tuple[np.ndarray, np.ndarray]:
  row_BxJ = np.sort(_candidates(catalogue, state, count), axis=1)
  row_BxJ[:, 1:][row_BxJ[:, 1:] == row_BxJ[:, :-1]] = NO_ITEM
  p_BxJ = probability(catalogue, state, row_BxJ)
  order_BxK = np.argsort(-p_BxJ, axis=1, kind="stable")[:, :count]
  best_BxK = np.take_along_axis(p_BxJ, order_BxK, axis=1)
  item_BxK = np.where(best_BxK > 0, np.take_along_axis(row_BxJ, order_BxK, axis=1), NO_ITEM)
  short = ((0, 0), (0, count - item_BxK.shape[1]))
  return np.pad(item_BxK, short, constant_values=NO_ITEM), np.pad(best_BxK, short)


def _candidates(catalogue: Catalogue, state: State, count: int) -> np.ndarray:
  """Rows among which the best `count` items are: int64 [B, J], with repeats and NO_ITEM.

  An item that stands in for the next one weighs less than twice its own. So an item is behind
  `count` others, the first ones of as many leaves, once even its leaf's first item weighs less than
  half of theirs, by π(leaf) · p(first | leaf); this is for leaves that the state does not name. And
  in its leaf it is behind `count` items of even rank, once it weighs less than half of theirs.
  """
  config, size = catalogue.config, catalogue.config.fan_out
  named_BxX = np.concatenate([state.interest_BxX, state.focus_B[:, None]], axis=1)
  first_BxX = named_BxX // size * size
  near_BxX = (first_BxX[:, :, None] + np.arange(size)).reshape(len(named_BxX), -1)
  first_G = np.diff(catalogue.cumulative_Gp1) / catalogue.zipf_Xp1[np.diff(catalogue.start_Gp1)]
  least = np.sort(first_G)[-min(count, len(first_G))] / 2
  usual = np.flatnonzero(first_G >= least)
  usual_BxX = np.broadcast_to(usual, (len(named_BxX), len(usual)))
  leaf_BxX = np.concatenate([near_BxX, usual_BxX], axis=1)
  deep = min(
    int(np.ceil(2 * count * 2 ** (1 / config.item_exponent))) + 2, len(catalogue.zipf_Xp1) - 1
  )
  row_BxXxJ = catalogue.start_Gp1[leaf_BxX][..., None] + np.arange(deep)
  row_BxXxJ[row_BxXxJ >= catalogue.start_Gp1[leaf_BxX + 1][..., None]] = NO_ITEM
  parts = row_BxXxJ.reshape(len(leaf_BxX), -1), state.recent_BxX, _next_rows(catalogue, state)
  return np.concatenate(parts, axis=1)


def _of_leaf(catalogue: Catalogue, state: State, leaf_BxJ: np.ndarray) -> np.ndarray:
  """q(leaf | state): float64 [B, J]."""
  config, size = catalogue.config, catalogue.config.fan_out
  interest_BxJ = _weighed(leaf_BxJ, state.interest_BxX)
  starts_Bx1, focus_Bx1 = state.starts_B[:, None], state.focus_B[:, None]
  focus_BxJ = np.where(starts_Bx1, interest_BxJ, leaf_BxJ == focus_Bx1)
  category_BxJ = leaf_BxJ // size
  near_BxJ = np.where(
    starts_Bx1,
    _weighed(category_BxJ, state.interest_BxX // size),
    category_BxJ == focus_Bx1 // size,
  )
  q_BxJ = config.focus * focus_BxJ
  q_BxJ += config.near * near_BxJ * leaf_probability(catalogue, leaf_BxJ, within=1)
  q_BxJ += config.anything * leaf_probability(catalogue, leaf_BxJ, within=3)
  return q_BxJ + config.interests * interest_BxJ


def _next_rows(catalogue: Catalogue, state: State) -> np.ndarray:
  """What follows the items before, as far as it is there: int64 [B, len(WEIGHTS)], or NO_ITEM."""
  last_Bx1 = state.recent_BxX[:, :1]
  row_BxX = followers(catalogue, np.maximum(last_Bx1[:, 0], 0))
  there_BxX = available(catalogue, row_BxX, state.time_B[:, None])
  return np.where(last_Bx1 == NO_ITEM, NO_ITEM, there_BxX)


def _weighed(
  value_BxJ: np.ndarray, of_BxX: np.ndarray, weights: Sequence[float] = WEIGHTS
) -> np.ndarray:
  """Σ_k weights_k · [value = the k-th of its user]: float64 [B, J]."""
  total_BxJ = np.zeros(value_BxJ.shape)
  for weight, of_B in zip(weights, of_BxX.T, strict=True):
    total_BxJ += weight * (value_BxJ == of_B[:, None])
  return total_BxJ
