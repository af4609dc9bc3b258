"""The k-core of a data set: users and items with at least k interactions each."""

from sidrec.data.dataset import Dataset
from sidrec.data.parts import interactions_of, with_interactions
from sidrec.data.sources import rules


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
  kept = rules.k_core(interactions_of(histories), k)
  if not len(kept):
    raise no_core(dataset.name, k)
  core = with_interactions(dataset, kept)
  note = core_note(
    k,
    (core.histories.num_users, histories.num_users),
    (core.items.num_items, items.num_items),
    (len(kept), len(histories.item_T)),
  )
  return core._replace(notes=(*dataset.notes, note, rules.tie_note(rules.counts_of(kept))))


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
