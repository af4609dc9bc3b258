"""What a catalogue is between two changes, and changes as they are kept.

The items that the run was trained on keep their rows for ever: its histories are made of these
rows, and its parameters belong to them. An item that came later keeps its row and its ID when it is
removed, for when it comes back, until another new item needs the row. Then nothing names the
removed item any more: events are kept by original ids, and its id is that of no item again.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sidrec.catalogue.semantic_ids import SemanticIDManager
from sidrec.data.dataset import Items
from sidrec.data.parts import join_items, take_items
from sidrec.data.sources.build import item_table
from sidrec.run.answers import Id
from sidrec.serving.store import Changed


class NewItem(NamedTuple):
  """What a client says about an item."""

  id: Id  # of the type of the run's ids
  title: str = ""
  categories: tuple[str, ...] = ()
  text: str = ""
  numbers: tuple[tuple[str, float], ...] = ()


class Change(NamedTuple):
  """From one catalogue to the next."""

  add: tuple[NewItem, ...] = ()
  codes: tuple[tuple[int, ...], ...] = ()  # their IDs
  back: tuple[str, ...] = ()  # ids of items that were removed before
  remove: tuple[str, ...] = ()
  rows: tuple[int, ...] = ()  # of the added items; empty for the next ones that were never used

  def as_text(self) -> str:
    """As JSON."""
    return json.dumps([self.add, self.codes, self.back, self.remove, self.rows], allow_nan=False)

  @classmethod
  def of_text(cls, text: str) -> "Change":
    """What `as_text` wrote.

    Raises:
      ValueError: for anything else.
    """
    try:
      add, codes, back, remove, *more = json.loads(text)
      items = [
        NewItem(i, title, (*c,), text, tuple((k, v) for k, v in n)) for i, title, c, text, n in add
      ]
      (rows,) = more or [[]]  # where rows were not used again, none are named
      change = cls(tuple(items), tuple(map(tuple, codes)), (*back,), (*remove,), (*rows,))
    except (TypeError, ValueError) as error:
      raise ValueError(f"this is no change of a catalogue: {error}") from None
    if len(change.add) != len(change.codes) or len(change.rows) not in (0, len(change.add)):
      raise ValueError("this is no change of a catalogue: items and IDs differ in number")
    return change


@dataclasses.dataclass(frozen=True, eq=False)
class State:
  """A catalogue without its trie and parameters; states share what they have in common."""

  items: Items  # by item row
  ids: SemanticIDManager  # by item row
  among_N: np.ndarray  # bool, which of them are in the catalogue
  version: str
  trained: int  # items of the run, which have the first rows
  gone: tuple[int, ...] = ()  # rows of removed items that came later, first what went first


def first_state(items: Items, ids: SemanticIDManager, run: str) -> State:
  """The catalogue that a run was trained on."""
  among_N = np.ones(items.num_items, bool)
  return State(items, ids, among_N, _version(run, items, ids, among_N), items.num_items)


def after(state: State, changes: Sequence[Change], run: str) -> State:
  """The catalogue after some changes, one after another.

  Raises:
    ValueError: for changes that this catalogue cannot have: an item that comes or is there
      already, or goes and is not there; an ID that another item has; or if nothing would be left.
  """
  folded = _Folded(state)
  for change in changes:
    folded.apply(change)
  items, ids = state.items, state.ids
  if folded.new:
    rows = sorted(folded.new)
    new, codes = zip(*map(folded.new.__getitem__, rows), strict=True)
    items = _with_rows(items, rows, items_of(new, list(items.numeric)))
    codes_NxL = np.zeros((items.num_items, ids.id_length), np.int32)
    codes_NxL[: ids.num_items] = ids.codes
    codes_NxL[rows] = codes
    ids = SemanticIDManager.from_codes(
      codes_NxL,
      ids.codebook_size,
      generation_method=ids.metadata["generation_method"],
      fitted=ids.fitted,
    )
  among_N = np.array(folded.among)
  if not among_N.any():
    raise ValueError("nothing would be left of the catalogue; keep at least one item")
  version = _version(run, items, ids, among_N)
  return State(items, ids, among_N, version, state.trained, tuple(folded.gone))


def compacted(first: State, changes: Sequence[Change]) -> Change:
  """One change that leads from the run's catalogue to where some changes lead.

  Raises:
    ValueError: as `after` does.
  """
  folded = _Folded(first)
  for change in changes:
    folded.apply(change)
  new = [folded.new[row] for row in sorted(folded.new)]  # all rows behind the run's
  names = {row: name for name, row in folded.row_of.items()}
  trained = [row for row, there in enumerate(folded.among[: first.trained]) if not there]
  return Change(
    tuple(item for item, _ in new),
    tuple(code for _, code in new),
    remove=tuple(names[row] for row in (*trained, *folded.gone)),
  )


def unused_rows(state: State, kept: Iterable[State]) -> list[int]:
  """Rows of removed items that new ones may take, first what went first.

  Args:
    state: the catalogue.
    kept: those that it may be rolled back to after the next change; what is in one of them keeps
      its row.
  """
  among = [other.among_N for other in kept]
  return [row for row in state.gone if not any(row < len(x) and x[row] for x in among)]


class _Folded:
  """What changes make of the rows of a catalogue."""

  def __init__(self, state: State):
    """Begins with a catalogue."""
    self._trained = state.trained
    self.among: list[bool] = state.among_N.tolist()
    self.gone = list(state.gone)
    self.row_of = {str(name): row for row, name in enumerate(state.items.ids_N.tolist())}
    self._name_of = list(self.row_of)
    self.new: dict[int, tuple[NewItem, tuple[int, ...]]] = {}  # row → what it has now

  def apply(self, change: Change) -> None:
    """Makes a change; raises ValueError for one that this catalogue cannot have."""
    count = len(self.among)
    rows = change.rows or range(count, count + len(change.add))
    for item, code, row in zip(change.add, change.codes, rows, strict=True):
      self._take(item, code, row)
    for name in change.back:
      row = self._row(name, there=False)
      self.among[row] = True
      if row >= self._trained:
        self.gone.remove(row)
    for name in change.remove:
      row = self._row(name, there=True)
      self.among[row] = False
      if row >= self._trained:
        self.gone.append(row)

  def _take(self, item: NewItem, code: tuple[int, ...], row: int) -> None:
    name = str(item.id)
    if name in self.row_of:
      raise ValueError(f"item {name!r:.80} is in the catalogue already")
    if row == len(self.among):
      self.among.append(True)
      self._name_of.append(name)
    elif row in self.gone:
      del self.row_of[self._name_of[row]]
      self.gone.remove(row)
      self.among[row], self._name_of[row] = True, name
    else:
      raise ValueError(f"item {name!r:.80} cannot have row {row}, which is another item's")
    self.row_of[name] = row
    self.new[row] = item, code

  def _row(self, name: str, *, there: bool) -> int:
    row = self.row_of.get(name)
    if row is None or self.among[row] != there:
      how = "not in the catalogue" if there else "in the catalogue already"
      raise ValueError(f"item {name!r:.80} is {how}")
    return row


def _with_rows(items: Items, rows: Sequence[int], new: Items) -> Items:
  """The items with new ones in these rows, of which some are behind them."""
  kept = np.setdiff1d(np.arange(items.num_items), rows)
  if len(kept) == items.num_items:
    return join_items([items, new])
  order = np.argsort(np.concatenate([kept, rows]), kind="stable")
  return take_items(join_items([take_items(items, kept), new]), order)


def replayed(first: State, kept: Sequence[Changed], run: str, most: int) -> list[State]:
  """The catalogues that the changes in a store lead to, one after another.

  Args:
    first: that of the run.
    kept: all changes, which are of this run.
    run: its fingerprint.
    most: how many catalogues before the last one are wanted.

  Returns:
    At least one, the newest one last.

  Raises:
    ValueError: if they do not lead to the versions that they name.
  """
  changes, start = [Change.of_text(x.change) for x in kept], max(len(kept) - most, 0)
  states = [after(first, changes[:start], run) if start else first]
  for change in changes[start:]:
    states.append(after(states[-1], [change], run))
  for state, changed in zip(states[not start :], kept[max(start - 1, 0) :], strict=True):
    if state.version != changed.version:
      raise ValueError(
        f"the store's changes lead to catalogue {state.version} and not to {changed.version}, as "
        "they were made; give another --store, and make the changes again"
      )
  return states


def items_of(new: Sequence[NewItem], numbers: Sequence[str]) -> Items:
  """A table of new items with these numeric columns."""
  given = [dict(item.numbers) for item in new]
  return item_table(
    np.array([item.id for item in new]),
    [item.title for item in new],
    [item.categories for item in new],
    {name: [one.get(name, np.nan) for one in given] for name in numbers},
    [item.text for item in new],
  )


def fingerprint(params: dict, codes_NxL: np.ndarray) -> str:
  """What tells one run from another: its parameters and its IDs."""
  total = hashlib.sha256(np.ascontiguousarray(codes_NxL, "<i4").tobytes())
  for path, leaf in jax.tree.leaves_with_path(params):
    total.update(jax.tree_util.keystr(path).encode())
    total.update(np.ascontiguousarray(leaf).tobytes())
  return total.hexdigest()


def net(changes: Iterable[Change], known: set[str]) -> tuple[list[NewItem], list[str]]:
  """What some changes come to for another run, which knows some items.

  Returns:
    The items that are to be added and are not known, and the ids of those that are to go.
  """
  new: dict[str, NewItem] = {}
  gone: dict[str, None] = {}
  for change in changes:
    new.update((str(item.id), item) for item in change.add)
    for name in (*(str(item.id) for item in change.add), *change.back):
      gone.pop(name, None)
    gone.update(dict.fromkeys(change.remove))
  add = [item for name, item in new.items() if name not in known and name not in gone]
  return add, [name for name in gone if name in known]


def _version(run: str, items: Items, ids: SemanticIDManager, among_N: np.ndarray) -> str:
  described: list[Any] = [items.ids_N.tolist(), items.titles_N.tolist()]
  total = hashlib.sha256(run.encode())
  total.update(json.dumps(described).encode())
  total.update(np.ascontiguousarray(ids.codes, "<i4").tobytes())
  total.update(np.packbits(among_N).tobytes())
  return total.hexdigest()[:12]
