"""What a client wants of the catalogue, as a change with rows and semantic IDs."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.cold_start.frozen_ids import with_new_items
from sidrec.cold_start.new_vectors import NewVectors
from sidrec.core.printable import printable
from sidrec.data.dataset import Items
from sidrec.serving.bodies import RequestError, Wished
from sidrec.serving.described import describes_otherwise, new_item
from sidrec.serving.snapshot import Snapshot
from sidrec.serving.state import Change, NewItem, State, items_of


class NewIDs(Protocol):
  """What gives new items IDs: `cold_start.frozen_ids.FrozenIDs`."""

  ids: SemanticIDManager
  vectors_NxF: np.ndarray | None  # of the run's items, which new ones can be compared with

  def warm_up(self) -> None:
    """Compiles what it needs."""

  def check(self, items: Items) -> None:
    """Raises ValueError for items that cannot get IDs."""

  def inputs(self, items: Items) -> np.ndarray | None:
    """What `SemanticIDManager.add_items` takes."""


class Placement:
  """Finds the items that a client names, and rows and IDs for new ones."""

  def __init__(self, new_ids: NewIDs | None, vectors: NewVectors | None):
    """Takes what gives IDs, None where no item can be added, and what notes new items' vectors."""
    self._new_ids, self._vectors = new_ids, vectors

  def change(self, wished: Wished, before: Snapshot, unused: Sequence[int]) -> Change:
    """What a client wants, with rows and IDs.

    Args:
      wished: what to add and to remove.
      before: what answers now.
      unused: rows of removed items that new ones may take.

    Raises:
      RequestError: 422 for what cannot be added or removed.
    """
    new, back = [], []
    for at, item in enumerate(wished.add):
      name, where = str(item["id"]), f"add[{at}]"
      if before.row(name) is not None:
        raise RequestError(422, f"{where}: item {name[:80]!r} is in the catalogue already")
      if name not in before.asker.row_of:
        new.append(new_item(item, where, before.state.items))
      elif describes_otherwise(item, where, before.state.items, before.asker.row_of[name]):
        raise RequestError(
          422,
          f"{where} was removed before and comes back as it was; give its id alone, or describe "
          "it as before",
        )
      else:
        back.append(name)
    for at, name in enumerate(wished.remove):
      if before.row(name) is None:
        raise RequestError(422, f"remove[{at}]: no item of the catalogue is {name[:80]!r}")
    codes, rows = self.placed(new, back, before, unused)
    return Change((*new,), codes, (*back,), (*wished.remove,), rows)

  def placed(
    self, new: list[NewItem], back: list[str], before: Snapshot, unused: Sequence[int]
  ) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """IDs and rows of new items.

    Rows that were never used come first, so that removed items can come back as they were. Where
    there are too few, or too few IDs are free, new items take the rows of removed ones.
    """
    used, fitting = before.state.items.num_items, before.search.trie.num_items
    needed = {before.asker.row_of[name] for name in back}
    unused = [row for row in unused if row not in needed][: len(new)]
    again = unused[: max(used + len(new) - fitting, 0)]
    try:
      rows = (*range(used, used + len(new) - len(again)), *again)
      return self.codes(new, before.state, rows), rows
    except RequestError:
      if len(again) == len(unused):
        raise
    rows = (*range(used, used + len(new) - len(unused)), *unused)
    return self.codes(new, before.state, rows), rows

  def codes(
    self, new: list[NewItem], state: State, rows: Sequence[int] = ()
  ) -> tuple[tuple[int, ...], ...]:
    """IDs of new items that take these rows; raises RequestError 422 if they cannot have any."""
    if not new:
      return ()
    new_ids = self._new_ids
    if new_ids is None:
      raise RequestError(422, "this run was loaded without its tokenizer, so no item can be added")
    items = items_of(new, list(state.items.numeric))
    or_refused(lambda: new_ids.check(items))
    try:
      inputs = (self._vectors or new_ids).inputs(items)
    except (ValueError, OSError, ImportError) as error:  # may name files of the server
      print(f"catalogue: {printable(error, 2000)}", file=sys.stderr)
      raise RequestError(
        422, "the vectors of the new items cannot be made; the server's log says why"
      ) from None
    again = [row for row in rows if row < state.items.num_items]
    codes_MxL = or_refused(lambda: with_new_items(state.ids, inputs, len(new), again))
    return tuple(tuple(code) for code in codes_MxL.tolist())


def or_refused(make: Callable[[], Any]) -> Any:
  """What `make` returns; its ValueError becomes a RequestError 422."""
  try:
    return make()
  except ValueError as error:
    raise RequestError(422, str(error)) from None
