"""Interactions of one user at the same time: how many there are, and in which order they stand.

Every reader keeps the order of the file among equal times, which may itself say something
(a page that was filled in from top to bottom). Shuffling it shows how much a result owes to it.

Here G counts runs of one user's interactions at one time.
"""

import numpy as np

from sidrec.data.dataset import Dataset, Histories, leave_last_out

_FILE_ORDER = "equal timestamps keep file order"  # as the note of `build` ends


def shuffle_ties(dataset: Dataset, seed: int) -> Dataset:
  """Orders each user's interactions of equal time at random, the same way for the same seed."""
  histories = dataset.histories
  user_T = np.repeat(np.arange(histories.num_users), histories.lengths_U)
  random_T = np.random.default_rng(seed).random(len(user_T))
  order_T = np.lexsort((random_T, histories.time_T, user_T))
  shuffled = histories.taken(histories.offsets_Up1, order_T)
  note = f"equal timestamps stand in random order (seed {seed})"
  notes = [old.replace(_FILE_ORDER, note) for old in dataset.notes]
  return dataset._replace(
    histories=shuffled, notes=(*notes, *([] if notes != list(dataset.notes) else [note]))
  )


def tied_share(histories: Histories, split: str) -> float:
  """The share of a split's targets that another order of equal times would replace.

  Args:
    histories: users with at least 3 interactions each.
    split: 'valid' (target: last but one) or 'test' (target: last).

  Returns:
    Targets whose user has another item at the same time, divided by their number.

  Raises:
    ValueError: for another split.
  """
  if split not in ("valid", "test"):
    raise ValueError(f"split must be 'valid' or 'test', not {split!r}")
  begins_T = np.ones(len(histories.item_T), bool)
  begins_T[1:] = np.diff(histories.time_T) != 0
  begins_T[histories.offsets_Up1[:-1]] = True
  begin_G = np.flatnonzero(begins_T)
  lowest_G = np.minimum.reduceat(histories.item_T, begin_G)
  highest_G = np.maximum.reduceat(histories.item_T, begin_G)
  found = leave_last_out(histories)
  target_R = found.valid_R if split == "valid" else found.test_R
  run_R = np.searchsorted(begin_G, target_R, side="right") - 1
  return float((lowest_G[run_R] != highest_G[run_R]).mean())
