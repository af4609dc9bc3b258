"""Items that are held out of everything, to measure how new items are recommended."""

import numpy as np

from sidrec.data.dataset import Dataset
from sidrec.data.parts import interactions_of, with_interactions
from sidrec.data.sources import rules


def draw_items(num_items: int, share: float, seed: int) -> np.ndarray:
  """Draws items evenly, whatever happened to them: bool [N].

  Raises:
    ValueError: unless some items are drawn and some are left.
  """
  count = round(share * num_items)
  if not 0 < count < num_items:
    raise ValueError(
      f"{share:g} of {num_items} items are {count} to hold out; hold out at least one and not all"
    )
  drawn_N = np.zeros(num_items, bool)
  drawn_N[np.random.default_rng(seed).permutation(num_items)[:count]] = True
  return drawn_N


def without_items(dataset: Dataset, gone_N: np.ndarray) -> Dataset:
  """The data set as if some of its items had never been there.

  They leave the catalogue and all histories. Users with fewer than 3 interactions left are
  dropped, and items with none.

  Leave-last-out of what is left stays honest: what a user's training view then holds lies
  before their last two interactions of the whole history, too. Where one of those two is gone,
  earlier ones take their places and are not trained on either.

  Args:
    dataset: what a reader returned.
    gone_N: bool [N], which items go.

  Raises:
    ValueError: if no user has 3 interactions left.
  """
  histories, items = dataset.histories, dataset.items
  log = interactions_of(histories)
  kept, counts = rules.histories(log.filter(~gone_N[histories.item_T]), "", 3)
  if not len(kept):
    raise ValueError(f"data set {dataset.name!r}: no user has 3 interactions with the items left")
  left = with_interactions(dataset, kept)
  gone = int(gone_N[histories.item_T].sum())
  note = (
    f"held out {int(gone_N.sum()):,} of {items.num_items:,} items and {gone:,} of "
    f"{len(log):,} interactions with them; {left.histories.num_users:,} of "
    f"{histories.num_users:,} users have 3 or more left"
  )
  return left._replace(notes=(*dataset.notes, note, rules.tie_note(counts)))
