"""Which items have a category, by its name.

Here C counts distinct categories, and E pairs of item and category, as in `data.dataset`.
"""

import difflib
from collections.abc import Sequence

import numpy as np

from sidrec.core.printable import printable
from sidrec.data.dataset import Items

_NEAR = 3  # names that are shown for one that is unknown
_MOST_COMPARED = 2000  # names that are compared by similarity, and characters of one
_SHOWN = 80  # characters of a name in a sentence


class Categories:
  """The items of each category of a catalogue; the name '' stands for none."""

  def __init__(self, items: Items):
    """Takes the items."""
    order_E = np.argsort(items.category_E, kind="stable")
    row_E = np.repeat(
      np.arange(items.num_items, dtype=np.int32), np.diff(items.category_offsets_Np1)
    )
    self._row_E = row_E[order_E]
    count = len(items.categories_C)
    self._offsets_Cp1 = np.searchsorted(items.category_E[order_E], np.arange(count + 1))
    names = enumerate(items.categories_C.tolist())
    self.index_of = {name: at for at, name in names if name and self._offsets_Cp1[at:][1] > 0}

  def rows_of(self, what: str, names: Sequence[str]) -> np.ndarray:
    """The rows of all items that have any of these categories: int32, sorted, each once.

    Args:
      what: what the names are, for a message.
      names: as the items have them; case counts.

    Raises:
      TypeError: for anything else than text.
      ValueError: for no name at all, or one that no item has.
    """
    if not len(names):
      raise ValueError(f"{what} is an empty list; name a category, or leave it out")
    parts = []
    for name in names:
      if not isinstance(name, str):
        raise TypeError(f"{what} hold {name!r:.40}; give names of categories as text")
      at = self.index_of.get(name, self.index_of.get(name.strip()))
      if at is None:
        raise ValueError(self._unknown(what, name))
      parts.append(self._row_E[self._offsets_Cp1[at] : self._offsets_Cp1[at + 1]])
    return np.unique(np.concatenate(parts))

  def _unknown(self, what: str, name: str) -> str:
    said = f"{what}: no item has the category '{printable(name)[:_SHOWN]}'"
    if not self.index_of:
      return f"{said}; nothing is known of the categories of these items"
    near = self._near(name)
    shown = near or list(self.index_of)[:_NEAR]
    names = ", ".join(f"'{printable(one)[:_SHOWN]}'" for one in shown)
    return f"{said}; {'near' if near else 'there are such as'}: {names}"

  def _near(self, name: str) -> list[str]:
    """The names that are most like one that no item has; of many, those that begin alike."""
    wanted = name.strip().casefold()[:_SHOWN]
    by_key = {one.casefold(): one for one in self.index_of if len(one) <= _MOST_COMPARED}
    keys = list(by_key)
    if len(keys) > _MOST_COMPARED:
      keys = [key for key in keys if key[:1] == wanted[:1]][:_MOST_COMPARED]
    found = difflib.get_close_matches(wanted, keys, n=_NEAR, cutoff=0.5)
    return [by_key[key] for key in found]
