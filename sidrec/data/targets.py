"""Which events are to be predicted: those of some actions, or with a rating that is high enough.

All others are read as history; see `dataset.leave_last_out` and `batches.packed_batches`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sidrec.data.columns import actions_of
from sidrec.data.dataset import Dataset, Histories, leave_last_out, training_view
from sidrec.data.events import check_actions
from sidrec.data.inputs import check_names
from sidrec.data.seen import seen_items


class Targets(NamedTuple):
  """What an event has to be; without names and a rating, every event is a target."""

  actions: tuple[str, ...] = ()
  least_rating: float = 0.0  # above 0, an event without a rating is no target

  @property
  def any(self) -> bool:
    """Whether some events are no targets."""
    return bool(self.actions) or self.least_rating > 0


ALL = Targets()
TARGETS = "targets are the events of"  # as the note of `with_targets` begins


def check_targets(actions: Sequence[str], least_rating: float) -> None:
  """Raises ValueError for names that are none, or a rating that is no number from 0 on."""
  check_names("train.targets", actions)
  if not 0 <= least_rating < float("inf"):
    raise ValueError(f"train.least_rating is {least_rating}; give a number, or 0 for all events")


def which(histories: Histories, targets: Targets) -> np.ndarray:
  """Whether each event is a target: bool [T].

  Raises:
    ValueError: for an action that the histories do not have.
  """
  check_actions(histories, targets.actions, "train.targets")
  target_T = np.ones(len(histories.item_T), bool)
  if targets.actions:
    rows = [row for row, name in enumerate(histories.actions or ()) if name in targets.actions]
    target_T &= np.isin(actions_of(histories), rows)
  if targets.least_rating > 0:
    target_T &= histories.rating_T >= targets.least_rating  # NaN is not
  return target_T


def training_part(histories: Histories, targets: Targets) -> Histories:
  """The training view of some users, with the targets marked if not all events are."""
  if targets.any:
    histories = histories._replace(target_T=which(histories, targets))
  return training_view(histories)


def of_training(parts: Iterable[Histories], targets: Targets) -> tuple[np.ndarray, np.ndarray]:
  """The training view of histories in parts: its lengths, int64 [U], and targets, bool [T]."""
  lengths, marks = [], []
  for part in parts:
    view = training_part(part, targets)
    assert view.target_T is not None
    lengths.append(view.lengths_U)
    marks.append(view.target_T)
  return np.concatenate(lengths), np.concatenate(marks)


def with_targets(dataset: Dataset, targets: Targets) -> Dataset:
  """The data set with its targets marked, and a note that counts them; as it is if all are.

  Raises:
    ValueError: for an action that the log lacks, a rating where it has none, or if nobody has
      enough targets to be evaluated.
  """
  if not targets.any:
    return dataset
  histories = dataset.histories
  target_T = which(histories, targets)
  if targets.least_rating > 0 and not np.isfinite(histories.rating_T).any():
    raise ValueError(
      f"train.least_rating is {targets.least_rating:g}, and data set {dataset.name!r} has no "
      "ratings; set it to 0"
    )
  marked = histories._replace(target_T=target_T)
  return dataset._replace(histories=marked, notes=(*dataset.notes, _note(marked, targets)))


def _note(histories: Histories, targets: Targets) -> str:
  assert histories.target_T is not None
  kinds = [" or ".join(targets.actions)] if targets.actions else []
  kinds += [f"a rating of {targets.least_rating:g} or more"] if targets.least_rating > 0 else []
  split, num_users = leave_last_out(histories), histories.num_users
  if not len(split.user_R):
    raise ValueError(
      f"no user has two targets ({' with '.join(kinds)}) with an event before them, so nobody can "
      "be evaluated; name other train.targets"
    )
  return (
    f"{TARGETS} {' with '.join(kinds)}, {int(histories.target_T.sum()):,} of "
    f"{len(histories.item_T):,}; the others are read. {num_users - len(split.user_R):,} of "
    f"{num_users:,} users have fewer than two targets after their first event: they train and are "
    "not evaluated"
  )


def seen_share(histories: Histories, target_R: np.ndarray) -> float:
  """The share of targets that are in the history before them; masked lists hold none of these."""
  seen = seen_items(histories)
  user_X = np.repeat(np.arange(histories.num_users), np.diff(seen.offsets_Up1))
  return float((seen.item_X == target_R[user_X]).sum() / max(len(target_R), 1))
