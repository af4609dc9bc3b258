"""What an update trains on: the recent part of histories, and some of the older ones again."""

from typing import NamedTuple

import numpy as np

from sidrec.data.batches import Source, all_positions, in_memory, ragged_arange
from sidrec.data.dataset import Histories, training_view
from sidrec.data.packing import Windows as Slices


class Windows(NamedTuple):
  """Pieces of histories, as histories of their own, and what they are."""

  histories: Histories
  target_T: np.ndarray  # bool, which events are predicted; the others are only read
  recent_targets: int  # events of the recent part that are targets
  replayed: int  # targets of older windows

  @property
  def source(self) -> Source:
    """What batches are made of."""
    return in_memory(self.histories._replace(target_T=self.target_T))

  @property
  def num_targets(self) -> int:
    """Events that are predicted in one pass."""
    return self.recent_targets + self.replayed


def windows_to_train(
  histories: Histories,
  recent_from_U: np.ndarray,
  replay: float,
  history_length: int,
  seed: int,
  least_events: float = 0.0,
) -> Windows:
  """The windows that hold something recent, and a random sample of the older ones.

  Windows are those of a training from zero. Events before the recent part are read and are no
  targets: there are many times more of them, and what is recent would drown in them.

  Args:
    histories: complete ones.
    recent_from_U: where each user's recent part begins, see `logs.untrained_from`.
    replay: targets of older windows for each recent target.
    history_length: S.
    seed: of the sample.
    least_events: more older windows are drawn, if there are any, until all windows together have
      so many events behind their first ones.
  """
  view = training_view(histories)
  windows = all_positions(view.offsets_Up1, history_length)
  user_W = np.searchsorted(view.offsets_Up1, windows.start_W, side="right") - 1
  begin_W = view.offsets_Up1[user_W] + recent_from_U[user_W]
  is_recent_W = windows.stop_W > begin_W
  # The first event of a window is predicted in the one before it, or by nothing.
  begin_W = np.where(is_recent_W, np.maximum(begin_W, windows.start_W + 1), windows.start_W + 1)
  targets_W = windows.stop_W - begin_W
  if view.target_T is not None:
    before_Tp1 = np.concatenate([[0], np.cumsum(view.target_T)])
    targets_W = before_Tp1[windows.stop_W] - before_Tp1[begin_W]
    is_recent_W &= targets_W > 0
  recent_targets = int(targets_W[is_recent_W].sum())
  drawn_W = np.random.default_rng(seed).permutation(np.flatnonzero(~is_recent_W & (targets_W > 0)))
  events_W = windows.stop_W - windows.start_W - 1
  wanted_W = _before(targets_W[drawn_W]) < replay * recent_targets
  wanted_W |= _before(events_W[drawn_W]) < least_events - int(events_W[is_recent_W].sum())
  drawn_W = drawn_W[wanted_W]
  kept_W = np.concatenate([np.flatnonzero(is_recent_W), drawn_W])
  slices = Slices(windows.start_W[kept_W], windows.stop_W[kept_W])
  pieces, at_T = _pieces(view, user_W[kept_W], slices)
  target_T = at_T >= np.repeat(begin_W[kept_W], slices.stop_W - slices.start_W)
  if view.target_T is not None:
    target_T &= view.target_T[at_T]
  return Windows(pieces, target_T, recent_targets, int(targets_W[drawn_W].sum()))


def _before(count_W: np.ndarray) -> np.ndarray:
  """The sum of all counts before each."""
  return np.cumsum(count_W) - count_W


def _pieces(view: Histories, user_W: np.ndarray, slices: Slices) -> tuple[Histories, np.ndarray]:
  """Slices of histories as histories, and the place in the view of each event."""
  size_W = slices.stop_W - slices.start_W
  of_T, within_T = ragged_arange(size_W)
  at_T = slices.start_W[of_T] + within_T
  pieces = view.taken(np.concatenate([[0], np.cumsum(size_W)]).astype(np.int64), at_T)
  return pieces._replace(user_ids_U=view.user_ids_U[user_W], users=view.users_at(user_W)), at_T
