"""The k-core of a data set: users and items with at least k interactions each."""

import numpy as np

from sidrec.data.dataset import Dataset
from sidrec.data.sources.build_arrays import build_arrays as build
from sidrec.data.sources.array_rules import k_core


def core_of(dataset: Dataset, k: int) -> Dataset:
  """Drops users and items with fewer than k interactions until none is left to drop.

  The core is taken of whole histories, before they are split, as the published 5-core data
  sets are. So whether an item stays may depend on interactions that test.

  Args:
    dataset: what a reader returned.
    k: at least 3, for each user's last item tests, the last but one validates, the rest trains.

  Raises:
    ValueError: if k is less than 3 or nothing is left.
  """
  histories, items = dataset.histories, dataset.items
  check_core(k)
  user_T = np.repeat(np.arange(histories.num_users), histories.lengths_U)
  keep_T = k_core(user_T, histories.item_T, k)
  if not keep_T.any():
    raise no_core(dataset.name, k)
  note = core_note(
    k,
    (len(np.unique(user_T[keep_T])), histories.num_users),
    (len(np.unique(histories.item_T[keep_T])), items.num_items),
    (int(keep_T.sum()), len(keep_T)),
  )
  # Rows stand for ids, for they sort alike and faster; the catalogue describes itself.
  built = build(
    dataset.name,
    user_T[keep_T],
    histories.item_T[keep_T].astype(np.int64),
    histories.time_T[keep_T],
    histories.rating_T[keep_T],
    items._replace(ids_N=np.arange(items.num_items)),
  )
  return built._replace(
    histories=built.histories._replace(user_ids_U=histories.user_ids_U[built.histories.user_ids_U]),
    items=built.items._replace(ids_N=items.ids_N[built.items.ids_N]),
    notes=(*dataset.notes, note, built.notes[-1]),
  )


def check_core(k: int) -> None:
  """Raises ValueError if k is less than 3."""
  if k < 3:
    raise ValueError(
      f"a core of {k} is too small: every user needs 3 interactions, so use 3 or more"
    )


def no_core(name: str, k: int) -> ValueError:
  """The error of a data set without a k-core."""
  return ValueError(f"data set {name!r} has no {k}-core; use a smaller k")


def core_note(
  k: int, users: tuple[int, int], items: tuple[int, int], interactions: tuple[int, int]
) -> str:
  """How large the k-core is: of each, how many are left and how many there were."""
  return (
    f"the {k}-core has {users[0]:,} of {users[1]:,} users, {items[0]:,} of {items[1]:,} items "
    f"and {interactions[0]:,} of {interactions[1]:,} interactions"
  )
