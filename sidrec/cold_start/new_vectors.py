"""The vectors of items that came after the training, each made once.

A catalogue that changes needs those of all its new items for every version. They are made of what
is said about the items, by what the run has learnt, so that equal descriptions have equal vectors
in every server and after every start.
"""

from collections.abc import Hashable
from typing import Protocol

import numpy as np

from sidrec.cold_start.known_and_new import VECTOR_TYPE, searchable
from sidrec.data.dataset import Items
from sidrec.data.parts import take_items
from sidrec.search.near_head import Near, nearest_known


class Inputs(Protocol):
  """What describes new items: `frozen_ids.FrozenIDs`."""

  def inputs(self, items: Items) -> np.ndarray | None:
    """What `SemanticIDManager.add_items` takes: vectors, after paths where there are."""


class NewVectors:
  """Makes vectors of new items and remembers them."""

  def __init__(self, source: Inputs, vectors_NxF: np.ndarray):
    """Takes what describes new items, and the vectors of the run's own."""
    self._source, self.unit_NxF = source, searchable(vectors_NxF)
    self._made: dict[Hashable, np.ndarray] = {}
    self._near: dict[Hashable, Near] = {}  # of one item each

  def inputs(self, items: Items) -> np.ndarray | None:
    """What the source returns, after a note of the vectors in it; raises as the source does."""
    inputs = self._source.inputs(items)
    if inputs is not None:
      unit_MxF = searchable(inputs[:, -self.unit_NxF.shape[1] :])
      self._made.update(zip(_descriptions(items), unit_MxF, strict=True))
    return inputs

  def searched(self, items: Items, *, head: bool) -> tuple[np.ndarray, Near | None]:
    """What a search takes of all new items of a catalogue.

    Args:
      items: the new ones.
      head: whether the model has an item head.

    Returns:
      Their vectors, of length 1, float16 [M, F], and with `head` the known items nearest to each.

    Raises:
      ValueError: if some vectors cannot be made.
    """
    described = _descriptions(items)
    unit_MxF = self._of(items, described)
    if not head:
      return unit_MxF, None
    missing = [row for row, one in enumerate(described) if one not in self._near]
    found = nearest_known(self.unit_NxF, unit_MxF[missing])
    for row, item_J, share_J in zip(missing, *found, strict=True):
      self._near[described[row]] = Near(item_J, share_J)
    self._near = {one: self._near[one] for one in described}
    if not described:
      return unit_MxF, found  # of no rows
    item_MxJ, share_MxJ = zip(*(self._near[one] for one in described), strict=True)
    return unit_MxF, Near(np.stack(item_MxJ), np.stack(share_MxJ))

  def _of(self, items: Items, described: list[Hashable]) -> np.ndarray:
    missing = [row for row, one in enumerate(described) if one not in self._made]
    if missing:
      try:
        made = self.inputs(take_items(items, np.array(missing)))
      except (ValueError, OSError, ImportError) as error:
        raise ValueError(f"the vectors of new items cannot be made: {error}") from None
      if made is None:
        raise ValueError("the vectors of new items cannot be made: nothing describes them")
    unit_MxF = np.zeros((items.num_items, self.unit_NxF.shape[1]), VECTOR_TYPE)
    for row, one in enumerate(described):
      unit_MxF[row] = self._made[one]
    self._made = {one: self._made[one] for one in described}  # of items that went, none is kept
    return unit_MxF


def _descriptions(items: Items) -> list[Hashable]:
  """All that is said of each item."""
  numbers = [column.tolist() for column in items.numeric.values()]
  return [
    (
      str(items.ids_N[row]),
      str(items.titles_N[row]),
      str(items.text_N[row]),
      tuple(items.categories_of(row)),
      tuple(repr(column[row]) for column in numbers),  # NaN equals itself
    )
    for row in range(items.num_items)
  ]
