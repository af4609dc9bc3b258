"""What an update trains on: the recent part of histories, and some of the older ones again."""

from typing import NamedTuple

import numpy as np

from sidrec.data.batches import all_positions, ragged_arange
from sidrec.data.dataset import Histories, training_view


class Windows(NamedTuple):
  """Pieces of histories, as histories of their own, and what they are."""

  histories: Histories
  recent_targets: int  # events of the recent part that are targets
  replayed: int  # targets of older windows

  @property
  def num_targets(self) -> int:
    """Events that are predicted in one pass."""
    return int(np.maximum(self.histories.lengths_U - 1, 0).sum())


def windows_to_train(
  histories: Histories, recent_from_U: np.ndarray, replay: float, history_length: int, seed: int
) -> Windows:
  """The recent part of each user's training view, and a random sample of all older windows.

  A recent part comes with up to S events before it, which it is predicted from, and which are
  targets themselves.

  Args:
    histories: complete ones.
    recent_from_U: where each user's recent part begins, see `logs.untrained_from`.
    replay: targets of older windows for each target of the recent ones.
    history_length: S.
    seed: of the sample.
  """
  view = training_view(histories)
  start_U, stop_U = view.offsets_Up1[:-1], view.offsets_Up1[1:]
  recent_U = recent_from_U < view.lengths_U
  from_U = np.maximum(start_U, start_U + recent_from_U - history_length)
  start_W, stop_W = from_U[recent_U], stop_U[recent_U]
  is_long_W = stop_W - start_W >= 2  # the first event of all has nothing that predicts it
  start_W, stop_W = start_W[is_long_W], stop_W[is_long_W]
  user_W = np.flatnonzero(recent_U)[is_long_W]
  older = all_positions(view.offsets_Up1, history_length)
  user_X = np.searchsorted(view.offsets_Up1, older.start_W, side="right") - 1
  is_older_X = older.stop_W <= start_U[user_X] + recent_from_U[user_X]
  drawn_X = np.random.default_rng(seed).permutation(np.flatnonzero(is_older_X))
  targets_X = np.cumsum((older.stop_W - older.start_W - 1)[drawn_X])
  wanted = replay * int((stop_W - start_W - 1).sum())
  drawn_X = drawn_X[: int(np.searchsorted(targets_X, wanted, side="left")) + 1] if wanted else []
  pieces = _pieces(
    view,
    np.concatenate([user_W, user_X[drawn_X]]),
    np.concatenate([start_W, older.start_W[drawn_X]]),
    np.concatenate([stop_W, older.stop_W[drawn_X]]),
  )
  begin_W = np.maximum(recent_from_U[user_W] + start_U[user_W], start_W + 1)
  replayed = int((older.stop_W - older.start_W - 1)[drawn_X].sum())
  return Windows(pieces, int((stop_W - begin_W).sum()), replayed)


def _pieces(
  view: Histories, user_W: np.ndarray, start_W: np.ndarray, stop_W: np.ndarray
) -> Histories:
  """Slices of histories as histories."""
  of_T, within_T = ragged_arange(stop_W - start_W)
  at_T = start_W[of_T] + within_T
  return Histories(
    offsets_Up1=np.concatenate([[0], np.cumsum(stop_W - start_W)]).astype(np.int64),
    item_T=view.item_T[at_T],
    time_T=view.time_T[at_T],
    rating_T=view.rating_T[at_T],
    user_ids_U=view.user_ids_U[user_W],
  )
