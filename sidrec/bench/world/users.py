"""What the users of a world do, event by event, and the state that each event is drawn from.

A user has four interests, leaves of the tree, with the probabilities WEIGHTS. At the start of a
session one of them may be replaced by another leaf; then the session gets its leaf, one of the
interests. Every event may start a session; the time before it says so.

An event is drawn in this order, with the shares of `WorldConfig`:

  again     one of the last `recent` events, all alike
  follows   one of four items that follow the item before (not at the start of a session)
  taste     a leaf, then an item in it: the session's leaf, one from its second-level category,
            any leaf by π, or one of the interests

All is vectorised over users, and costs O(log N) an event. `truth` has the probabilities.

Here X counts a user's interests, or recent events.
"""

from typing import NamedTuple

import numpy as np

from sidrec.bench.world.catalogue import (
  START,
  Catalogue,
  available,
  draw_item,
  draw_leaf,
  followers,
)
from sidrec.bench.world.draws import Stream, exponential, hashed, uniform
from sidrec.bench.world.settings import DAY, WEIGHTS, WorldConfig
from sidrec.core.vocabulary import NO_ITEM
from sidrec.data.dataset import Histories

_LENGTH, _COMES, _INTERESTS = range(3)  # draws of a user
_EVENT = 3  # and from here on hashes of each event, of which these are drawn:
(_STARTS, _GAP, _DRIFTS, _WHICH, _KINDRED, _NEW, _FOCUS, _KIND, _AGAIN, _FOLLOWS, _TASTE, _LEAF,
 _PART, _ITEM) = range(14)  # fmt: skip


class State(NamedTuple):
  """All that decides a user's next event, but for its own draws."""

  interest_BxX: np.ndarray  # int64, leaves
  focus_B: np.ndarray  # int64, the session's leaf; that of the session before where one starts
  starts_B: np.ndarray  # bool, whether the next event starts a session
  time_B: np.ndarray  # int64, of the next event, in seconds
  recent_BxX: np.ndarray  # int64, rows of the last items, newest first, NO_ITEM where there is none


def lengths(config: WorldConfig, user_B: np.ndarray) -> np.ndarray:
  """Events of users: int64 [B]."""
  more = 1.0 / (config.mean_length - config.shortest + 1.0)
  tail = np.log1p(-more) if more < 1 else -np.inf
  drawn_B = np.floor(-exponential(config.seed, Stream.USERS, user_B, _LENGTH) / tail)
  return np.minimum(config.shortest + drawn_B, config.longest).astype(np.int64)


def simulate(
  catalogue: Catalogue, user_B: np.ndarray, stop_B: np.ndarray | None = None
) -> tuple[Histories, State]:
  """The first events of users, and what decides the next one of each.

  Args:
    catalogue: of the world.
    user_B: int64, distinct users of the world.
    stop_B: int64, events of each; None for all of them.

  Returns:
    Histories by rows of the world, in the order given, and the state before event `stop_B`.
  """
  config = catalogue.config
  stop_B = lengths(config, user_B) if stop_B is None else np.asarray(stop_B)
  order_B = np.argsort(-stop_B, kind="stable")  # who still has events comes first
  base_B = hashed(config.seed, Stream.USERS, user_B[order_B])
  stop_B = stop_B[order_B]
  state = _first_state(catalogue, base_B)
  most = int(stop_B.max(initial=0))
  item_BxS = np.zeros((len(user_B), most), np.int32)
  time_BxS = np.zeros((len(user_B), most), np.int64)
  for event in range(most + 1):
    asked, active = (int(np.searchsorted(-stop_B, -at, side="right")) for at in (event, event + 1))
    event_B = hashed(base_B[:asked], _EVENT, event)
    _advance(catalogue, state, event_B, event)
    item_B = _choose(catalogue, State(*(x[:active] for x in state)), event_B[:active])
    item_BxS[:active, event : event + 1] = item_B[:, None]
    time_BxS[:active, event : event + 1] = state.time_B[:active, None]
    state.recent_BxX[:active, 1:] = state.recent_BxX[:active, :-1]
    state.recent_BxX[:active, 0] = item_B
  back_B = np.argsort(order_B)
  state = State(*(x[back_B] for x in state))
  return _packed(user_B, stop_B[back_B], item_BxS[back_B], time_BxS[back_B]), state


def _first_state(catalogue: Catalogue, base_B: np.ndarray) -> State:
  config, shape = catalogue.config, (len(base_B), len(WEIGHTS))
  own_BxX = hashed(base_B[:, None], _INTERESTS, np.arange(shape[1]))
  any_BxX = draw_leaf(catalogue, uniform(own_BxX, 0))
  kindred_BxX = draw_leaf(catalogue, uniform(own_BxX, 0), any_BxX[:, :1], within=2)
  chosen_BxX = uniform(own_BxX, 1) < config.kindred
  chosen_BxX[:, 0] = False
  come_B = START + (uniform(base_B, _COMES) * config.days * DAY).astype(np.int64)
  return State(
    np.where(chosen_BxX, kindred_BxX, any_BxX),
    np.zeros(len(base_B), np.int64),
    np.ones(len(base_B), bool),
    come_B,
    np.full((len(base_B), config.recent), NO_ITEM, np.int64),
  )


def _advance(catalogue: Catalogue, state: State, event_B: np.ndarray, event: int) -> None:
  """The time of the next event, whether it starts a session, and interests that drift by then.

  Changes the first users of `state`, those who have an `event_B`.
  """
  config, asked = catalogue.config, len(event_B)
  if not event:
    return
  starts_B = uniform(event_B, _STARTS) < 1.0 / config.session_events
  mean_B = np.where(starts_B, config.session_gap * DAY, config.event_gap)
  state.starts_B[:asked] = starts_B
  state.time_B[:asked] += 1 + (exponential(event_B, _GAP) * mean_B).astype(np.int64)
  drift_B = np.flatnonzero(starts_B & (uniform(event_B, _DRIFTS) < config.drift))
  drawn_B = event_B[drift_B]
  first_B = state.interest_BxX[drift_B, 0]
  share_B = uniform(drawn_B, _NEW)
  leaf_B = np.where(
    uniform(drawn_B, _KINDRED) < config.kindred,
    draw_leaf(catalogue, share_B, first_B, within=2),
    draw_leaf(catalogue, share_B),
  )
  which_B = (uniform(drawn_B, _WHICH) * len(WEIGHTS)).astype(np.int64)
  state.interest_BxX[drift_B, which_B] = leaf_B


def _choose(catalogue: Catalogue, state: State, event_B: np.ndarray) -> np.ndarray:
  """The items of the next event: int64 rows [B]. Of a session that starts, sets `focus_B`."""
  config, row_B = catalogue.config, np.arange(len(event_B))
  chosen_B = state.interest_BxX[row_B, _weighted(event_B, _FOCUS)]
  state.focus_B[:] = np.where(state.starts_B, chosen_B, state.focus_B)
  item_B = _by_taste(catalogue, state, event_B)
  known_B = (state.recent_BxX != NO_ITEM).sum(axis=1)
  kind_B = uniform(event_B, _KIND)
  again_B = (kind_B < config.repeat) & (known_B > 0)
  age_B = (uniform(event_B, _AGAIN) * known_B).astype(np.int64)
  item_B = np.where(again_B, state.recent_BxX[row_B, age_B], item_B)
  follow_B = np.flatnonzero(
    ~again_B
    & ~state.starts_B
    & (kind_B >= config.repeat)
    & (kind_B < config.repeat + config.follow)
  )
  next_BxX = followers(catalogue, state.recent_BxX[follow_B, 0])
  next_B = next_BxX[np.arange(len(follow_B)), _weighted(event_B[follow_B], _FOLLOWS)]
  item_B[follow_B] = available(catalogue, next_B, state.time_B[follow_B])
  return item_B


def _by_taste(catalogue: Catalogue, state: State, event_B: np.ndarray) -> np.ndarray:
  config = catalogue.config
  taste_B, share_B = uniform(event_B, _TASTE), uniform(event_B, _LEAF)
  bounds = np.cumsum([config.focus, config.near, config.anything])
  leaf_B = np.select(
    [taste_B < bound for bound in bounds],
    [
      state.focus_B,
      draw_leaf(catalogue, share_B, state.focus_B, within=1),
      draw_leaf(catalogue, share_B),
    ],
    state.interest_BxX[np.arange(len(event_B)), _weighted(event_B, _PART)],
  )
  return draw_item(catalogue, uniform(event_B, _ITEM), leaf_B, state.time_B)


def _weighted(event_B: np.ndarray, draw: int) -> np.ndarray:
  """A place among WEIGHTS, by them: int64 [B]."""
  ends = np.cumsum(WEIGHTS)[:-1]  # the last end is 1, whatever it rounds to
  return np.searchsorted(ends, uniform(event_B, draw), side="right")


def _packed(
  user_B: np.ndarray, length_B: np.ndarray, item_BxS: np.ndarray, time_BxS: np.ndarray
) -> Histories:
  real_BxS = np.arange(item_BxS.shape[1]) < length_B[:, None]
  offsets_Bp1 = np.concatenate([[0], np.cumsum(length_B)]).astype(np.int64)
  rating_T = np.full(int(offsets_Bp1[-1]), np.nan, np.float32)
  return Histories(offsets_Bp1, item_BxS[real_BxS], time_BxS[real_BxS], rating_T, user_B)
