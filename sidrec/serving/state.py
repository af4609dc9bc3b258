"""What a catalogue is between two changes, and changes as they are kept.

Item rows only grow: what was removed may still stand in histories, and keeps its row and its ID
for when it comes back.
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
from sidrec.data.parts import join_items
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

  def as_text(self) -> str:
    """As JSON."""
    return json.dumps([self.add, self.codes, self.back, self.remove], allow_nan=False)

  @classmethod
  def of_text(cls, text: str) -> "Change":
    """What `as_text` wrote.

    Raises:
      ValueError: for anything else.
    """
    try:
      add, codes, back, remove = json.loads(text)
      items = [
        NewItem(i, title, (*c,), text, tuple((k, v) for k, v in n)) for i, title, c, text, n in add
      ]
      change = cls(tuple(items), tuple(map(tuple, codes)), tuple(back), tuple(remove))
    except (TypeError, ValueError) as error:
      raise ValueError(f"this is no change of a catalogue: {error}") from None
    if len(change.add) != len(change.codes):
      raise ValueError("this is no change of a catalogue: items and IDs differ in number")
    return change


@dataclasses.dataclass(frozen=True, eq=False)
class State:
  """A catalogue without its trie and parameters; states share what they have in common."""

  items: Items  # by item row
  ids: SemanticIDManager  # by item row
  among_N: np.ndarray  # bool, which of them are in the catalogue
  version: str


def first_state(items: Items, ids: SemanticIDManager, run: str) -> State:
  """The catalogue that a run was trained on."""
  among_N = np.ones(items.num_items, bool)
  return State(items, ids, among_N, _version(run, items, ids, among_N))


def after(state: State, changes: Sequence[Change], run: str) -> State:
  """The catalogue after some changes, one after another.

  Raises:
    ValueError: for changes that this catalogue cannot have: an item that comes or is there
      already, or goes and is not there; an ID that another item has; or if nothing would be left.
  """
  new = [item for change in changes for item in change.add]
  codes = [code for change in changes for code in change.codes]
  items, ids = state.items, state.ids
  if new:
    items = join_items([items, items_of(new, list(items.numeric))])
    codes_NxL = np.concatenate([ids.codes, np.array(codes, np.int32).reshape(len(codes), -1)])
    ids = SemanticIDManager.from_codes(
      codes_NxL,
      ids.codebook_size,
      generation_method=ids.metadata["generation_method"],
      fitted=ids.fitted,
    )
  among_N = np.append(state.among_N, np.zeros(len(new), bool))
  row_of = {str(name): row for row, name in enumerate(items.ids_N.tolist())}
  for change in changes:
    _set(among_N, row_of, [str(item.id) for item in change.add], True)
    _set(among_N, row_of, change.back, True)
    _set(among_N, row_of, change.remove, False)
  if not among_N.any():
    raise ValueError("nothing would be left of the catalogue; keep at least one item")
  return State(items, ids, among_N, _version(run, items, ids, among_N))


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
    for name in change.back:
      gone.pop(name, None)
    gone.update(dict.fromkeys(change.remove))
  add = [item for name, item in new.items() if name not in known and name not in gone]
  return add, [name for name in gone if name in known]


def _set(among_N: np.ndarray, row_of: dict[str, int], names: Iterable[str], there: bool) -> None:
  for name in names:
    row = row_of.get(name)
    if row is None or among_N[row] == there:
      how = "in the catalogue already" if there else "not in the catalogue"
      raise ValueError(f"item {name!r:.80} is {how}")
    among_N[row] = there


def _version(run: str, items: Items, ids: SemanticIDManager, among_N: np.ndarray) -> str:
  described: list[Any] = [items.ids_N.tolist(), items.titles_N.tolist()]
  total = hashlib.sha256(run.encode())
  total.update(json.dumps(described).encode())
  total.update(np.ascontiguousarray(ids.codes, "<i4").tobytes())
  total.update(np.packbits(among_N).tobytes())
  return total.hexdigest()[:12]
