"""Filters by category as the command line names them."""

from collections.abc import Sequence

import numpy as np

from sidrec.catalogue.categories import Categories
from sidrec.catalogue.titles import Names
from sidrec.data.dataset import Items


def rows_allowed(
  allowed_J: np.ndarray | None, texts: Sequence[str] | None, items: Items
) -> np.ndarray | None:
  """The allowed rows that have any of some categories; None for all items.

  Raises:
    ValueError: for a category that no item has, or if no item is left.
  """
  if texts is None:
    return allowed_J
  having_J = rows_of_categories("categories", texts, items)
  if allowed_J is None:
    return having_J
  both_J = np.intersect1d(allowed_J, having_J)
  if not len(both_J):
    raise ValueError("no item of --allow has any of --categories; nothing could be returned")
  return both_J


def rows_of_categories(what: str, texts: Sequence[str], items: Items) -> np.ndarray:
  """Rows of the items that have any category of some lists, with commas between: int32, sorted.

  Raises:
    ValueError: for a category that no item has.
  """
  categories = Categories(items)
  known = Names({name: [at] for name, at in categories.index_of.items()}, str, ",")
  names: list[str] = []
  for text in texts:
    pieces, at = text.split(","), 0
    while at < len(pieces):
      found = known.longest(pieces, at)
      stop = at + 1 if found is None else found[0]
      name, at = ",".join(pieces[at:stop]).strip(), stop
      names += [name] if name else []
  return categories.rows_of(f"--{what}", names)
